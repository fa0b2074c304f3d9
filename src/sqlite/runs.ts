import type { Database } from "better-sqlite3"
import type { ConfigRef } from "../domain/config-type.ts"
import type { OperationProblem } from "../domain/operation.ts"
import type { NewRun, Run, RunItem, RunOutcome } from "../domain/run.ts"

type RunRow = Omit<NewRun, "targets"> & { readonly targets: string; readonly finishedAt: string | null }
type FailureRow = ConfigRef & { readonly problem: string }

/** The statements over runs. Those that write run inside a transaction of the write queue. */
export class RunTable {
  readonly #statements: ReturnType<typeof prepare>

  constructor(db: Database) {
    this.#statements = prepare(db)
  }

  add(run: NewRun): void {
    this.#statements.insert.run({ ...run, targets: JSON.stringify(run.targets.map(({ vmId, type }) => [vmId, type])) })
  }

  note(runId: string, item: RunItem): void {
    this.#statements.note.run({ ...item, runId, problem: item.problem && JSON.stringify(item.problem) })
  }

  finish(runId: string, finishedAt: string): void {
    this.#statements.finish.run(finishedAt, runId)
  }

  get(runId: string, maxFailures: number): Run | null {
    const row = this.#statements.get.get(runId)
    if (!row) return null
    const counts = { total: targetsOf(row).length, made: 0, unchanged: 0, failed: 0, unreachable: 0 }
    for (const { outcome, count } of this.#statements.counts.all(runId)) counts[outcome] = count
    const failures = this.#statements.failures.all(runId, maxFailures).map(({ vmId, type, problem }) => {
      return { vmId, type, problem: JSON.parse(problem) as OperationProblem }
    })
    const state = row.finishedAt === null ? "running" : "finished"
    return { runId, state, counts, failures, startedAt: row.startedAt, finishedAt: row.finishedAt }
  }

  open(): readonly NewRun[] {
    return this.#statements.open.all().map(({ finishedAt: _, ...row }) => {
      const done = new Set(this.#statements.items.all(row.runId).map(({ vmId, type }) => `${vmId}/${type}`))
      return { ...row, targets: targetsOf(row).filter(({ vmId, type }) => !done.has(`${vmId}/${type}`)) }
    })
  }

  prune(before: string, most: number): void {
    this.#statements.prune.run(before)
    this.#statements.pruneBeyond.run(most)
  }
}

function targetsOf({ targets }: Pick<RunRow, "targets">): readonly ConfigRef[] {
  return (JSON.parse(targets) as [string, string][]).map(([vmId, type]) => ({ vmId, type }))
}

function prepare(db: Database) {
  const columns = `run_id AS runId, kind, trigger, actor, reason, request_id AS requestId, started_at AS startedAt,
    finished_at AS finishedAt, targets`
  return {
    insert: db.prepare<[Omit<RunRow, "finishedAt">]>(
      `INSERT INTO runs (run_id, kind, trigger, actor, reason, request_id, started_at, targets)
       VALUES (@runId, @kind, @trigger, @actor, @reason, @requestId, @startedAt, @targets)`,
    ),
    note: db.prepare<[Omit<RunItem, "problem"> & { readonly runId: string; readonly problem: string | null }]>(
      "INSERT OR REPLACE INTO run_items VALUES (@runId, @vmId, @type, @outcome, @problem)",
    ),
    finish: db.prepare<[string, string]>("UPDATE runs SET finished_at = ? WHERE run_id = ?"),
    get: db.prepare<[string], RunRow>(`SELECT ${columns} FROM runs WHERE run_id = ?`),
    counts: db.prepare<[string], { outcome: RunOutcome; count: number }>(
      "SELECT outcome, count(*) AS count FROM run_items WHERE run_id = ? GROUP BY outcome",
    ),
    failures: db.prepare<[string, number], FailureRow>(
      `SELECT vm_id AS vmId, type, problem FROM run_items WHERE run_id = ? AND problem IS NOT NULL
       ORDER BY vm_id, type LIMIT ?`,
    ),
    open: db.prepare<[], RunRow>(`SELECT ${columns} FROM runs WHERE finished_at IS NULL ORDER BY started_at`),
    items: db.prepare<[string], ConfigRef>("SELECT vm_id AS vmId, type FROM run_items WHERE run_id = ?"),
    prune: db.prepare<[string]>("DELETE FROM runs WHERE finished_at < ?"),
    pruneBeyond: db.prepare<[number]>(
      `DELETE FROM runs WHERE run_id IN
         (SELECT run_id FROM runs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT -1 OFFSET ?)`,
    ),
  }
}
