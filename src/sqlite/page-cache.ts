import type { Database, Statement } from "better-sqlite3"
import type { JsonPage } from "../domain/catalog.ts"

/** Of all pages together. */
const mostCharacters = 4 * 1024 * 1024

/**
 * Pages as they were read last, for as long as nothing in the database changes: they are looked at far more often. Any change
 * drops all of them, whoever made it and however little it is about, so that none can be old.
 */
export class PageCache {
  /** Rows that this connection has changed so far. */
  readonly #ownChanges: Statement<[], number>
  /** Another number once another connection has changed anything (pragma.html#pragma_data_version). */
  readonly #otherChanges: Statement<[], number>
  readonly #pages = new Map<string, JsonPage>()
  #state = ""
  #characters = 0

  constructor(db: Database) {
    this.#ownChanges = db.prepare<[], number>("SELECT total_changes()").pluck()
    this.#otherChanges = db.prepare<[], number>("PRAGMA data_version").pluck()
  }

  /** The page known by `key`, else what `read` gives. */
  get(key: string, read: () => JsonPage): JsonPage {
    const state = `${this.#ownChanges.get()} ${this.#otherChanges.get()}`
    if (state !== this.#state) this.#clear()
    this.#state = state
    const known = this.#pages.get(key)
    if (known) return known
    const page = read()
    this.#characters += key.length + page.items.length
    if (this.#characters > mostCharacters) this.#clear()
    else this.#pages.set(key, page)
    return page
  }

  #clear(): void {
    this.#pages.clear()
    this.#characters = 0
  }
}
