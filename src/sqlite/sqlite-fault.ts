import Database from "better-sqlite3"
import { Fault } from "../domain/fault.ts"

/**
 * An error of SQLite as the fault that a client is told (sqlite.org/rescode.html). A broken constraint or a wrong statement
 * is a mistake of ours, no state of the world: it stays the error it is.
 */
export function sqliteFault(error: unknown, path: string): unknown {
  if (!(error instanceof Database.SqliteError)) return error
  const code = primaryCode(error.code)
  switch (code) {
    case "SQLITE_FULL":
      return new Fault(
        "storage_full",
        `There is no room left for the catalog ${path}. Free some, or raise the quota.`,
        {
          cause: error,
        },
      )
    case "SQLITE_BUSY":
    case "SQLITE_LOCKED":
      return new Fault("storage_busy", `Another program holds the catalog ${path} locked.`, {
        cause: error,
        retryAfterSeconds: 1,
      })
    case "SQLITE_CONSTRAINT":
    case "SQLITE_ERROR":
    case "SQLITE_MISUSE":
    case "SQLITE_RANGE":
      return error
    default:
      return new Fault("backup_storage_unavailable", `The catalog ${path} cannot be read or written (${error.code}).`, {
        cause: error,
      })
  }
}

/** `SQLITE_IOERR_FSYNC` -> `SQLITE_IOERR` */
function primaryCode(code: string): string {
  return code.split("_", 2).join("_")
}
