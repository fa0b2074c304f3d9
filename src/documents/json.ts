import type { DocumentError } from "../domain/fault.ts"
import { Fault } from "../domain/fault.ts"
import type { Position } from "./document.ts"
import { JsonScanner } from "./json-scanner.ts"
import { findPlace, type Place } from "./pointer.ts"
import { decodeUtf8, lineEndOf, NotUtf8, positionsOf, Unreadable } from "./text.ts"

/** A JSON text that has been read. */
export interface ReadJson {
  readonly value: unknown
  /**
   * The same with the keys of its objects in the order of the text, to be written down: JavaScript puts those first that look like
   * integers. Left out: none does.
   */
  readonly ordered?: unknown
  /** Where the value at an RFC 6901 pointer (or its nearest ancestor) stands in the text. */
  locate(pointer: string): Position | null
}

/**
 * Strict JSON (RFC 8259): refuses duplicate keys, `__proto__`, depth over 100, integers JavaScript cannot hold, lone surrogates, invalid UTF-8, a BOM.
 * @throws {Fault} `malformed_json` with `errors` (pointer where known, message, line, column)
 */
export function parseJson(bytes: Uint8Array): ReadJson {
  let text: string
  try {
    text = decodeUtf8(bytes)
  } catch (error) {
    if (error instanceof NotUtf8) throw malformed({ message: error.message, ...error.position })
    throw error
  }
  try {
    const read = readJson(text)
    if (!maybeIntegerKey.test(text)) return read
    return { ...read, ordered: inTextOrder(read.value, new JsonScanner(text, true).read().place) }
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    const position = error.offset === null ? {} : positionsOf(text)(error.offset)
    const pointer = error.pointer === undefined ? {} : { pointer: error.pointer }
    throw malformed({ ...pointer, message: error.message, ...position })
  }
}

/** A key of digits; escaped, they may be anything. */
const maybeIntegerKey = /"\d+"\s*:|\\u003/

function inTextOrder(value: unknown, place: Place): unknown {
  if (typeof value !== "object" || value === null || typeof place === "number") return value
  const { children } = place
  if (!(children instanceof Map)) {
    return (value as readonly unknown[]).map((item, index) =>
      inTextOrder(item, (children as readonly Place[])[index] ?? 0),
    )
  }
  const members = value as Readonly<Record<string, unknown>>
  const keys = [...children.keys()]
  const ordered = Object.fromEntries([...children].map(([key, child]) => [key, inTextOrder(members[key], child)]))
  if (Object.keys(ordered).every((key, index) => key === keys[index])) return ordered
  // What writes it down asks for its keys: no object of JavaScript's own gives them in another order than its own.
  return new Proxy(ordered, { ownKeys: () => keys })
}

function malformed(error: DocumentError): Fault {
  const place = error.line === undefined ? "" : ` (line ${error.line}, column ${error.column})`
  return new Fault("malformed_json", `The body is not JSON as it is read here: ${error.message}${place}.`, {
    errors: [error],
  })
}

/** The same for a text. Places are found by a second reading, made only when one is asked for. @throws {Unreadable} */
export function readJson(text: string): ReadJson {
  const value = new JsonScanner(text, false).read().value
  const positions = positionsOf(text)
  let root: Place | null = null
  return {
    value,
    locate(pointer) {
      root ??= new JsonScanner(text, true).read().place
      const offset = findPlace(root, pointer)
      return offset === null ? null : positions(offset)
    },
  }
}

/** Indentation, line end and final newline of a JSON text; null: nothing to go by. */
function layoutOf(live: string): { indent: string; newline: string; final: string } {
  const newline = lineEndOf(live)
  // By no pattern anchored at the end: over a file of blank lines its time grows with their square.
  const final = live.endsWith("\n") ? newline : ""
  const body = live.trim()
  const indent = /^[[{]\s*\n([ \t]+)(?=\S)/.exec(body)?.[1]
  if (indent !== undefined) return { indent: indent.slice(0, 10), newline, final }
  const holdsSomething = /^[[{][^\]}]/.test(body)
  return { indent: holdsSomething ? "" : "  ", newline, final }
}

/** No config may have more bytes than that, whatever its type allows. */
const mostIndentation = 64 * 1024 * 1024

/**
 * JSON text of a value in the layout of `live`; two spaces and a final newline where there is none.
 * @throws {Fault} `body_too_large` before it is written: many small values, deep down, take some hundred times their room
 */
export function renderJson(value: unknown, live: string | null): string {
  const layout = live === null || live.trim() === "" ? { indent: "  ", newline: "\n", final: "\n" } : layoutOf(live)
  if (layout.indent.length * levelsIn(value, 0) > mostIndentation) {
    throw new Fault(
      "body_too_large",
      "The value would be written as more JSON than any config may have: it is mostly indentation.",
    )
  }
  return JSON.stringify(value, null, layout.indent).replaceAll("\n", layout.newline) + layout.final
}

/** How often the text of a value is indented by one level, over all its lines. */
function levelsIn(value: unknown, level: number): number {
  if (typeof value !== "object" || value === null) return 0
  return Object.values(value).reduce<number>((sum, each) => sum + level + 1 + levelsIn(each, level + 1), level)
}
