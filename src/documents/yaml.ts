import { type Document, dump, EVENT_ID, SCALAR_STYLE, visit } from "js-yaml"
import { Fault } from "../domain/fault.ts"
import type { ParsedDocument } from "./document.ts"
import { findPlace } from "./pointer.ts"
import { lineEndOf, positionsOf, Unreadable } from "./text.ts"
import { YamlReader } from "./yaml-reader.ts"
import type { YamlVersion } from "./yaml-scalar.ts"
import { writingSchema } from "./yaml-schema.ts"
import { eventsOf, maxNodes, olderBreak, parseTree } from "./yaml-tree.ts"

const olderBreaks =
  "U+0085, U+2028 or U+2029, which end a line in YAML 1.1 and not in 1.2; write them in double quotes, as \\N, \\L, \\P"

/**
 * Reads one YAML document as the program on the VM reads it.
 * @param version null: not said, so 1.2 is read and differences to 1.1 are warned of; `1.1`: 1.1 is read, with the same warnings; `1.2`: no warnings
 * @throws {Unreadable}
 */
export function readYaml(text: string, version: YamlVersion | null): ParsedDocument {
  const positions = positionsOf(text)
  const breakAt = version === "1.2" ? -1 : text.search(olderBreak)
  if (breakAt !== -1 && version === "1.1") throw new Unreadable(olderBreaks, breakAt)
  const breaks =
    breakAt === -1
      ? []
      : [{ code: "ambiguous_yaml", message: `The text holds ${olderBreaks}.`, ...positions(breakAt) } as const]
  const tree = parseTree(text)
  if (!tree) return { value: null, warnings: breaks, locate: () => positions(0) }
  const reader =
    version === "1.1" ? new YamlReader("1.1", "1.2") : new YamlReader("1.2", version === null ? "1.1" : null)
  const { value, place } = reader.read(tree)
  return {
    value,
    warnings: [...breaks, ...reader.ambiguities.map(({ warning, offset }) => ({ ...warning, ...positions(offset) }))],
    locate(pointer) {
      const offset = findPlace(place, pointer)
      return offset === null ? null : positions(offset)
    },
  }
}

/**
 * YAML text of a JSON value that a 1.1 and a 1.2 reader read as that value: key order kept, no line folding, no aliases.
 * @param live the text that stands now, whose line ends are kept; null: none
 * @throws {Fault} `config_too_complex` for a value that could not be read again
 */
export function renderYaml(value: unknown, live: string | null = null): string {
  // Before it is written: to write a MiB of small values, deep down, takes seconds.
  if (countValues(value) > maxNodes) {
    throw unwritable("config_too_complex", `more than ${maxNodes} values`)
  }
  const text = dump(value, { schema: writingSchema, lineWidth: -1, noRefs: true, transform: quoteWhatMisleads })
  try {
    parseTree(text)
  } catch (error) {
    if (!(error instanceof Unreadable)) throw error
    throw unwritable(error.tooComplex ? "config_too_complex" : "invalid_body", error.message, error)
  }
  return live === null ? text : text.replaceAll("\n", lineEndOf(live))
}

function unwritable(code: "config_too_complex" | "invalid_body", message: string, cause?: Unreadable): Fault {
  const errors = [{ pointer: "", message }]
  return new Fault(code, `The value cannot be written as YAML: ${message}.`, { errors, cause })
}

function countValues(value: unknown): number {
  if (typeof value !== "object" || value === null) return 1
  return Object.values(value).reduce<number>((sum, each) => sum + countValues(each), 1)
}

/**
 * Text that js-yaml would leave plain and others do not take for text: `=` and dates that are none (errors in PyYAML), and numbers
 * that JavaScript has no room for. Keys that would be the mark of a document where they begin a line. And of texts of several lines
 * a whole document, since what an indentation indicator counts from at the top parsers read differently, and those that end in blanks,
 * which some leave out.
 */
function quoteWhatMisleads(documents: Document[]): void {
  for (const { contents: root } of documents) {
    if (root?.kind === "scalar" && root.value.includes("\n")) root.style = SCALAR_STYLE.DOUBLE_QUOTED
  }
  visit(documents, (node, { isKey }) => {
    if (node.kind !== "scalar" || node.style !== SCALAR_STYLE.PLAIN || node.tag !== "tag:yaml.org,2002:str") return
    if (/\n[ \t]+$/.test(node.value)) node.style = SCALAR_STYLE.DOUBLE_QUOTED
    else if (misleads(node.value) || (isKey && documentMark.test(node.value))) node.style = quotesOf(node.value)
  })
}

/** What js-yaml itself would escape, line breaks of Unicode among it, which single quotes do not keep. */
function quotesOf(text: string) {
  const invisible = /[\t\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]/
  return invisible.test(text) ? SCALAR_STYLE.DOUBLE_QUOTED : SCALAR_STYLE.SINGLE_QUOTED
}

const documentMark = /^(?:---|\.\.\.)(?:\s|$)/
/** Of any size, in either version. */
const numberLike =
  /^[-+]?(?:0b[01_]+|0o[0-7_]+|0x[\da-f_]+|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:e[-+]?\d+)?|\d[\d_]*(?::[0-5]?\d)+(?:\.[\d_]*)?)$/i

function misleads(text: string): boolean {
  return text === "=" || /^\d{4}-\d\d?-\d\d?/.test(text) || numberLike.test(text)
}

/** `#` comments: in what lies between the scalars. @throws {Unreadable} */
export function countYamlComments(text: string): number {
  const between: string[] = []
  let from = 0
  for (const event of eventsOf(text)) {
    if (event.type !== EVENT_ID.SCALAR || event.valueStart < from) continue
    between.push(text.slice(from, event.valueStart))
    from = event.valueEnd
  }
  between.push(text.slice(from))
  return between.reduce((count, gap) => count + (gap.match(/(?<=^|\s)#[^\r\n]*/gm)?.length ?? 0), 0)
}
