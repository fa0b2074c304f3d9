import { closeSync, mkdirSync, openSync } from "node:fs"
import { dirname } from "node:path"
import Database from "better-sqlite3"
import { StartError } from "../domain/start-error.ts"
import { migrate } from "./migrate.ts"

/** "CMC1": marks a file as our catalog. */
const applicationId = 0x434d4331
const synchronousFull = 2

export interface OpenCatalogOptions {
  readonly path: string
  readonly migrationsDir: string
}

/** Opens the catalog, or makes it (0600), and brings its tables up to date. @throws {StartError} */
export function openDatabase({ path, migrationsDir }: OpenCatalogOptions): Database.Database {
  makeFile(path)
  let db: Database.Database | undefined
  try {
    db = new Database(path, { timeout: 2000 })
    claim(db, path)
    setPragmas(db)
    migrate(db, { path, migrationsDir })
    return db
  } catch (error) {
    db?.close()
    throw error instanceof Database.SqliteError ? unusable(path, error) : error
  }
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
  const tables = db.prepare("SELECT count(*) FROM sqlite_schema").pluck().get()
  if (found !== 0 || tables !== 0) {
    throw new StartError(`${path} is a database of another program. Choose another state_dir.`)
  }
  db.pragma(`application_id = ${applicationId}`)
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

function unusable(path: string, cause: Error & { readonly code: string }): StartError {
  const hint = cause.code.startsWith("SQLITE_BUSY")
    ? "Another program holds it locked."
    : `Put a good copy back, or move it away together with ${path}-wal and ${path}-shm: a new, empty catalog is made then. ` +
      "The sealed versions themselves do not depend on it."
  return new StartError(`The catalog ${path} cannot be used (${cause.code}). ${hint}`, { cause })
}
