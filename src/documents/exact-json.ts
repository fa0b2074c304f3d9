import { maxDepth } from "./json-scanner.ts"
import { Unreadable } from "./text.ts"

/** A number as its text has it: `1.0` stays `1.0`, and an integer of thirty digits keeps them all. */
export class NumberLiteral {
  /** As JSON writes it; or `NaN`, `Infinity`, `-Infinity`. */
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  get finite(): boolean {
    return !/[NI]/.test(this.text)
  }
}

/** What a JSON text says and JavaScript's own values would lose: how numbers are written, and the order of keys like `"80"`. */
export type ExactValue =
  | null
  | boolean
  | string
  | NumberLiteral
  | readonly ExactValue[]
  | ReadonlyMap<string, ExactValue>

const numberPattern = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$|^NaN$|^-?Infinity$/
const words: Readonly<Record<string, null | boolean>> = { null: null, true: true, false: false }
/** Python writes no longer number (its own limit is 4300 digits), and a pattern must not meet a text of any length. */
const longestWord = 5000

/** A text that is not JSON, as opposed to JSON that cannot be kept. */
class NotJson extends Error {}

/**
 * Reads JSON as Python's `json` writes it, which is RFC 8259 and `NaN`, `Infinity`, `-Infinity`; nothing of it is lost.
 * @returns undefined for a text that is not JSON
 * @throws {Unreadable} for JSON that no config can hold: too deep, equal keys, half of a surrogate pair
 */
export function readExactJson(text: string): ExactValue | undefined {
  try {
    return new ExactReader(text).read()
  } catch (error) {
    if (error instanceof NotJson) return undefined
    throw error
  }
}

class ExactReader {
  readonly #text: string
  #at = 0
  #depth = 0
  /** Told when the text is known to be JSON to its end: what else is wrong with a text that is none is of no interest. */
  #refusal: Unreadable | null = null

  constructor(text: string) {
    this.#text = text
  }

  read(): ExactValue {
    const value = this.#value(this.#next())
    if (this.#next() !== "") throw new NotJson()
    if (this.#refusal) throw this.#refusal
    return value
  }

  /** The text of the next token: a mark, a string in its quotes, or a word; "" at the end. */
  #next(): string {
    const text = this.#text
    while (/[ \t\r\n]/.test(text.charAt(this.#at))) this.#at++
    const start = this.#at
    const first = text.charAt(start)
    if (first === '"') this.#at = this.#endOfString()
    else if (/[{}[\],:]/.test(first)) this.#at++
    else while (/[-+.\w]/.test(text.charAt(this.#at))) this.#at++
    if (this.#at === start && start < text.length) throw new NotJson()
    return text.slice(start, this.#at)
  }

  /** Behind the next quote that no backslash escapes; whether what stands between is a string is found out by whoever reads it. */
  #endOfString(): number {
    for (let at = this.#at + 1; at < this.#text.length; at++) {
      const char = this.#text.charAt(at)
      if (char === '"') return at + 1
      if (char === "\\") at++
    }
    throw new NotJson()
  }

  #value(token: string): ExactValue {
    if (token === "{") return this.#nested(() => this.#object())
    if (token === "[") return this.#nested(() => this.#array())
    if (token.startsWith('"')) return this.#string(token)
    if (token.length <= longestWord && numberPattern.test(token)) return new NumberLiteral(token)
    const word = Object.hasOwn(words, token) ? words[token] : undefined
    if (word === undefined) throw new NotJson()
    return word
  }

  /** Depth ends the reading at once: what comes after it may be as deep as the stack is not. */
  #nested<T>(read: () => T): T {
    if (++this.#depth > maxDepth) {
      throw new Unreadable(`nested more than ${maxDepth} deep`, this.#at, { tooComplex: true })
    }
    const value = read()
    this.#depth--
    return value
  }

  #object(): ReadonlyMap<string, ExactValue> {
    const value = new Map<string, ExactValue>()
    for (let token = this.#next(); token !== "}" || value.size > 0; token = this.#next()) {
      const key = this.#string(token)
      if (value.has(key)) this.#refuse("duplicate key")
      if (this.#next() !== ":") throw new NotJson()
      value.set(key, this.#value(this.#next()))
      if (this.#ends("}")) break
    }
    return value
  }

  #array(): readonly ExactValue[] {
    const value: ExactValue[] = []
    for (let token = this.#next(); token !== "]" || value.length > 0; token = this.#next()) {
      value.push(this.#value(token))
      if (this.#ends("]")) break
    }
    return value
  }

  #ends(mark: "}" | "]"): boolean {
    const token = this.#next()
    if (token !== mark && token !== ",") throw new NotJson()
    return token === mark
  }

  #string(token: string): string {
    if (!token.startsWith('"')) throw new NotJson()
    const value = unquoted(token)
    if (!value.isWellFormed()) this.#refuse("a string holds half of a surrogate pair")
    return value
  }

  #refuse(message: string): void {
    this.#refusal ??= new Unreadable(message, this.#at)
  }
}

function unquoted(token: string): string {
  try {
    return JSON.parse(token)
  } catch {
    throw new NotJson()
  }
}

/** JSON text in the layout that `renderJson` gives a new file. @throws {Unreadable} for a number that JSON does not know */
export function writeExactJson(value: ExactValue, indent = ""): string {
  if (value instanceof NumberLiteral) {
    if (!value.finite) throw new Unreadable("NaN and Infinity have no place in JSON", null)
    return value.text
  }
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const inner = `${indent}  `
  const isMap = value instanceof Map
  const items = isMap
    ? [...value].map(([key, member]) => `${JSON.stringify(key)}: ${writeExactJson(member, inner)}`)
    : [...(value as readonly ExactValue[])].map((item) => writeExactJson(item, inner))
  const [open, close] = isMap ? "{}" : "[]"
  if (items.length === 0) return `${open}${close}`
  return `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`
}
