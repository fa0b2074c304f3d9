import { isUtf8 } from "node:buffer"
import type { Position } from "./document.ts"

/**
 * A text that a format refuses. Not a fault yet: the same mistake is `malformed_json` in a request body and `config_unparsable` in a
 * config, so the two entrances (`parseDocument`, `parseJson`) put it into words for their callers.
 */
export class Unreadable extends Error {
  /** True: the text could be read, but would cost too much (bombs, depth). */
  readonly tooComplex: boolean
  /** UTF-16 offset into the text; null: no one place is to blame. */
  readonly offset: number | null
  /** RFC 6901, where known. */
  readonly pointer: string | undefined

  /** @param message a clause without a value out of the text, e.g. `duplicate key` */
  constructor(
    message: string,
    offset: number | null,
    more: { readonly tooComplex?: boolean; readonly pointer?: string | undefined } = {},
  ) {
    super(message)
    this.offset = offset
    this.tooComplex = more.tooComplex ?? false
    this.pointer = more.pointer
  }
}

/** Bytes that are not UTF-8. Their place is known only in bytes, so it carries its position itself. */
export class NotUtf8 extends Error {
  readonly position: Position

  constructor(position: Position) {
    super("the text is not valid UTF-8")
    this.position = position
  }
}

export const byteOrderMark = "\ufeff"

/** @throws {NotUtf8} */
export function decodeUtf8(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw new NotUtf8(firstInvalid(bytes))
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)
}

export function hasByteOrderMark(bytes: Uint8Array): boolean {
  return Buffer.from(byteOrderMark).equals(bytes.subarray(0, 3))
}

/** The text without a byte order mark at its start. */
export function withoutByteOrderMark(text: string): string {
  return text.startsWith(byteOrderMark) ? text.slice(1) : text
}

/**
 * Where the bytes stop being UTF-8. A lossy decoding, encoded again, equals the bytes up to exactly there: the replacement
 * character's own bytes (EF BF BD) are valid, so they cannot stand where the first invalid byte stood.
 */
function firstInvalid(bytes: Uint8Array): Position {
  const echo = new TextEncoder().encode(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes))
  let at = 0
  while (at < bytes.length && bytes[at] === echo[at]) at++
  // The replacement may share leading bytes with an invalid sequence (EF BF ..): step back to where a character begins.
  while (at > 0 && !isUtf8(bytes.subarray(0, at))) at--
  return positionsOf(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.subarray(0, at)))(
    Number.POSITIVE_INFINITY,
  )
}

/** CRLF where every line ends in it, else LF. */
export function lineEndOf(text: string): "\r\n" | "\n" {
  return text.includes("\r\n") && !/(?<!\r)\n|\r(?!\n)/.test(text) ? "\r\n" : "\n"
}

/** Turns UTF-16 offsets into positions. Line breaks: LF, CRLF, CR. The table of lines is made at the first use. */
export function positionsOf(text: string): (offset: number) => Position {
  let starts: number[] | null = null
  return (offset) => {
    starts ??= lineStarts(text)
    const at = Math.min(Math.max(offset, 0), text.length)
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] ?? 0) <= at) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: at - (starts[low] ?? 0) + 1 }
  }
}

function lineStarts(text: string): number[] {
  const starts = [0]
  for (const match of text.matchAll(/\r\n|\n|\r/g)) starts.push(match.index + match[0].length)
  return starts
}

/**
 * Whether a decimal literal would not come out as it went in: out of a double's range, an integer whose digits a double rounds (also one
 * with a point or an exponent: it comes out without), or so small that it becomes zero. (Fractions are rounded by every reader and pass.)
 */
export function changesWhenRead(literal: string, value: number): boolean {
  if (!Number.isFinite(value)) return true
  const digits = /^(-?)\+?0*(\d+)$/.exec(literal)
  if (digits) return !Number.isSafeInteger(value) && String(value) !== `${digits[1]}${digits[2]}`
  if (value === 0) return /[1-9]/.test(literal.split(/e/i, 1)[0] ?? "")
  return Math.abs(value) > Number.MAX_SAFE_INTEGER && significantDigits(literal) !== significantDigits(String(value))
}

/** All but the zeros at both ends: of two literals that read as the same number they tell whether they are the same. */
function significantDigits(literal: string): string {
  const digits = (literal.split(/e/i, 1)[0] ?? "").replace(/\D/g, "").replace(/^0+/, "")
  // By no pattern that begins anew at each zero: its time grows with the square of their number.
  return digits.replace(/(?<!0)0+$/, "")
}
