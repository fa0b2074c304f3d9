import Database from "better-sqlite3"

/** What stands in the catalog's file cannot be what was written there. The message goes on after "its file is damaged: ". */
export class CatalogDamage extends Error {
  constructor(what: string, options?: { readonly cause?: unknown }) {
    super(what, options)
    this.name = "CatalogDamage"
  }
}

const codes: ReadonlySet<string> = new Set(["SQLITE_CORRUPT", "SQLITE_NOTADB"])

/** Whether SQLite says that the file, and not the disk or a statement, is what is wrong (sqlite.org/rescode.html). */
export function isDamage(error: unknown): error is Error {
  if (error instanceof CatalogDamage) return true
  return error instanceof Database.SqliteError && codes.has(error.code.split("_", 2).join("_"))
}

/**
 * Our statements fit our tables: where SQLite cannot even read one, it is the text of a table that is not what was written.
 * @throws {CatalogDamage}
 */
export function fitting<T>(look: () => T): T {
  try {
    return look()
  } catch (error) {
    if (!(error instanceof Database.SqliteError) || error.code !== "SQLITE_ERROR") throw error
    throw new CatalogDamage(`a statement does not fit its tables (${error.message})`, { cause: error })
  }
}
