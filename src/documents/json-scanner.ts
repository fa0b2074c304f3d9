import { type Place, shownPointer } from "./pointer.ts"
import { changesWhenRead, Unreadable } from "./text.ts"

/** Collections inside collections. */
export const maxDepth = 100

const quote = 0x22
const backslash = 0x5c
const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y
/** What cannot follow a number: it would be a part of it that JSON does not know. */
const stillNumber = /[-+.\w]/
const stringEscape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y
const literals = [
  ["true", true],
  ["false", false],
  ["null", null],
] as const

/**
 * Reads RFC 8259 in one pass. JSON.parse would fold duplicate keys and change integers silently, and tells no line; this one
 * refuses what would not come out as it went in.
 */
export class JsonScanner {
  readonly #text: string
  /** Whether places are kept; reading twice is cheaper than keeping them for every text. */
  readonly #keepPlaces: boolean
  readonly #path: (string | number)[] = []
  #at = 0
  /** Where the value that was read last stands: beside the values, so that reading without places costs nothing for them. */
  #place: Place = 0

  constructor(text: string, keepPlaces: boolean) {
    this.#text = text
    this.#keepPlaces = keepPlaces
  }

  /** @throws {Unreadable} */
  read(): { value: unknown; place: Place } {
    this.#skipBlanks()
    const value = this.#value()
    const place = this.#place
    this.#skipBlanks()
    if (this.#at < this.#text.length) throw this.#refusal("text after the end of the value")
    return { value, place }
  }

  #value(): unknown {
    const start = this.#at
    const char = this.#text.charAt(start)
    if (char === "{") return this.#object()
    if (char === "[") return this.#array()
    this.#place = start
    if (char === '"') return this.#string()
    if (char === "-" || (char >= "0" && char <= "9")) return this.#number()
    for (const [word, value] of literals) {
      if (!this.#text.startsWith(word, start)) continue
      this.#at += word.length
      return value
    }
    throw this.#refusal(char === "" ? "the text ends where a value is expected" : "a value is expected")
  }

  #object(): Record<string, unknown> {
    const at = this.#open()
    const value: Record<string, unknown> = {}
    const children = new Map<string, Place>()
    let first = true
    while (!this.#closes("}", first)) {
      first = false
      if (this.#text.charCodeAt(this.#at) !== quote) throw this.#refusal('a key in double quotes or "}" is expected')
      const keyAt = this.#at
      const key = this.#string()
      if (Object.hasOwn(value, key)) throw this.#refusal("duplicate key", keyAt, key)
      if (key === "__proto__") throw this.#refusal('the key "__proto__" is not allowed', keyAt)
      this.#skipBlanks()
      this.#expect(":", 'a ":" is expected')
      this.#skipBlanks()
      value[key] = this.#child(key)
      if (this.#keepPlaces) children.set(key, this.#place)
    }
    this.#place = { at, children }
    return value
  }

  #array(): unknown[] {
    const at = this.#open()
    const value: unknown[] = []
    const children: Place[] = []
    while (!this.#closes("]", value.length === 0)) {
      value.push(this.#child(value.length))
      if (this.#keepPlaces) children.push(this.#place)
    }
    this.#place = { at, children }
    return value
  }

  #child(token: string | number): unknown {
    this.#path.push(token)
    const child = this.#value()
    this.#path.pop()
    return child
  }

  #open(): number {
    const at = this.#at++
    if (this.#path.length >= maxDepth) {
      throw new Unreadable(`nested more than ${maxDepth} deep`, at, {
        tooComplex: true,
        pointer: shownPointer(this.#path),
      })
    }
    return at
  }

  /** Steps over the separator before the next member, or the end of the collection (then true). */
  #closes(end: "}" | "]", first: boolean): boolean {
    this.#skipBlanks()
    if (this.#text[this.#at] === end) {
      this.#at++
      return true
    }
    if (first) return false
    this.#expect(",", `a "," or "${end}" is expected`)
    this.#skipBlanks()
    if (this.#text[this.#at] === end) throw this.#refusal(`a "," stands before "${end}"`)
    return false
  }

  #string(): string {
    const text = this.#text
    const start = this.#at++
    let escaped = false
    for (;;) {
      const code = text.charCodeAt(this.#at)
      if (code === quote) break
      if (Number.isNaN(code)) throw this.#refusal("a string is not closed", start)
      if (code < 0x20) throw this.#refusal("a control character stands in a string")
      if (code === backslash) {
        stringEscape.lastIndex = this.#at
        const sequence = stringEscape.exec(text)
        if (!sequence) throw this.#refusal("an unknown escape stands in a string")
        escaped = true
        this.#at += sequence[0].length
      } else this.#at++
    }
    this.#at++
    if (!escaped) return text.slice(start + 1, this.#at - 1)
    const value: string = JSON.parse(text.slice(start, this.#at))
    if (!value.isWellFormed()) throw this.#refusal("a string holds half of a surrogate pair", start)
    return value
  }

  #number(): number {
    const start = this.#at
    numberPattern.lastIndex = start
    const literal = numberPattern.exec(this.#text)?.[0]
    if (literal === undefined) throw this.#refusal("a number is not written as JSON asks")
    this.#at += literal.length
    if (stillNumber.test(this.#text.charAt(this.#at)))
      throw this.#refusal("a number is not written as JSON asks", start)
    const value = Number(literal)
    if (value > 0 && value <= Number.MAX_SAFE_INTEGER) return value
    if (changesWhenRead(literal, value) || Object.is(value, -0)) {
      throw this.#refusal("a number cannot be held exactly enough; write it as a string", start)
    }
    return value
  }

  #skipBlanks(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at)
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return
      this.#at++
    }
  }

  #expect(char: string, message: string): void {
    if (this.#text[this.#at] !== char) throw this.#refusal(message)
    this.#at++
  }

  #refusal(message: string, at = this.#at, key?: string): Unreadable {
    return new Unreadable(message, at, { pointer: shownPointer(key === undefined ? this.#path : [...this.#path, key]) })
  }
}
