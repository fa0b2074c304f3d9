import type { Database } from "better-sqlite3"
import type { CopyLag, CopyResult, DueCopy } from "../domain/copies.ts"

/** Nothing that failed waits for so long before it is tried again. */
const longestWaitMs = 60 * 60_000

/** The statements over copies off this host. Rows come and go by triggers on versions. */
export class CopyTable {
  readonly #statements: ReturnType<typeof prepare>

  constructor(db: Database) {
    this.#statements = prepare(db)
  }

  /** From now on copies go to `target`; to another one than before, all of them. null: nowhere. */
  setTarget(target: string | null, now: string): void {
    if (this.target() === target) return
    this.#statements.clear.run()
    if (target === null) {
      this.#statements.dropTarget.run()
      return
    }
    this.#statements.keepTarget.run(target)
    this.#statements.queueAll.run({ now })
  }

  target(): string | null {
    return this.#statements.target.get() ?? null
  }

  due(now: string, limit: number): readonly DueCopy[] {
    const horizon = new Date(Date.parse(now) + longestWaitMs).toISOString()
    return this.#statements.due.all({ now, limit, horizon })
  }

  nextDue(): string | null {
    return this.#statements.nextDue.get() ?? null
  }

  /** Notes how one piece of work ended, unless other work for the version has come up since. */
  note({ backupId, work }: Pick<DueCopy, "backupId" | "work">, result: CopyResult): void {
    const key = { backupId, work }
    if (result.kind === "copied") this.#statements.copied.run({ ...key, at: result.at })
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

  isCopied(backupId: string): boolean {
    return this.#statements.isCopied.get(backupId) !== undefined
  }

  lag(): CopyLag {
    const { waiting = 0, since = null } = this.#statements.lag.get() ?? {}
    return { waiting, since, problem: this.#statements.lastProblem.get() ?? null }
  }
}

function prepare(db: Database) {
  const named = "backup_id AS backupId, vm_id AS vmId, type, format"
  return {
    target: db.prepare<[], string>("SELECT value FROM facts WHERE name = 'copy_target'").pluck(),
    keepTarget: db.prepare<[string]>(
      "INSERT INTO facts VALUES ('copy_target', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    ),
    dropTarget: db.prepare<[]>("DELETE FROM facts WHERE name = 'copy_target'"),
    clear: db.prepare<[]>("DELETE FROM copies"),
    queueAll: db.prepare<[{ readonly now: string }]>(
      `INSERT INTO copies (backup_id, vm_id, type, format, state, since, next_at)
       SELECT backup_id, vm_id, type, format, 'queued', @now, @now FROM versions`,
    ),
    // What is to wait for longer than any pause was noted under a clock that was set back since.
    due: db.prepare<[{ readonly now: string; readonly limit: number; readonly horizon: string }], DueCopy>(
      `SELECT ${named}, state AS work, attempts FROM copies INDEXED BY copies_due
       WHERE state <> 'copied' AND (next_at <= @now OR next_at > @horizon) ORDER BY next_at LIMIT @limit`,
    ),
    nextDue: db
      .prepare<[], string>("SELECT min(next_at) FROM copies INDEXED BY copies_due WHERE state <> 'copied'")
      .pluck(),
    copied: db.prepare<[{ readonly backupId: string; readonly work: string; readonly at: string }]>(
      `UPDATE copies SET state = 'copied', since = @at, attempts = 0, problem = NULL
       WHERE backup_id = @backupId AND state = @work`,
    ),
    removed: db.prepare<[{ readonly backupId: string; readonly work: string }]>(
      "DELETE FROM copies WHERE backup_id = @backupId AND state = @work",
    ),
    failed: db.prepare<[{ backupId: string; work: string; problem: string; nextAt: string }]>(
      `UPDATE copies SET attempts = attempts + 1, problem = @problem, next_at = @nextAt
       WHERE backup_id = @backupId AND state = @work`,
    ),
    requeue: db.prepare<[{ readonly backupId: string; readonly now: string }]>(
      `UPDATE copies SET state = 'queued', since = @now, next_at = @now, attempts = 0, problem = NULL
       WHERE backup_id = @backupId AND state = 'copied'`,
    ),
    keep: db.prepare<[string]>("DELETE FROM copies WHERE backup_id = ? AND state = 'removing'"),
    isCopied: db.prepare<[string]>("SELECT 1 FROM copies WHERE backup_id = ? AND state = 'copied'"),
    lag: db.prepare<[], { waiting: number; since: string | null }>(
      "SELECT count(*) AS waiting, min(since) AS since FROM copies INDEXED BY copies_waiting WHERE state <> 'copied'",
    ),
    lastProblem: db
      .prepare<[], string | null>(
        `SELECT problem FROM copies INDEXED BY copies_due WHERE state <> 'copied' AND problem IS NOT NULL
         ORDER BY next_at DESC LIMIT 1`,
      )
      .pluck(),
  }
}
