import { closeSync, existsSync, mkdirSync, openSync } from "node:fs"
import { dirname } from "node:path"
import Database from "better-sqlite3"
import { StartError } from "../domain/start-error.ts"
import { CatalogDamage, fitting, isDamage } from "./damage.ts"
import { migrate, readMigrations, requireKnown } from "./migrate.ts"
import { checkHeader, checkJournals, checkPages, checkSchema, headerOf } from "./soundness.ts"

/** "CMC1": marks a file as our catalog. */
const applicationId = 0x434d4331
const synchronousFull = 2

export interface OpenCatalogOptions {
  readonly path: string
  readonly migrationsDir: string
}

/**
 * Opens the catalog, or makes it (0600), looks whether it is sound, and brings its tables up to date.
 * @throws {StartError} @throws {CatalogDamage} for a catalog of ours that is not what was written
 */
export function openDatabase({ path, migrationsDir }: OpenCatalogOptions): Database.Database {
  makeFile(path)
  let db: Database.Database | undefined
  try {
    checkHeader(path, applicationId)
    db = new Database(path, { timeout: 2000 })
    claim(db, path)
    const opened = db
    fitting(() => setPragmas(opened))
    fitting(() => checkPages(opened))
    migrate(db, { path, migrationsDir })
    checkSchema(db, migrationsDir)
    fitting(() => checkJournals(opened))
    return db
  } catch (error) {
    db?.close()
    throw told(error, path)
  }
}

/**
 * Opens the catalog for reading beside the process that has it: no lock, no migration, nothing written.
 * @throws {StartError} where there is none that can be read as it is
 */
export function openForReading({ path, migrationsDir }: OpenCatalogOptions): Database.Database {
  let db: Database.Database | undefined
  try {
    db = new Database(path, { readonly: true, fileMustExist: true, timeout: 2000 })
    if (db.pragma("application_id", { simple: true }) !== applicationId) throw notOurs(path)
    checkSchema(db, migrationsDir)
    return db
  } catch (error) {
    db?.close()
    if (error instanceof StartError) throw error
    const why = error instanceof Error ? error.message : "unknown error"
    throw new StartError(`The catalog ${path} cannot be read: ${why}.`, { cause: error })
  }
}

/**
 * Refuses what `openDatabase` would refuse as a newer version's, by the header of the file alone: to open it would leave files
 * beside it. @throws {StartError}
 */
export function lookAtCatalog({ path, migrationsDir }: OpenCatalogOptions): void {
  // What cannot be read, or is no database, is another's to tell of.
  const header = existsSync(path) ? headerOf(path, applicationId) : null
  // fileformat2.html, 1.3: the user version.
  if (header !== null) requireKnown(header.readUInt32BE(60), readMigrations(migrationsDir).length, path)
}

/** SQLite would make it readable for all; its -wal and -shm take over the mode. */
function makeFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    closeSync(openSync(path, "a", 0o600))
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw new StartError(
      `The catalog ${path} cannot be written (${code}). Choose a writable path in state_dir, or run elevated.`,
      { cause },
    )
  }
}

/** Refuses a database of another program before anything is changed in it. */
function claim(db: Database.Database, path: string): void {
  const found = db.pragma("application_id", { simple: true })
  if (found === applicationId) return
  const tables = db.prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all()
  if (["migrations", "operations", "versions"].every((name) => tables.includes(name))) {
    throw new CatalogDamage("its mark is wrong, and its tables are ours")
  }
  if (found !== 0 || tables.length !== 0) throw notOurs(path)
  db.pragma(`application_id = ${applicationId}`)
}

function notOurs(path: string): StartError {
  return new StartError(`${path} is a database of another program. Choose another state_dir.`)
}

/** Not all of them are kept in the file: `synchronous` falls back to NORMAL whenever a WAL database is opened again. */
function setPragmas(db: Database.Database): void {
  const mode = db.pragma("journal_mode = WAL", { simple: true })
  if (mode !== "wal") throw new StartError(`The file system of ${db.name} does not allow SQLite's WAL (${mode}).`)
  db.pragma("synchronous = FULL")
  if (db.pragma("synchronous", { simple: true }) !== synchronousFull) {
    throw new StartError(`SQLite does not make the catalog ${db.name} durable: synchronous=FULL was refused.`)
  }
  db.pragma("foreign_keys = ON")
  // 32 MiB: a list over one VM reads rows from all over the file.
  db.pragma("cache_size = -32768")
  db.pragma("trusted_schema = OFF")
}

function told(error: unknown, path: string): unknown {
  if (isDamage(error)) return new CatalogDamage(error.message, { cause: error })
  if (!(error instanceof Database.SqliteError)) return error
  return new StartError(`The catalog ${path} cannot be used (${error.code}). ${hintOf(error, path)}`, { cause: error })
}

function hintOf(error: InstanceType<typeof Database.SqliteError>, path: string): string {
  if (error.code.startsWith("SQLITE_BUSY")) return "Another program holds it locked."
  if (isNoRoom(error)) return "There is no room left for it: make some."
  return (
    `Move it away together with ${path}-wal and ${path}-shm, and a new one is made from the backups. ` +
    "The sealed versions themselves do not depend on it."
  )
}

/** Whether a disk was full: of the log's index SQLite says it in another word. */
export function isNoRoom(error: unknown): boolean {
  return error instanceof Database.SqliteError && ["SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"].includes(error.code)
}
