import Database from "better-sqlite3"
import {
  copiedNotesFact,
  parseSalvaged,
  type SalvagedAnnotation,
  salvagedFact,
  soughtNotesFact,
} from "../domain/notes.ts"
import { isBelieved } from "./journal.ts"
import { repairOperation } from "./operation-row.ts"

/** What could be read of a catalog, and went into a new one. Versions are not among it: their blobs tell. */
export interface Salvaged {
  readonly operations: number
  /** Operations that go on, their journals whole. */
  readonly open: number
  /** Operations that did not end and whose journal cannot be believed: they are closed as unknown. */
  readonly closed: number
  /** Rows that were read and could not be what was written, of whatever table. What could not be read is not counted. */
  readonly lost: number
}

type Value = string | number | null
type Row = readonly Value[]

/** A table that is worth saving, with the columns of its key. */
interface Table {
  readonly name: string
  readonly key: string
}

/** In this order: items of a run need their run. */
const others: readonly Table[] = [
  { name: "provisional_versions", key: "backup_id" },
  { name: "facts", key: "name" },
  { name: "departures", key: "vm_id, type" },
  { name: "runs", key: "run_id" },
  { name: "run_items", key: "run_id, vm_id, type" },
  { name: "copies", key: "backup_id" },
]

/** Rows between two damaged places are tried one by one, up to this many. */
const mostTried = 100_000

/**
 * Copies what can be read of the catalog at `path` into `to`, an empty one. Rows are taken from both ends, so that a damaged
 * page costs its own rows and no others.
 */
export function salvage(path: string, to: Database.Database): Salvaged {
  const counts = { operations: 0, open: 0, closed: 0, lost: 0 }
  const from = openDamaged(path)
  if (!from) return counts
  try {
    to.transaction(() => {
      salvageOperations(from, to, counts)
      salvageAnnotations(from, to)
      for (const table of others) copy(from, to, table, (row) => row, counts)
      // A pin that could not be read is known to the notes alone, and to their copy: nothing of those is known any more.
      to.prepare("DELETE FROM facts WHERE name IN (?, ?)").run(copiedNotesFact, soughtNotesFact)
    }).immediate()
  } finally {
    from.close()
  }
  return counts
}

type Counts = { -readonly [name in keyof Salvaged]: number }

/** Read-only, so that what is moved aside afterwards is what was found. @returns null where not even a table can be named */
function openDamaged(path: string): Database.Database | null {
  let db: Database.Database | undefined
  try {
    db = new Database(path, { readonly: true, fileMustExist: true, timeout: 2000 })
    // A wrong text of one table must not keep us from reading the others (sqlite.org/pragma.html#pragma_writable_schema).
    db.unsafeMode().pragma("writable_schema = ON")
    db.prepare("SELECT count(*) FROM sqlite_schema").get()
    return db
  } catch (error) {
    db?.close()
    if (error instanceof Database.SqliteError) return null
    throw error
  }
}

function salvageOperations(from: Database.Database, to: Database.Database, counts: Counts): void {
  const now = new Date().toISOString()
  copy(
    from,
    to,
    { name: "operations", key: "seq" },
    (row, names) => {
      const repaired = repairOperation(Object.fromEntries(names.map((name, index) => [name, row[index] ?? null])))
      if (!repaired) return null
      const { operation_id, vm_id, type, phase, journal, finished_at } = repaired
      const owner = { operationId: String(operation_id), vmId: String(vm_id), type: String(type) }
      counts.operations += 1
      if (phase === null || phase === "done") return names.map((name) => repaired[name] ?? null)
      if (isBelieved(owner, String(phase), String(journal))) {
        counts.open += 1
        return names.map((name) => repaired[name] ?? null)
      }
      if (finished_at === null) counts.closed += 1
      const closed = { ...repaired, ...(finished_at === null ? unknownEnd(now) : {}), phase: null, journal: null }
      return names.map((name) => (closed as Record<string, Value>)[name] ?? null)
    },
    counts,
  )
}

/** 504: what `outcome_unknown` is answered with. */
function unknownEnd(now: string) {
  const detail = "The catalog was damaged, and with it what was known of this operation; look at the file on the VM."
  const problem = JSON.stringify({ code: "outcome_unknown", status: 504, detail })
  return { state: "failed", file_state: "unknown", finished_at: now, problem }
}

