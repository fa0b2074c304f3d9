import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { Database } from "better-sqlite3"
import { StartError } from "../domain/start-error.ts"
import { CatalogDamage, fitting } from "./damage.ts"

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
 * @throws {CatalogDamage} when the database contradicts itself on which were applied
 */
export function migrate(db: Database, { path, migrationsDir }: { path: string; migrationsDir: string }): void {
  const migrations = readMigrations(migrationsDir)
  const done = Number(db.pragma("user_version", { simple: true }))
  const applied = fitting(() => appliedTo(db))
  if (applied.length !== done) {
    throw new CatalogDamage(`it says that ${done} migrations were applied, and names ${applied.length}`)
  }
  requireKnown(done, migrations.length, path)
  compare(db, migrations.slice(0, done), applied)
  for (const migration of migrations.slice(done)) apply(db, migration)
}

/** @throws {StartError} for a catalog that more migrations were applied to than are known */
export function requireKnown(done: number, known: number, path: string): void {
  if (done <= known) return
  throw new StartError(
    `The catalog ${path} was made by a newer version of this program (its tables are at ${done}, known are ` +
      `${known}). Start that version, or put a copy of the catalog from before it back.`,
  )
}

export function readMigrations(dir: string): readonly Migration[] {
  const names = readdirSync(dir).filter((name) => namePattern.test(name))
  return names.sort().map((name, index) => {
    const number = index + 1
    if (Number(name.slice(0, 4)) !== number) throw new StartError(`${dir} lacks migration ${number}, or has it twice.`)
    const sql = readFileSync(join(dir, name), "utf8")
    return { number, name, sql, sha256: createHash("sha256").update(sql).digest("hex") }
  })
}

function appliedTo(db: Database): readonly Applied[] {
  const exists = db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'").get()
  if (exists === undefined) return []
  return db.prepare<[], Applied>("SELECT number, name, sha256 FROM migrations ORDER BY number").all()
}

function compare(db: Database, migrations: readonly Migration[], applied: readonly Applied[]): void {
  for (const [index, migration] of migrations.entries()) {
    const row = applied[index]
    if (row?.number === migration.number && row.sha256 === migration.sha256) continue
    // Of two digests nearly all digits differ; where only some do, it is the row that has changed and not the migration.
    if (row?.number !== migration.number || differences(row.sha256, migration.sha256) < 16) {
      throw new CatalogDamage(`its note of migration ${migration.name} is not what was written`)
    }
    throw new StartError(
      `Migration ${migration.name} is not the one that was applied to the catalog ${db.name}. Put the file back as it was: ` +
        "a change needs a migration of its own.",
    )
  }
}

function differences(a: string, b: string): number {
  return [...b].filter((digit, index) => digit !== a[index]).length
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
