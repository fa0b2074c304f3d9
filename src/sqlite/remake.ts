import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import Database from "better-sqlite3"
import { StartError } from "../domain/start-error.ts"
import { CatalogDamage } from "./damage.ts"
import { isNoRoom, type OpenCatalogOptions, openDatabase } from "./open.ts"
import { Reserve } from "./reserve.ts"
import { type Salvaged, salvage } from "./salvage.ts"

/** A catalog that took the place of another one. */
export interface Remade extends Salvaged {
  /** What was wrong with the other one: goes on after a colon. */
  readonly why: string
  /** Where the other one stands now. */
  readonly aside: string
}

export interface OpenedCatalog {
  readonly db: Database.Database
  /** null: it was as it should be, or there was none. */
  readonly remade: Remade | null
}

/** SQLite's files of one database. */
const parts = ["", "-wal", "-shm"]
/** Catalogs that were moved aside are kept for whoever wants to look at them; older ones go. */
const mostKept = 3

/**
 * Opens the catalog; one that is damaged is moved aside, never removed, and what can be read of it but versions goes into a
 * new one. Versions come back from their blobs (services/reconciliation.ts).
 * @throws {StartError}
 */
export function openCatalog(options: OpenCatalogOptions): OpenedCatalog {
  endRemaking(options.path)
  try {
    return { db: openOnFullDisk(options), remade: null }
  } catch (error) {
    if (!(error instanceof CatalogDamage)) throw error
    return remake(options, error.message, "damaged")
  }
}

/** To be opened it needs some room for its index of the log: on a full disk the reserve is given up for that. */
function openOnFullDisk(options: OpenCatalogOptions): Database.Database {
  try {
    return openDatabase(options)
  } catch (error) {
    if (!(error instanceof Error) || !isNoRoom(error.cause) || !new Reserve(options.path).give()) throw error
    return openDatabase(options)
  }
}

/** Moves a sound catalog aside as well: its versions are to be read anew. @throws {StartError} */
export function remakeCatalog(options: OpenCatalogOptions): OpenedCatalog {
  endRemaking(options.path)
  const existed = existsSync(options.path)
  const { db, remade } = openCatalog(options)
  if (remade || !existed) return { db, remade }
  db.close()
  return remake(options, "it was asked for", "replaced")
}

/** The new catalog is whole before the other one is touched: a process that ends meanwhile loses nothing of either. */
function remake(options: OpenCatalogOptions, why: string, word: "damaged" | "replaced"): OpenedCatalog {
  const { path } = options
  const fresh = freshPath(path)
  removeAll(fresh)
  const salvaged = makeFresh(options, fresh)
  const aside = `${path}.${word}-${new Date().toISOString().replaceAll(/[-:.]/g, "")}`
  for (const part of parts) if (existsSync(path + part)) renameSync(path + part, aside + part)
  renameSync(fresh, path)
  syncDirectory(dirname(path))
  prune(path)
  return { db: openDatabase(options), remade: { ...salvaged, why, aside } }
}

function makeFresh({ path, migrationsDir }: OpenCatalogOptions, fresh: string): Salvaged {
  const db = openDatabase({ path: fresh, migrationsDir })
  try {
    return salvage(path, db)
  } catch (cause) {
    if (!(cause instanceof Database.SqliteError)) throw cause
    throw new StartError(
      `The catalog ${path} is damaged, and a new one cannot be written beside it (${cause.code}). Make room there.`,
      { cause },
    )
  } finally {
    // The last connection that closes brings everything into the one file.
    db.close()
  }
}

/** A process that ended between moving the one aside and putting the other in its place. */
function endRemaking(path: string): void {
  const fresh = freshPath(path)
  if (!existsSync(fresh)) return
  const isWhole = !existsSync(path) && !existsSync(`${fresh}-wal`)
  if (!isWhole) {
    removeAll(fresh)
    return
  }
  // A log that is left belongs to the other one: SQLite would take it for this one's.
  for (const part of ["-wal", "-shm"]) rmSync(path + part, { force: true })
  renameSync(fresh, path)
  syncDirectory(dirname(path))
}

function freshPath(path: string): string {
  return `${path}.new`
}

function removeAll(path: string): void {
  for (const part of parts) rmSync(path + part, { force: true })
}

function prune(path: string): void {
  const pattern = /\.(damaged|replaced)-(\d{8}T\d{9}Z)$/
  const timeOf = (name: string): string => pattern.exec(name)?.[2] ?? ""
  const names = readdirSync(dirname(path)).filter((name) => name.startsWith(`${basename(path)}.`) && pattern.test(name))
  const sorted = names.sort((a, b) => (timeOf(a) < timeOf(b) ? -1 : 1))
  for (const name of sorted.slice(0, -mostKept)) removeAll(join(dirname(path), name))
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r")
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}
