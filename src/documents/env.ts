import { parse as dotenvParse } from "dotenv"
import { type DocumentError, Fault, type FaultCode } from "../domain/fault.ts"
import type { ParsedDocument } from "./document.ts"
import { findPlace, type Place, pointerOf } from "./pointer.ts"
import { lineEndOf, positionsOf, Unreadable } from "./text.ts"

/** One `KEY=value`, which may span lines where its value is quoted. */
interface Entry {
  readonly key: string
  readonly value: string
  /** Offset of the value, or of the key where the value is empty. */
  readonly at: number
  /** Where its first line begins and its last one ends, without the line end. */
  readonly start: number
  readonly end: number
  /** What stands before the key: blanks, `export`. */
  readonly lead: string
  /** What stands behind the value, a blank and a comment, where it is one to a shell as well. */
  readonly comment: string
}

interface EnvText {
  readonly entries: readonly Entry[]
  readonly comments: number
}

/** dotenv is asked for each value, and takes some microseconds: a file of a MiB would hold up all others for seconds. */
const maxVariables = 10_000

const tooMany = `more than ${maxVariables} variables`
const controlCharacter = /[^\P{Cc}\t\n\r]/u
const lineBreak = /[\r\n]/g
/** Behind the equals sign dotenv takes every blank of Unicode for one. */
const head = /([ \t]*(?:export[ \t]+)?)([\w.-]+)[ \t]*=[^\S\r\n]*/y

/**
 * Reads `KEY=value` lines. dotenv alone would skip what it does not know and let the last of two equal keys win, so lines are
 * told apart here and it reads one entry at a time: its value is then what every user of dotenv gets, and time stays linear.
 * @throws {Unreadable}
 */
export function readEnv(text: string): ParsedDocument {
  const value: Record<string, string> = {}
  const places = new Map<string, Place>()
  for (const entry of scan(text).entries) {
    value[entry.key] = entry.value
    places.set(entry.key, entry.at)
  }
  const positions = positionsOf(text)
  return {
    value,
    warnings: [],
    locate(pointer) {
      const offset = findPlace({ at: 0, children: places }, pointer)
      return offset === null ? null : positions(offset)
    },
  }
}

/** Lines that are comments, and comments behind values. @throws {Unreadable} */
export function countEnvComments(text: string): number {
  return scan(text).comments
}

function scan(text: string): EnvText {
  const control = controlCharacter.exec(text)
  if (control) throw new Unreadable("a control character", control.index)
  const entries: Entry[] = []
  const seen = new Set<string>()
  let comments = 0
  let at = 0
  while (at < text.length) {
    const line = lineAt(text, at)
    const content = line.trimStart()
    if (content === "" || content.startsWith("#")) {
      if (content !== "") {
        requireOneLine(text, at, at + line.length)
        comments++
      }
      at = nextLine(text, at + line.length)
      continue
    }
    const { entry, comment } = entryAt(text, at)
    if (seen.has(entry.key)) throw new Unreadable("duplicate key", at, { pointer: pointerOf([entry.key]) })
    seen.add(entry.key)
    if (seen.size > maxVariables) throw new Unreadable(tooMany, at, { tooComplex: true })
    entries.push(entry)
    if (comment) comments++
    at = nextLine(text, entry.end)
  }
  return { entries, comments }
}

/** The entry that starts on the line at `start`. */
function entryAt(text: string, start: number): { entry: Entry; comment: boolean } {
  head.lastIndex = start
  const match = head.exec(text)
  const [, lead = "", key] = match ?? []
  if (!match || key === undefined) throw new Unreadable("a line is neither KEY=value nor a comment", start)
  if (key === "__proto__") throw new Unreadable('the key "__proto__" is not allowed', start)
  const valueAt = start + match[0].length
  const valueEnd = endOfQuoted(text, valueAt) ?? valueAt
  const end = valueEnd + lineAt(text, valueEnd).length
  const rest = text.slice(valueEnd, end)
  if (valueEnd > valueAt && !/^[ \t]*(?:#|$)/.test(rest)) throw new Unreadable("text after a closing quote", valueEnd)
  const source = text.slice(start, end)
  const value = dotenvParse(source)[key] ?? ""
  const hash = rest.indexOf("#")
  if (hash !== -1) requireOneLine(text, valueEnd + hash, end)
  const isCommentToShell = hash !== -1 && /[ \t]/.test(text.charAt(valueEnd + hash - 1))
  const comment = isCommentToShell ? ` ${rest.slice(hash)}` : ""
  const at = value === "" ? start : valueAt
  return { entry: { key, value, at, start, end, lead, comment }, comment: hash !== -1 }
}

/** To dotenv a comment ends at a line separator of Unicode, and what is behind it may be a variable. */
function requireOneLine(text: string, start: number, end: number): void {
  const separator = text.slice(start, end).search(/[\u2028\u2029]/)
  if (separator !== -1) throw new Unreadable("a line separator (U+2028, U+2029) in a comment", start + separator)
}

/** Where the quoted value at `at` ends, behind its closing quote (as for dotenv, one behind a backslash does not close); null: not quoted. */
function endOfQuoted(text: string, at: number): number | null {
  const mark = text[at]
  if (mark !== "'" && mark !== '"' && mark !== "`") return null
  let end = at + 1
  for (;;) {
    end = text.indexOf(mark, end)
    if (end === -1) throw new Unreadable("a quoted value is not closed", at)
    if (text[end - 1] !== "\\") return end + 1
    end++
  }
}

function lineAt(text: string, at: number): string {
  return text.slice(at, endOfLine(text, at))
}

function endOfLine(text: string, at: number): number {
  lineBreak.lastIndex = at
  return lineBreak.exec(text)?.index ?? text.length
}

function nextLine(text: string, end: number): number {
  return text.startsWith("\r\n", end) ? end + 2 : end + 1
}

/**
 * `KEY=value` lines of an object of strings (or a map, in its order). Those of `live` stay as they are where their value does, in their
 * order and with what stands between them; new ones come behind them. What is written is the same to dotenv and to a POSIX shell: both
 * know no escape for their own quote, so there are values that no line can hold.
 * @param live null, or no env file: none
 */
export function renderEnv(value: unknown, live: string | null = null): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw refused([{ pointer: "", message: "must be an object of strings" }])
  }
  const members = new Map<string, unknown>(value instanceof Map ? value : Object.entries(value))
  if (members.size > maxVariables) throw refused([{ pointer: "", message: tooMany }], "config_too_complex")
  // A shell takes a CR for a part of the value: one more in a file that has them everywhere changes nothing for it.
  const lineEnd = live === null ? "\n" : lineEndOf(live)
  const writer = new LineWriter()
  const entries = live === null ? null : entriesOf(live)
  const kept = live === null || entries === null ? "" : edited(live, entries, members, { writer, lineEnd })
  const added = [...members].map(([key, member]) => writer.write(key, member) + lineEnd)
  writer.requireAll()
  return kept + (added.length > 0 && /[^\n]$/.test(kept) ? lineEnd : "") + added.join("")
}

