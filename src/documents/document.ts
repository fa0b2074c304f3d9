import type { FormatName } from "../domain/config-type.ts"
import { type DocumentError, Fault } from "../domain/fault.ts"
import type { Warning } from "../domain/warning.ts"
import { formats } from "./formats.ts"
import {
  byteOrderMark,
  decodeUtf8,
  hasByteOrderMark,
  NotUtf8,
  positionsOf,
  Unreadable,
  withoutByteOrderMark,
} from "./text.ts"

/** Both count from 1; `column` in UTF-16 units. A byte order mark is not counted. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** How a text is to be read. */
export interface DocumentKind {
  readonly format: FormatName
  readonly yamlVersion: "1.1" | "1.2" | null
}

export interface ParsedDocument {
  /** The document's value; `text`: the text itself. */
  readonly value: unknown
  readonly warnings: readonly Warning[]
  /** Where the value at an RFC 6901 pointer (or its nearest ancestor) stands in the text. */
  locate(pointer: string): Position | null
}

/** @throws {Fault} `config_unparsable`, `config_too_complex`, with `errors` (message, line, column) */
export function parseDocument(bytes: Uint8Array, kind: DocumentKind): ParsedDocument {
  let text = ""
  try {
    text = decodeUtf8(bytes)
    if (kind.format !== "text") text = withoutByteOrderMark(text)
    return formats[kind.format].parse(text, kind)
  } catch (error) {
    if (error instanceof NotUtf8) throw unparsable({ message: error.message, ...error.position }, error)
    if (!(error instanceof Unreadable)) throw error
    const pointer = error.pointer ? { pointer: error.pointer } : {}
    const position = error.offset === null ? {} : positionsOf(text)(error.offset)
    throw unparsable({ ...pointer, message: error.message, ...position }, error, error.tooComplex)
  }
}

function unparsable(error: DocumentError, cause: unknown, tooComplex = false): Fault {
  const place = error.line === undefined ? "" : ` (line ${error.line}, column ${error.column})`
  const start = tooComplex ? "The config is too complex" : "The config cannot be parsed"
  return new Fault(tooComplex ? "config_too_complex" : "config_unparsable", `${start}: ${error.message}${place}.`, {
    errors: [error],
    cause,
  })
}

/**
 * Writes a value down in the kind's format, in the layout of `live` where the format keeps one: byte order mark, line ends, of JSON the
 * indentation and the final newline.
 * What it writes parses to the same value again: YAML under both versions, whatever `kind` says.
 * @throws {Fault} `invalid_body` for a value the format cannot hold, `config_too_complex` for one that could not be parsed again
 */
export function renderDocument(value: unknown, kind: DocumentKind, live: Uint8Array | null): Buffer {
  const text = formats[kind.format].render(value, live === null ? null : decodedOrNull(live))
  // Of a text the mark is a part of the value.
  const isMarked = live !== null && kind.format !== "text" && hasByteOrderMark(live)
  return Buffer.from((isMarked ? byteOrderMark : "") + text, "utf8")
}

/** How many comments the text holds; of what cannot be parsed, how many look like one (0 for formats without, and what is not UTF-8). */
export function countComments(bytes: Uint8Array, kind: DocumentKind): number {
  const { countComments: count, commentLike } = formats[kind.format]
  return countIn(bytes, count, (text) => text.match(commentLike)?.length ?? 0)
}

/** How many keys and values of the text have a type that JSON does not have: they become text where a JSON value is written (0: what cannot be parsed). */
export function countTypes(bytes: Uint8Array, kind: DocumentKind): number {
  return countIn(bytes, (text) => formats[kind.format].countTypes(text, kind))
}

/** How many values of a YAML text of no known version another reader takes for something else once `written` stands there (0 as above). */
export function countRetyped(bytes: Uint8Array, kind: DocumentKind, written: unknown): number {
  return countIn(bytes, (text) => formats[kind.format].countRetyped(text, kind, written))
}

function countIn(bytes: Uint8Array, count: (text: string) => number, countUnreadable = (_: string) => 0): number {
  const text = decodedOrNull(bytes)
  if (text === null) return 0
  try {
    return count(text)
  } catch (error) {
    if (error instanceof Unreadable) return countUnreadable(text)
    throw error
  }
}

function decodedOrNull(bytes: Uint8Array): string | null {
  try {
    return withoutByteOrderMark(decodeUtf8(bytes))
  } catch (error) {
    if (error instanceof NotUtf8) return null
    throw error
  }
}
