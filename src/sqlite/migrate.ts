import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { Database } from "better-sqlite3"
import { StartError } from "../domain/start-error.ts"

interface Migration {
  readonly number: number
  /** `0001-catalog.sql` */
  readonly name: string
  readonly sql: string
  readonly sha256: string
}

interface Applied {
  readonly number: number
  readonly name: string
  readonly sha256: string
}

const namePattern = /^(\d{4})-[a-z0-9-]+\.sql$/

/**
 * Applies the migrations that a database lacks, each in one transaction with the row that says so; `user_version` is the
 * number of the last. Forward only.
 * @throws {StartError} when one that was applied has changed since, or the database comes from a newer version
 */
export function migrate(db: Database, { path, migrationsDir }: { path: string; migrationsDir: string }): void {
  const migrations = readMigrations(migrationsDir)
  const done = Number(db.pragma("user_version", { simple: true }))
  if (done > migrations.length) {
    throw new StartError(
      `The catalog ${path} was made by a newer version of this program (its tables are at ${done}, known are ` +
        `${migrations.length}). Start that version, or put a copy of the catalog from before it back.`,
    )
  }
  if (done > 0) compare(db, migrations.slice(0, done))
  for (const migration of migrations.slice(done)) apply(db, migration)
}

function readMigrations(dir: string): readonly Migration[] {
  const names = readdirSync(dir).filter((name) => namePattern.test(name))
  return names.sort().map((name, index) => {
    const number = index + 1
    if (Number(name.slice(0, 4)) !== number) throw new StartError(`${dir} lacks migration ${number}, or has it twice.`)
    const sql = readFileSync(join(dir, name), "utf8")
    return { number, name, sql, sha256: createHash("sha256").update(sql).digest("hex") }
  })
}

function compare(db: Database, migrations: readonly Migration[]): void {
  const rows = db.prepare<[], Applied>("SELECT number, name, sha256 FROM migrations ORDER BY number").all()
  for (const [index, migration] of migrations.entries()) {
    const row = rows[index]
    if (row?.number === migration.number && row.sha256 === migration.sha256) continue
    throw new StartError(
      `Migration ${migration.name} is not the one that was applied to the catalog ${db.name}. Put the file back as it was: ` +
        "a change needs a migration of its own.",
    )
  }
}

function apply(db: Database, migration: Migration): void {
  db.transaction(() => {
    db.exec(`CREATE TABLE IF NOT EXISTS migrations (
      number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at TEXT NOT NULL
    ) STRICT`)
    db.exec(migration.sql)
    db.prepare("INSERT INTO migrations VALUES (?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))").run(
      migration.number,
      migration.name,
      migration.sha256,
    )
    db.pragma(`user_version = ${migration.number}`)
  }).immediate()
}