/** The text with its entries as `members` has them, which then has those that are still to be written. */
function edited(
  text: string,
  entries: readonly Entry[],
  members: Map<string, unknown>,
  { writer, lineEnd }: { readonly writer: LineWriter; readonly lineEnd: string },
): string {
  const parts: string[] = []
  let at = 0
  let kept: Entry | null = null
  for (const entry of entries) {
    parts.push(text.slice(at, entry.start))
    const member = members.get(entry.key)
    const stays = member === entry.value
    if (!stays && isReadOn(text, entry.start, kept)) writer.refuse(entry.key, readOn)
    kept = stays ? entry : null
    at = stays ? entry.end : nextLine(text, entry.end)
    if (stays) parts.push(text.slice(entry.start, at))
    else if (members.has(entry.key)) {
      parts.push(writer.write(entry.key, member, entry), entry.end < text.length ? lineEnd : "")
    }
    members.delete(entry.key)
  }
  const [added] = members.keys()
  if (added !== undefined && isReadOn(text, text.length, kept)) writer.refuse(added, readOn)
  return parts.join("") + text.slice(at)
}

const readOn =
  "it stands behind a line that a shell reads on, which ends in a backslash or in a CR alone; send the text itself"

/**
 * Whether a shell takes what stands at `at` for a part of the line before it. What is added at the end has a line feed before it.
 * @param kept the entry before it, where that stays as it is
 */
function isReadOn(text: string, at: number, kept: Entry | null): boolean {
  if (text[at - 1] === "\r" && at < text.length) return true
  if (kept === null || kept.comment !== "" || text[kept.end - 1] !== "\\") return false
  return /^\n?$/.test(text.slice(kept.end, at))
}

/** @returns null for what is no env file */
function entriesOf(text: string): readonly Entry[] | null {
  try {
    return scan(text).entries
  } catch (error) {
    if (error instanceof Unreadable) return null
    throw error
  }
}

/** Writes lines, and gathers what is wrong with those that cannot be written. */
class LineWriter {
  readonly #errors: DocumentError[] = []

  /** @param old the entry whose place the line takes */
  write(key: string, member: unknown, old: Pick<Entry, "lead" | "comment"> = { lead: "", comment: "" }): string {
    const line = typeof member === "string" ? lineOf(key, member, old) : null
    if (line !== null) return line
    this.refuse(key, reasonAgainst(key, member))
    return ""
  }

  refuse(key: string, message: string): void {
    if (this.#errors.length < 100) this.#errors.push({ pointer: pointerOf([key]), message })
  }

  /** @throws {Fault} `invalid_body` */
  requireAll(): void {
    if (this.#errors.length > 0) throw refused(this.#errors)
  }
}

function lineOf(key: string, value: string, { lead, comment }: Pick<Entry, "lead" | "comment">): string | null {
  const candidates = [
    ...(/^[\w./:@%+,=-]*$/.test(value) ? [value] : []),
    ...(value.includes("'") ? [] : [`'${value}'`]),
    // Between double quotes a shell goes on reading.
    ...(/["$`]|\\(?:[\\\n]|$)/.test(value) ? [] : [`"${value}"`]),
  ]
  const lines = candidates.map((candidate) => `${lead}${key}=${candidate}${comment}`)
  return lines.find((line) => readsAs(line, key, value)) ?? null
}

function readsAs(line: string, key: string, value: string): boolean {
  try {
    const [entry, ...more] = scan(line).entries
    return more.length === 0 && entry?.key === key && entry.value === value
  } catch (error) {
    if (error instanceof Unreadable) return false
    throw error
  }
}

function reasonAgainst(key: string, member: unknown): string {
  if (typeof member !== "string") return "must be a string: an env file holds nothing else"
  if (!/^[\w.-]+$/.test(key) || key === "__proto__") return "the key must be made of letters, digits, _ . and -"
  return "the value cannot be written in an env file: to dotenv and to a shell alike no quoting gives it back"
}

function refused(errors: readonly DocumentError[], code: FaultCode = "invalid_body"): Fault {
  const [first] = errors
  const place = first?.pointer ? ` at ${first.pointer}` : ""
  return new Fault(code, `The value cannot be written as an env file${place}: ${first?.message}.`, { errors })
}
