import { closeSync, openSync, readSync } from "node:fs"
import Database from "better-sqlite3"
import { CatalogDamage } from "./damage.ts"
import { isBelieved } from "./journal.ts"
import { migrate } from "./migrate.ts"

/** Up to this size all is checked: about a second. Beyond, the full check takes ten for every million versions. */
const fullCheckBytes = 64 * 1024 * 1024

/**
 * Holds the header of a file of ours against what SQLite would put up with: with a wrong bit there it takes the file for
 * read-only, for another encoding, or for empty (sqlite.org/fileformat2.html, 1.3).
 * @throws {CatalogDamage}
 */
export function checkHeader(path: string, applicationId: number): void {
  const header = headerOf(path, applicationId)
  if (header === null) return
  const fractions = [header[21], header[22], header[23]].join(" ")
  const [writeVersion = 0, readVersion = 0, reserved = 0] = header.subarray(18, 21)
  const versions = [writeVersion, readVersion].every((version) => version === 1 || version === 2)
  const schemaFormat = header.readUInt32BE(44)
  const encoding = header.readUInt32BE(56)
  // Both are written with the first table, which stands in the -wal alone until that is first copied into the file.
  const isNew = header.readUInt32BE(28) === 1 && schemaFormat === 0 && encoding === 0
  const isUtf8 = schemaFormat <= 4 && encoding === 1
  if (versions && reserved === 0 && fractions === "64 32 32" && (isUtf8 || isNew)) return
  throw new CatalogDamage("its header is not what SQLite writes")
}

/** @returns the header of a file of ours; null: it is another's, or has none yet */
export function headerOf(path: string, applicationId: number): Buffer | null {
  const header = Buffer.alloc(100)
  const file = openSync(path, "r")
  const length = readSync(file, header, 0, header.length, 0)
  closeSync(file)
  return length === header.length && header.readUInt32BE(68) === applicationId ? header : null
}

/**
 * Looks into every page. A large catalog is not held against all of its indexes, only against those that find versions by
 * id and by config: rows and blobs are compared by them.
 * @throws {CatalogDamage}
 */
export function checkPages(db: Database.Database): void {
  const bytes = Number(db.pragma("page_count", { simple: true })) * Number(db.pragma("page_size", { simple: true }))
  const isLarge = bytes > fullCheckBytes
  const verdict = String(db.pragma(isLarge ? "quick_check(1)" : "integrity_check(1)", { simple: true }))
  if (verdict !== "ok") throw new CatalogDamage(verdict.replaceAll("\n", "; "))
  if (!isLarge) return
  const lost = db
    .prepare(
      `SELECT 1 FROM versions AS row NOT INDEXED
       WHERE row.seq IS NOT (SELECT seq FROM versions WHERE backup_id = row.backup_id)
          OR row.seq IS NOT (SELECT seq FROM versions INDEXED BY versions_config
                             WHERE vm_id = row.vm_id AND type = row.type AND valid_from = row.valid_from)
       LIMIT 1`,
    )
    .get()
  if (lost !== undefined) throw new CatalogDamage("a version is not found by its indexes")
}

/** Holds the tables against those that the migrations make: SQLite believes whatever text it finds. @throws {CatalogDamage} */
export function checkSchema(db: Database.Database, migrationsDir: string): void {
  const model = new Database(":memory:")
  try {
    migrate(model, { path: ":memory:", migrationsDir })
    if (schemaOf(db) !== schemaOf(model)) throw new CatalogDamage("its tables are not those that this version makes")
  } finally {
    model.close()
  }
}

/** Without what another version of SQLite may write differently when it renames a table. */
function schemaOf(db: Database.Database): string {
  const texts = db
    .prepare<[], string>("SELECT type || name || tbl_name || coalesce(sql, '') FROM sqlite_schema ORDER BY name")
    .pluck()
    .all()
  return texts.map((text) => text.replaceAll(/[\s"'`]/g, "")).join("\n")
}

/** @throws {CatalogDamage} when an open journal cannot be what was written */
export function checkJournals(db: Database.Database): void {
  const rows = db
    .prepare<[], { operationId: string; vmId: string; type: string; phase: string; journal: string }>(
      "SELECT operation_id AS operationId, vm_id AS vmId, type, phase, journal FROM operations WHERE phase <> 'done'",
    )
    .all()
  const wrong = rows.find((row) => !isBelieved(row, row.phase, row.journal))
  if (wrong) throw new CatalogDamage(`the journal of operation ${wrong.operationId} is not what was written`)
}
