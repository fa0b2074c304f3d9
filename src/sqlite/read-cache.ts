import type { Database, Statement } from "better-sqlite3"
import type { JsonPage } from "../domain/catalog.ts"

type Answer = string | JsonPage

/** Bytes of all answers together. */
const mostKept = 8 * 1024 * 1024
/** Bytes that an answer takes beside its text, about. */
const entryBytes = 400
/** Of the keys that were asked for once. */
const mostAsked = 1_000

/**
 * Answers as they were read last, while nothing in the database changes: dashboards ask for the same few far more often than
 * that. Any change drops all of them, whoever made it and however little it is about, so that none can be old. What is asked for
 * once, as by who goes through all pages, is not kept: for the garbage collector that costs as much as to read it.
 */
export class ReadCache {
  /** Rows that this connection has changed so far; its own DDL is not among them, and is over before the first read. */
  readonly #ownChanges: Statement<[], number>
  /** Another number once another connection has changed anything (pragma.html#pragma_data_version). */
  readonly #otherChanges: Statement<[], number>
  readonly #answers = new Map<string, Answer>()
  readonly #asked = new Set<string>()
  readonly #most: number
  #state = ""
  #size = 0

  /** @param most bytes of all answers together */
  constructor(db: Database, most = mostKept) {
    this.#ownChanges = db.prepare<[], number>("SELECT total_changes()").pluck()
    this.#otherChanges = db.prepare<[], number>("PRAGMA data_version").pluck()
    this.#most = most
  }

  /** Drops what may be old. Call it first in each transaction that reads. */
  look(): void {
    const state = `${this.#ownChanges.get()} ${this.#otherChanges.get()}`
    if (state === this.#state) return
    this.#state = state
    this.#drop()
  }

  /** What is known by `key`, else what `query` gives. That nothing is there is not kept. */
  get<T extends Answer | null>(key: string, query: () => T): T {
    const known = this.#answers.get(key)
    // Under one key there is only ever what the same query gave.
    if (known !== undefined) return known as T
    const answer = query()
    if (answer !== null && this.#isAskedAgain(key)) this.#keep(key, answer)
    return answer
  }

  #isAskedAgain(key: string): boolean {
    if (this.#asked.has(key)) return true
    if (this.#asked.size >= mostAsked) this.#asked.clear()
    this.#asked.add(key)
    return false
  }

  #keep(key: string, answer: Answer): void {
    const bytes = typeof answer === "string" ? 2 * answer.length : answer.json.length
    const size = entryBytes + 2 * key.length + bytes
    if (this.#size + size > this.#most) this.#drop()
    if (size > this.#most) return
    this.#answers.set(key, answer)
    this.#size += size
  }

  #drop(): void {
    this.#answers.clear()
    this.#size = 0
  }
}
