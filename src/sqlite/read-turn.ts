import type { Database } from "better-sqlite3"

/**
 * What is read in one turn of the event loop shares a transaction: to lock the file, look whether it has changed and unlock it
 * costs more than to read a row. One connection holds one transaction: who writes ends this one first, and so sees all.
 */
export class ReadTurn {
  readonly #db: Database
  readonly #begin
  readonly #commit
  #isOpen = false

  constructor(db: Database) {
    this.#db = db
    this.#begin = db.prepare("BEGIN")
    this.#commit = db.prepare("COMMIT")
  }

  read<T>(query: () => T): T {
    if (!this.#isOpen) {
      this.#begin.run()
      this.#isOpen = true
      setImmediate(() => this.end())
    }
    return query()
  }

  end(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    // A read that fails may have ended it (lang_transaction.html, 2.3).
    if (this.#db.inTransaction) this.#commit.run()
  }
}