/** Pins and notes are not in the blobs: where their own file is gone as well, nobody else knows them. */
function salvageAnnotations(from: Database.Database, to: Database.Database): void {
  const names = (to.pragma("table_info(versions)") as readonly { readonly name: string }[]).map(({ name }) => name)
  const [idAt, pinnedAt, noteAt] = ["backup_id", "pinned", "note"].map((name) => names.indexOf(name))
  const found: SalvagedAnnotation[] = []
  for (const row of rowsOf(from, { name: "versions", key: "seq" })) {
    const [backupId, pinned, note] = [row[idAt ?? -1], row[pinnedAt ?? -1], row[noteAt ?? -1] ?? null]
    if (typeof backupId !== "string" || (pinned !== 1 && note === null)) continue
    if (note === null || typeof note === "string") found.push({ backupId, pinned: pinned === 1, note })
  }
  // And those that had no row there either.
  for (const [name, value] of rowsOf(from, { name: "facts", key: "name" })) {
    if (name === salvagedFact) found.push(...parseSalvaged(String(value)))
  }
  if (found.length > 0) to.prepare("INSERT INTO facts VALUES (?, ?)").run(salvagedFact, JSON.stringify(found))
}

/**
 * Columns keep their places from migration to migration, and new ones come after them, so that rows are taken by place: a
 * name that is damaged does no harm.
 */
function copy(
  from: Database.Database,
  to: Database.Database,
  table: Table,
  take: (row: Row, names: readonly string[]) => Row | null,
  counts: Counts,
): void {
  const columns = to.pragma(`table_info(${table.name})`) as readonly { readonly name: string }[]
  const names = columns.map(({ name }) => name)
  for (const row of rowsOf(from, table)) {
    const taken = row.length <= names.length ? take(row, names.slice(0, row.length)) : null
    if (taken === null || !insert(to, table.name, names, taken)) counts.lost += 1
  }
}

function insert(to: Database.Database, table: string, names: readonly string[], row: Row): boolean {
  const columns = names.slice(0, row.length).join(", ")
  const places = row.map(() => "?").join(", ")
  try {
    to.prepare(`INSERT OR IGNORE INTO ${table} (${columns}) VALUES (${places})`).run(...row)
    return true
  } catch (error) {
    // The new table refuses what the old one would not have taken either.
    if (error instanceof Database.SqliteError && error.code.startsWith("SQLITE_CONSTRAINT")) return false
    throw error
  }
}

/** Every row that can be read: from the first on, then from the last back, then those between that have a number. */
function* rowsOf(from: Database.Database, { name, key }: Table): Generator<Row> {
  // The first column of the key of the row that was read last, from either side.
  const read: { up: Value; down: Value } = { up: null, down: null }
  const isWhole = yield* rowsIn(from, `SELECT * FROM ${name} ORDER BY ${key}`, ([first = null]) => {
    read.up = first
    return true
  })
  if (isWhole) return
  yield* rowsIn(from, `SELECT * FROM ${name} ORDER BY ${key.replaceAll(/(?=,|$)/g, " DESC")}`, ([first = null]) => {
    read.down = first
    // Rows of one run share the first column of their key; one that comes twice is entered once.
    return read.up === null || first === null || first >= read.up
  })
  const { up, down } = { ...read, up: read.up ?? 0 }
  if (typeof up !== "number" || typeof down !== "number" || down - up > mostTried) return
  for (let seq = up + 1; seq < down; seq += 1) {
    yield* rowsIn(from, `SELECT * FROM ${name} WHERE seq = ${seq}`, () => true)
  }
}

/** @returns whether it came to the end, of the rows or of those that are wanted */
function* rowsIn(from: Database.Database, sql: string, isWanted: (row: Row) => boolean): Generator<Row, boolean> {
  try {
    for (const row of from.prepare<[], Row>(sql).raw().iterate() as IterableIterator<Row>) {
      if (!isWanted(row)) return true
      yield row
    }
    return true
  } catch (error) {
    if (error instanceof Database.SqliteError) return false
    throw error
  }
}
