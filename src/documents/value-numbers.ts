/**
 * Gives equal values of documents equal numbers. A value is walked through once, however often and from however many levels above
 * it is asked for: to compare it anew from each of a hundred levels takes a hundred times as long.
 */
export class ValueNumbers {
  readonly #byText = new Map<string, number>()
  readonly #byCollection = new Map<object, number>()

  areEqual(one: unknown, other: unknown): boolean {
    if (!isCollection(one) || !isCollection(other)) return one === other
    return this.#of(one) === this.#of(other)
  }

  #of(value: unknown): number {
    if (!isCollection(value)) return this.#numberFor(typeof value === "string" ? `"${value}` : String(value))
    const known = this.#byCollection.get(value)
    if (known !== undefined) return known
    const number = this.#numberFor(Array.isArray(value) ? this.#listText(value) : this.#recordText(value))
    this.#byCollection.set(value, number)
    return number
  }

  #listText(list: readonly unknown[]): string {
    return `[${list.map((item) => this.#of(item)).join()}`
  }

  /** Without regard to the order of its keys. */
  #recordText(record: object): string {
    const members = Object.entries(record).map(([key, member]) => `${this.#of(key)}:${this.#of(member)}`)
    return `{${members.sort().join()}`
  }

  #numberFor(text: string): number {
    const number = this.#byText.get(text) ?? this.#byText.size
    this.#byText.set(text, number)
    return number
  }
}

function isCollection(value: unknown): value is object {
  return typeof value === "object" && value !== null
}
