import { FILE_HEADERS_ONLY, formatPatch, type StructuredPatch, structuredPatch } from "diff"
import { pointerOf } from "./pointer.ts"
import { decodeUtf8, NotUtf8 } from "./text.ts"
import { ValueNumbers } from "./value-numbers.ts"

/** Milliseconds the search for the shortest diff may take; then the file is shown as replaced whole, which is a correct patch too. */
const searchLimitMs = 250
/** Lines of both texts that are searched at all: to take the texts apart is not limited by that time, and takes as long by then. */
const mostLines = 100_000

/** Unified diff (3 lines of context) of two texts, `""` when equal. `before` null: nothing stood there. Bytes that are not UTF-8 are told, not shown. Bounded in time. */
export function unifiedDiff(path: string, before: Uint8Array | null, after: Uint8Array): string {
  if (before !== null && Buffer.compare(before, after) === 0) return ""
  const oldPath = before === null ? "/dev/null" : path
  const texts = decoded(before ?? new Uint8Array(), after)
  if (!texts) return `Binary files ${oldPath} and ${path} differ\n`
  const isSearched = countLines(texts.before) + countLines(texts.after) <= mostLines
  const found = isSearched
    ? structuredPatch(oldPath, path, texts.before, texts.after, undefined, undefined, {
        context: 3,
        timeout: searchLimitMs,
      })
    : undefined
  return formatPatch(found ?? wholeFilePatch(oldPath, path, texts.before, texts.after), FILE_HEADERS_ONLY)
}

function decoded(before: Uint8Array, after: Uint8Array): { before: string; after: string } | null {
  try {
    return { before: decodeUtf8(before), after: decodeUtf8(after) }
  } catch (error) {
    if (error instanceof NotUtf8) return null
    throw error
  }
}

function wholeFilePatch(oldPath: string, path: string, before: string, after: string): StructuredPatch {
  const old = linesOf("-", before)
  const now = linesOf("+", after)
  const hunk = {
    oldStart: 1,
    oldLines: old.count,
    newStart: 1,
    newLines: now.count,
    lines: [...old.lines, ...now.lines],
  }
  return { oldFileName: oldPath, newFileName: path, oldHeader: undefined, newHeader: undefined, hunks: [hunk] }
}

/** The lines as one text, which is shown as it is: to hold a million of them apart takes as long as to search them. */
function linesOf(mark: "-" | "+", text: string): { lines: string[]; count: number } {
  if (text === "") return { lines: [], count: 0 }
  const complete = text.endsWith("\n")
  const count = countLines(text)
  const marked = markLines(mark, complete ? text.slice(0, -1) : text, count)
  return { lines: complete ? [marked] : [marked, "\\ No newline at end of file"], count }
}

/** Byte by byte: to replace each line end in a text takes ten times as long. */
function markLines(mark: "-" | "+", text: string, count: number): string {
  const from = Buffer.from(text)
  const to = Buffer.alloc(from.length + count)
  const code = mark.charCodeAt(0)
  let at = to.write(mark)
  for (const byte of from) {
    to[at++] = byte
    if (byte === 0x0a) to[at++] = code
  }
  return to.toString()
}

function countLines(text: string): number {
  let count = text === "" || text.endsWith("\n") ? 0 : 1
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) count++
  return count
}

interface Operation {
  readonly op: "add" | "remove" | "replace"
  readonly path: string
  readonly value?: unknown
}

/** Characters that the paths of all operations may have together: under a long key, a list with many changes repeats it at each. */
const mostPathText = 16 * 1024 * 1024

/**
 * RFC 6902 operations that turn `before` into `after`: linear in their sizes. Lists are compared without their common start and end,
 * so one item put in or taken out is one operation. (rfc6902's createPatch finds the shortest way by copying its operations for every
 * pair of items, which takes minutes on lists that a config may hold, and cannot be stopped.) Where their paths would be too long, the
 * document is replaced whole, which is a correct patch too.
 */
export function diffOperations(before: unknown, after: unknown): readonly unknown[] {
  const operations: Operation[] = []
  compare(before, after, "", { operations, numbers: new ValueNumbers() })
  // To ask for a length does not build the text.
  const pathText = operations.reduce((sum, { path }) => sum + path.length, 0)
  return pathText > mostPathText ? [{ op: "replace", path: "", value: after }] : operations
}

/** A comparison under way. */
interface Comparing {
  readonly operations: Operation[]
  readonly numbers: ValueNumbers
}

function compare(before: unknown, after: unknown, path: string, comparing: Comparing): void {
  if (Array.isArray(before) && Array.isArray(after)) compareLists(before, after, path, comparing)
  else if (isRecord(before) && isRecord(after)) compareRecords(before, after, path, comparing)
  else if (before !== after) comparing.operations.push({ op: "replace", path, value: after })
}

function compareRecords(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
  path: string,
  comparing: Comparing,
): void {
  const { operations } = comparing
  for (const key of Object.keys(before)) {
    if (!Object.hasOwn(after, key)) operations.push({ op: "remove", path: path + pointerOf([key]) })
  }
  for (const [key, value] of Object.entries(after)) {
    const member = path + pointerOf([key])
    if (Object.hasOwn(before, key)) compare(before[key], value, member, comparing)
    else operations.push({ op: "add", path: member, value })
  }
}

function compareLists(before: readonly unknown[], after: readonly unknown[], path: string, comparing: Comparing): void {
  const { operations, numbers } = comparing
  const shorter = Math.min(before.length, after.length)
  let start = 0
  while (start < shorter && numbers.areEqual(before[start], after[start])) start++
  let end = 0
  while (end < shorter - start && numbers.areEqual(before.at(-1 - end), after.at(-1 - end))) end++
  const common = shorter - end
  for (let index = start; index < common; index++) compare(before[index], after[index], `${path}/${index}`, comparing)
  // From the back, so that the indexes of those still to go stay true.
  for (let index = before.length - end - 1; index >= common; index--)
    operations.push({ op: "remove", path: `${path}/${index}` })
  for (let index = common; index < after.length - end; index++) {
    operations.push({ op: "add", path: `${path}/${index}`, value: after[index] })
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
