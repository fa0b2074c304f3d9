import type { Database } from "better-sqlite3"
import type { CopiedVersion, CopyLag, CopyResult, DueCopy, WorkRef } from "../domain/copies.ts"

/** Nothing that failed waits for so long before it is tried again. */
const longestWaitMs = 60 * 60_000

const targetFact = "copy_target"
/** Up to which version, in the order of their ids, all were queued; none: every one was. */
const queuedFact = "copy_queued"
/** Whether those are queued, too, that were queued or copied before. */
const anewFact = "copy_anew"
const queuedTogether = 2000
/** As CopyLag promises: a million would take half a second to be counted, at each look at the readiness. */
const mostCounted = 10_000

/** The statements over copies off this host. Rows come and go by triggers on versions. */
export class CopyTable {
  readonly #statements: ReturnType<typeof prepare>

  constructor(db: Database) {
    this.#statements = prepare(db)
  }

  /** From now on copies go to `target`; null: nowhere. To another one than before `queueSome` is to queue all of them. */
  setTarget(target: string | null): void {
    if (this.target() === target) return
    const { clear, dropFact, keepFact } = this.#statements
    clear.run()
    dropFact.run(targetFact)
    dropFact.run(queuedFact)
    dropFact.run(anewFact)
    if (target === null) return
    keepFact.run(targetFact, target)
    keepFact.run(queuedFact, "")
  }

  /** `queueSome` is to queue all, also what was copied. What is to be taken away there still is, and what goes before its turn. */
  queueAnew(): void {
    this.#statements.keepFact.run(queuedFact, "")
    this.#statements.keepFact.run(anewFact, "yes")
  }

  /**
   * Queues some of the versions that were there before; those that come are queued by a trigger. A million at
   * once would hold everybody up for seconds.
   * @returns false: there are no more
   */
  queueSome(now: string): boolean {
    const { fact, lastOfSome, queueRange, queueRangeAnew, keepFact, dropFact } = this.#statements
    const from = fact.get(queuedFact)
    if (from === undefined) return false
    const to = lastOfSome.get({ from, limit: queuedTogether }) ?? null
    if (to === null) {
      dropFact.run(queuedFact)
      dropFact.run(anewFact)
      return false
    }
    const range = fact.get(anewFact) === undefined ? queueRange : queueRangeAnew
    range.run({ from, to, now })
    keepFact.run(queuedFact, to)
    return true
  }

  target(): string | null {
    return this.#statements.fact.get(targetFact) ?? null
  }

  due(now: string, limit: number, work: DueCopy["work"] | null = null): readonly DueCopy[] {
    const horizon = new Date(Date.parse(now) + longestWaitMs).toISOString()
    return this.#statements.due.all({ now, limit, horizon, work })
  }

  nextDue(): string | null {
    return this.#statements.nextDue.get() ?? null
  }

  /** Notes how one piece of work ended, unless other work for the version has come up since. */
  note({ backupId, work, nextAt }: WorkRef, result: CopyResult): void {
    const key = { backupId, work }
    if (result.kind === "copied") this.#statements.copied.run({ ...key, nextAt: nextAt ?? null, at: result.at })
    else if (result.kind === "removed") this.#statements.removed.run(key)
    else this.#statements.failed.run({ ...key, problem: result.problem, nextAt: result.nextAt })
  }

  /** Copies a version anew: what stands there is not what was copied. */
  queue(backupId: string, now: string): void {
    this.#statements.requeue.run({ backupId, now })
  }

  /** A copy stays although the row of its version went, also one that was to be made anew. */
  keep(backupId: string): void {
    this.#statements.keep.run(backupId)
  }

  newest(): CopiedVersion | null {
    return this.#statements.newest.get() ?? null
  }

  isCopied(backupId: string): boolean {
    return this.#statements.isCopied.get(backupId) !== undefined
  }

  isLeaving(backupId: string): boolean {
    return this.#statements.isLeaving.get(backupId) !== undefined
  }

