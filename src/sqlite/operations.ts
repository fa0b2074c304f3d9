import type { Database, Statement } from "better-sqlite3"
import type { JsonPage, OperationChange, OperationFilter, PageRequest } from "../domain/catalog.ts"
import { Fault } from "../domain/fault.ts"
import type { Journal, OpenOperation, Operation, OperationProblem, Phase, Stage } from "../domain/operation.ts"
import { journalText, readJournal } from "./journal.ts"
import { operationJson } from "./json.ts"
import { KeysetList, type ListPlan, rowOrder } from "./list.ts"

const columns = `operation_id AS operationId, kind, vm_id AS vmId, type, state, file_state AS fileState,
  started_at AS startedAt, finished_at AS finishedAt, actor, reason, request_id AS requestId, digest,
  previous_digest AS previousDigest, backup_id AS backupId, version_id AS versionId, rollout_id AS rolloutId, stages, problem`

/** The columns that may change; a member that is not here cannot get into a statement. */
const changeable = {
  state: "state",
  fileState: "file_state",
  finishedAt: "finished_at",
  digest: "digest",
  previousDigest: "previous_digest",
  backupId: "backup_id",
  versionId: "version_id",
  stages: "stages",
  problem: "problem",
  phase: "phase",
} satisfies Record<keyof OperationChange, string>

type ChangeName = keyof typeof changeable
type Value = string | null

type OperationRow = Omit<Operation, "stages" | "problem"> & { readonly stages: string; readonly problem: string | null }
type OpenRow = OperationRow & { readonly phase: Phase; readonly journal: string }

/** The statements over operations. Those that write run inside a transaction of the write queue. */
export class OperationTable {
  readonly #db: Database
  readonly #statements: ReturnType<typeof prepare>
  readonly #changes = new Map<string, Statement<[Record<string, Value>]>>()
  readonly #list: KeysetList

  constructor(db: Database) {
    this.#db = db
    this.#statements = prepare(db)
    this.#list = new KeysetList(db, { name: "operations", timeColumn: "started_at", json: operationJson })
  }

  add(operation: Operation, journal: Journal | null): void {
    this.#statements.insert.run({
      ...operation,
      stages: JSON.stringify(operation.stages),
      problem: operation.problem && JSON.stringify(operation.problem),
      phase: journal?.phase ?? null,
      journal: journal && journalText(operation, journal),
    })
  }

  /** @throws {Fault} `operation_not_found` */
  change(operationId: string, change: OperationChange): void {
    const names = (Object.keys(changeable) as ChangeName[]).filter((name) => change[name] !== undefined)
    const values = Object.fromEntries(names.map((name) => [name, columnValue(change[name])]))
    const { changes } = this.#changeStatement(names).run({ ...values, operationId })
    if (changes === 0) throw new Fault("operation_not_found", `No operation "${operationId}" is known.`)
  }

  get(operationId: string): Operation | null {
    const row = this.#statements.get.get(operationId)
    return row ? operationOf(row) : null
  }

  open(): readonly OpenOperation[] {
    return this.#statements.open.all().map(({ phase, journal, ...row }) => ({
      operation: operationOf(row),
      journal: readJournal(phase, journal),
    }))
  }

  list(filter: OperationFilter, page: PageRequest): JsonPage {
    const parameters = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))
    return this.#list.page(planOperations(filter), parameters as Record<string, string>, page)
  }

  #changeStatement(names: readonly ChangeName[]): Statement<[Record<string, Value>]> {
    const key = names.join(" ")
    const known = this.#changes.get(key)
    if (known) return known
    // Setting the id to itself lets a change of nothing find out whether the operation is there.
    const assignments = ["operation_id = operation_id", ...names.map((name) => `${changeable[name]} = @${name}`)]
    const statement = this.#db.prepare<[Record<string, Value>]>(
      `UPDATE operations SET ${assignments.join(", ")} WHERE operation_id = @operationId`,
    )
    this.#changes.set(key, statement)
    return statement
  }
}

/** Over all VMs a span of time is found by the index on the time; over one VM its rows are few enough to be looked through. */
export function planOperations(filter: OperationFilter): ListPlan {
  const conditions: string[] = []
  if (filter.vmId !== undefined) conditions.push("vm_id = @vmId")
  if (filter.type !== undefined) conditions.push("type = @type")
  if (filter.kind !== undefined) conditions.push("kind = @kind")
  if (filter.state !== undefined) conditions.push("state = @state")
  if (filter.since !== undefined) conditions.push("started_at >= @since")
  return { ...chooseIndex(filter), conditions }
}

function chooseIndex(filter: OperationFilter): Pick<ListPlan, "index" | "order"> {
  if (filter.vmId !== undefined && filter.type !== undefined) return { index: "operations_config", order: "seq" }
  if (filter.vmId !== undefined) return { index: "operations_vm", order: "seq" }
  if (filter.since !== undefined) return { index: "operations_time", order: "time" }
  if (filter.state !== undefined) return { index: "operations_state", order: "seq" }
  if (filter.kind !== undefined) return { index: "operations_kind", order: "seq" }
  if (filter.type !== undefined) return { index: "operations_type", order: "seq" }
  return { index: rowOrder, order: "seq" }
}

function columnValue(value: OperationChange[ChangeName]): Value {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : (value ?? null)
}

function operationOf(row: OperationRow): Operation {
  return {
    ...row,
    stages: JSON.parse(row.stages) as readonly Stage[],
    problem: row.problem === null ? null : (JSON.parse(row.problem) as OperationProblem),
  }
}

function prepare(db: Database) {
  return {
    insert: db.prepare<[Record<string, unknown>]>(
      `INSERT INTO operations (operation_id, kind, vm_id, type, state, file_state, started_at, finished_at, actor, reason,
         request_id, digest, previous_digest, backup_id, version_id, rollout_id, stages, problem, phase, journal)
       VALUES (@operationId, @kind, @vmId, @type, @state, @fileState, @startedAt, @finishedAt, @actor, @reason,
         @requestId, @digest, @previousDigest, @backupId, @versionId, @rolloutId, @stages, @problem, @phase, @journal)`,
    ),
    get: db.prepare<[string], OperationRow>(`SELECT ${columns} FROM operations WHERE operation_id = ?`),
    open: db.prepare<[], OpenRow>(
      `SELECT ${columns}, phase, journal FROM operations INDEXED BY operations_open WHERE phase <> 'done' ORDER BY seq`,
    ),
  }
}
