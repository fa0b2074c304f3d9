import type { Database } from "better-sqlite3"
import type { JsonPage } from "../domain/catalog.ts"
import { ReadCache } from "./read-cache.ts"

/**
 * What is read in one turn of the event loop shares a transaction: to lock the file, look whether it has changed and unlock it
 * costs more than to read a row. One connection holds one transaction: who writes ends this one first, and so sees all.
 */
export class ReadTurn {
  readonly #db: Database
  readonly #begin
  readonly #commit
  readonly #cache: ReadCache
  #isOpen = false
  /** The cache holds nothing that is older than the transaction. */
  #isLooked = false

  constructor(db: Database) {
    this.#db = db
    this.#begin = db.prepare("BEGIN")
    this.#commit = db.prepare("COMMIT")
    this.#cache = new ReadCache(db)
  }

  read<T>(query: () => T): T {
    if (!this.#isOpen) {
      this.#begin.run()
      this.#isOpen = true
      setImmediate(() => this.end())
    }
    return query()
  }

  /** As `read`; what was read by `key` before is given again while nothing has changed. */
  readKept<T extends string | JsonPage | null>(key: string, query: () => T): T {
    return this.read(() => {
      if (!this.#isLooked) this.#cache.look()
      this.#isLooked = true
      return this.#cache.get(key, query)
    })
  }

  end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#isLooked = false
    // A read that fails may have ended it (lang_transaction.html, 2.3).
    if (this.#db.inTransaction) this.#commit.run()
  }
}