  lag(): CopyLag {
    const { waiting = 0, since = null } = this.#statements.lag.get() ?? {}
    return { waiting, since, problem: this.#statements.lastProblem.get() ?? null }
  }
}

function prepare(db: Database) {
  const named = "backup_id AS backupId, vm_id AS vmId, type, format"
  const queueing = (known: "IGNORE" | "REPLACE") =>
    db.prepare<[{ readonly from: string; readonly to: string; readonly now: string }]>(
      `INSERT OR ${known} INTO copies (backup_id, vm_id, type, format, state, since, next_at)
       SELECT backup_id, vm_id, type, format, 'queued', @now, @now FROM versions
       WHERE backup_id > @from AND backup_id <= @to`,
    )
  return {
    fact: db.prepare<[string], string>("SELECT value FROM facts WHERE name = ?").pluck(),
    keepFact: db.prepare<[string, string]>(
      "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    ),
    dropFact: db.prepare<[string]>("DELETE FROM facts WHERE name = ?"),
    clear: db.prepare<[]>("DELETE FROM copies"),
    lastOfSome: db
      .prepare<[{ readonly from: string; readonly limit: number }], string | null>(
        `SELECT max(backup_id) FROM
           (SELECT backup_id FROM versions WHERE backup_id > @from ORDER BY backup_id LIMIT @limit)`,
      )
      .pluck(),
    queueRange: queueing("IGNORE"),
    queueRangeAnew: queueing("REPLACE"),
    // What is to wait for longer than any pause was noted under a clock that was set back since.
    due: db.prepare<[{ now: string; limit: number; horizon: string; work: DueCopy["work"] | null }], DueCopy>(
      `SELECT ${named}, state AS work, attempts, next_at AS nextAt FROM copies INDEXED BY copies_due
       WHERE state <> 'copied' AND (next_at <= @now OR next_at > @horizon) AND (@work IS NULL OR state = @work)
       ORDER BY next_at LIMIT @limit`,
    ),
    nextDue: db
      .prepare<[], string>("SELECT min(next_at) FROM copies INDEXED BY copies_due WHERE state <> 'copied'")
      .pluck(),
    copied: db.prepare<[{ backupId: string; work: string; nextAt: string | null; at: string }]>(
      `UPDATE copies SET state = 'copied', since = @at, attempts = 0, problem = NULL
       WHERE backup_id = @backupId AND state = @work AND next_at = coalesce(@nextAt, next_at)`,
    ),
    removed: db.prepare<[{ readonly backupId: string; readonly work: string }]>(
      "DELETE FROM copies WHERE backup_id = @backupId AND state = @work",
    ),
    failed: db.prepare<[{ backupId: string; work: string; problem: string; nextAt: string }]>(
      `UPDATE copies SET attempts = attempts + 1, problem = @problem, next_at = @nextAt
       WHERE backup_id = @backupId AND state = @work`,
    ),
    requeue: db.prepare<[{ readonly backupId: string; readonly now: string }]>(
      `UPDATE copies SET state = 'queued', since = iif(state = 'copied', @now, since), next_at = @now, attempts = 0, problem = NULL
       WHERE backup_id = @backupId AND state <> 'removing'`,
    ),
    keep: db.prepare<[string]>("DELETE FROM copies WHERE backup_id = ? AND state = 'removing'"),
    newest: db.prepare<[], CopiedVersion>(
      `SELECT ${named} FROM (SELECT * FROM copies WHERE format = 'cmb1' ORDER BY backup_id DESC LIMIT 1000) AS last
       WHERE state = 'copied' AND EXISTS (SELECT 1 FROM versions WHERE backup_id = last.backup_id AND versions.state = 'ok')
       ORDER BY backup_id DESC LIMIT 1`,
    ),
    isCopied: db.prepare<[string]>("SELECT 1 FROM copies WHERE backup_id = ? AND state = 'copied'"),
    isLeaving: db.prepare<[string]>("SELECT 1 FROM copies WHERE backup_id = ? AND state = 'removing'"),
    lag: db.prepare<[], { waiting: number; since: string | null }>(
      `SELECT count(*) AS waiting, min(since) AS since FROM
         (SELECT since FROM copies INDEXED BY copies_waiting WHERE state <> 'copied' ORDER BY since LIMIT ${mostCounted})`,
    ),
    lastProblem: db
      .prepare<[], string | null>(
        "SELECT problem FROM copies INDEXED BY copies_failed WHERE problem IS NOT NULL ORDER BY next_at DESC LIMIT 1",
      )
      .pluck(),
  }
}
