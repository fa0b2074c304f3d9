import { accessSync, closeSync, constants, existsSync, fsyncSync, mkdirSync, openSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import Database from "better-sqlite3"
import { StartError } from "../domain/start-error.ts"

export interface DirectoryLock {
  release(): void
}

/** The connections of the locks that are held: one that nothing refers to is closed by the garbage collector, and its lock gone. */
const held = new Set<Database.Database>()

/** How long a process that is just ending is waited for. */
const patienceMs = 300

/**
 * Makes this process the only one of its kind on `dir` (made, 0700, where it does not exist), by an exclusive transaction on
 * `lock.db` in it. The kernel releases it with the process, whatever ends that.
 * @param setting where the directory is named, for the sentence
 * @throws {StartError} when another process has it: within a second
 */
export function acquireLock(dir: string, setting = "the directory"): DirectoryLock {
  const db = openLocked(dir, setting)
  held.add(db)
  return { release: () => release(db) }
}

/** Whether `acquireLock` could make and lock `dir`, as far as can be seen without doing so. @throws {StartError} */
export function requireLockable(dir: string, setting: string): void {
  let path = dir
  while (!existsSync(path) && path !== dirname(path)) path = dirname(path)
  try {
    if (!statSync(path).isDirectory()) throw Object.assign(new Error(`${path} is no directory`), { code: "ENOTDIR" })
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (error) {
    throw refusal(dir, setting, error)
  }
}

function openLocked(dir: string, setting: string): Database.Database {
  let db: Database.Database | undefined
  try {
    makeDirectory(dir)
    db = new Database(join(dir, "lock.db"), { timeout: patienceMs })
    // Nothing is ever written there, and a journal beside it would need room: a full disk must not stop a start.
    db.pragma("journal_mode = MEMORY")
    db.exec("BEGIN EXCLUSIVE")
    return db
  } catch (error) {
    db?.close()
    throw refusal(dir, setting, error)
  }
}

function release(db: Database.Database): void {
  held.delete(db)
  db.close()
}

/** Step by step: where the kernel says ENOENT for a parent that is there (as in /proc), Node's own `recursive` never returns. */
function makeDirectory(dir: string): void {
  if (existsSync(dir)) return
  const parent = dirname(dir)
  if (parent !== dir) makeDirectory(parent)
  mkdirSync(dir, { mode: 0o700 })
  syncDirectory(parent)
}

/** A power loss must not take the way to the catalog away. A parent that may not be opened was made by others. */
function syncDirectory(path: string): void {
  let directory: number | null = null
  try {
    directory = openSync(path, "r")
    fsyncSync(directory)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ""
    if (!["EACCES", "EPERM", "EINVAL"].includes(code)) throw error
  } finally {
    if (directory !== null) closeSync(directory)
  }
}

function refusal(dir: string, setting: string, cause: unknown): StartError {
  const code = (cause as NodeJS.ErrnoException).code ?? "unknown error"
  if (code.startsWith("SQLITE_BUSY")) {
    return new StartError(
      `Another process of Config Manager is at work in ${dir}. Stop it, or choose another directory.`,
      {
        cause,
      },
    )
  }
  const what = existsSync(dir)
    ? `cannot be locked (${code})`
    : `does not exist and cannot be made (${code}): make it, for the user that the service runs as`
  return new StartError(`${dir} (${setting}) ${what}. Choose a writable directory, or run elevated.`, { cause })
}
