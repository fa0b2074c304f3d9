import { statSync } from "node:fs"
import type { Database } from "better-sqlite3"
import { Fault, isFault } from "../domain/fault.ts"
import type { ReadTurn } from "./read-turn.ts"
import { Reserve } from "./reserve.ts"
import { sqliteFault } from "./sqlite-fault.ts"

interface Job {
  /** Runs inside the transaction; what it throws undoes its own statements only. */
  readonly work: () => void
  /** It removes: a full disk must not stand in its way. */
  readonly makesRoom: boolean
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/** More waiting than this means that the disk does not keep up. */
const mostWaiting = 10_000
/** So that one commit does not hold the event loop for long. */
const mostTogether = 256

/**
 * Group commit: what is asked for in one turn of the event loop shares a transaction, and so an fsync. Each job stands in a
 * savepoint of its own: one that fails does not fail the others. A job has resolved only when it is durable.
 */
export class WriteQueue {
  readonly #db: Database
  readonly #reads: ReadTurn
  readonly #file: OpenedFile
  readonly #reserve: Reserve
  readonly #begin
  readonly #commit
  readonly #rollback
  readonly #savepoint
  readonly #release
  readonly #undo
  #waiting: Job[] = []
  #scheduled = false
  #closed = false

  constructor(db: Database, reads: ReadTurn) {
    this.#db = db
    this.#reads = reads
    this.#file = new OpenedFile(db.name)
    this.#reserve = new Reserve(db.name)
    this.keepReserve()
    this.#begin = db.prepare("BEGIN IMMEDIATE")
    this.#commit = db.prepare("COMMIT")
    this.#rollback = db.prepare("ROLLBACK")
    this.#savepoint = db.prepare("SAVEPOINT job")
    this.#release = db.prepare("RELEASE job")
    this.#undo = db.prepare("ROLLBACK TO job")
  }

  /**
   * @param work the statements; run again never, later than this call always
   * @throws {Fault} `storage_busy`, `storage_full`, `backup_storage_unavailable`, and what `work` throws
   */
  write(work: () => void, { makesRoom = false } = {}): Promise<void> {
    if (this.#closed) return Promise.reject(new Fault("shutting_down", "The service is stopping."))
    if (this.#waiting.length >= mostWaiting) {
      return Promise.reject(
        new Fault("storage_busy", "More changes are waiting for the catalog than it can keep up with.", {
          retryAfterSeconds: 1,
        }),
      )
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, makesRoom, resolve, reject })
      this.#schedule()
    })
  }

  /** Takes the reserve, again where a full disk has cost it. @returns bytes that are left beside it */
  keepReserve(): number {
    return this.#db.readonly ? 0 : this.#reserve.keep()
  }

  /** Writes what is waiting, and takes no more. */
  close(): void {
    this.#closed = true
    while (this.#waiting.length > 0) this.#flush()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.#flush()
      if (this.#waiting.length > 0) this.#schedule()
    })
  }

  #flush(): void {
    const jobs = this.#waiting.slice(0, mostTogether)
    this.#waiting = this.#waiting.slice(mostTogether)
    if (jobs.length > 0) this.#commitAll(jobs)
  }

  #commitAll(jobs: readonly Job[]): void {
    const refused = new Map<Job, unknown>()
    try {
      this.#file.check()
      this.#reads.end()
      this.#begin.run()
      for (const job of jobs) this.#attempt(job, refused)
      this.#commit.run()
    } catch (error) {
      if (this.#db.inTransaction) this.#rollback.run()
      this.#refuseAll(jobs, sqliteFault(error, this.#db.name))
      return
    }
    for (const job of jobs) {
      if (refused.has(job)) job.reject(refused.get(job))
      else job.resolve()
    }
  }

  /** On a full disk, what makes room is tried again with the reserve given up for it. */
  #refuseAll(jobs: readonly Job[], fault: unknown): void {
    const again = isFault(fault, "storage_full") ? jobs.filter(({ makesRoom }) => makesRoom) : []
    const isGiven = again.length > 0 && this.#reserve.give()
    for (const job of jobs) {
      if (!isGiven || !job.makesRoom) job.reject(fault)
    }
    if (isGiven) this.#commitAll(again)
  }

  /** @throws what ended the whole transaction: SQLite undoes it itself when the disk is full or fails (lang_transaction.html) */
  #attempt(job: Job, refused: Map<Job, unknown>): void {
    this.#savepoint.run()
    try {
      job.work()
    } catch (error) {
      if (!this.#db.inTransaction) throw error
      this.#undo.run()
      refused.set(job, sqliteFault(error, this.#db.name))
    }
    this.#release.run()
  }
}

/** Knows a file again: a catalog that was removed or replaced takes writes without an error, and they are lost. */
class OpenedFile {
  readonly #path: string
  readonly #identity: string | null

  constructor(path: string) {
    this.#path = path
    this.#identity = identityOf(path)
  }

  check(): void {
    const now = identityOf(this.#path)
    if (now !== null && now === this.#identity) return
    throw new Fault(
      "backup_storage_unavailable",
      `The catalog ${this.#path} was ${now === null ? "removed" : "replaced"} while the service runs: restart the service.`,
    )
  }
}

/** @returns null when nothing can be found there */
function identityOf(path: string): string | null {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return null
  }
}
