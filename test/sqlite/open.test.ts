import assert from "node:assert/strict"
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { StartError } from "../../src/domain/start-error.ts"
import { openDatabase } from "../../src/sqlite/open.ts"
import { migrationsDir } from "./migrations.ts"

suite("openDatabase", () => {
  let dir: string
  let path: string
  let migrations: string
  const open = () => openDatabase({ path, migrationsDir: migrations })
  const refuses = (message: RegExp) =>
    assert.throws(open, (error: unknown) => {
      assert.ok(error instanceof StartError, String(error))
      assert.match(error.message, message)
      return true
    })
  const shipped = readdirSync(migrationsDir).length

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "open-"))
    path = join(dir, "state", "catalog.db")
    migrations = join(dir, "migrations")
    cpSync(migrationsDir, migrations, { recursive: true })
  })
  afterEach(() => rmSync(dir, { recursive: true }))

  test("makes a catalog that nobody else can read", () => {
    const db = open()
    db.exec("INSERT INTO provisional_versions VALUES ('x', '{}')")

    for (const suffix of ["", "-wal", "-shm"]) assert.equal(statSync(path + suffix).mode & 0o777, 0o600, suffix)
    assert.equal(statSync(join(dir, "state")).mode & 0o777, 0o700)
    db.close()
  })

  test("is durable and strict on every open, not only on the first", () => {
    for (const _ of [1, 2]) {
      const db = open()
      assert.equal(db.pragma("journal_mode", { simple: true }), "wal")
      assert.equal(db.pragma("synchronous", { simple: true }), 2)
      assert.equal(db.pragma("foreign_keys", { simple: true }), 1)
      assert.equal(db.pragma("busy_timeout", { simple: true }), 2000)
      assert.equal(db.pragma("user_version", { simple: true }), shipped)
      db.close()
    }
  })

  test("applies a new migration to what is there, once", () => {
    open().close()
    writeFileSync(
      join(migrations, `000${shipped + 1}-more.sql`),
      "CREATE TABLE more (x TEXT) STRICT; INSERT INTO more VALUES ('1');",
    )
    open().close()

    const db = open()
    assert.equal(db.prepare("SELECT count(*) FROM more").pluck().get(), 1)
    assert.equal(db.prepare("SELECT count(*) FROM migrations").pluck().get(), shipped + 1)
    db.close()
  })

  test("leaves nothing of a migration that fails", () => {
    open().close()
    writeFileSync(join(migrations, `000${shipped + 1}-bad.sql`), "CREATE TABLE half (x TEXT) STRICT; SELECT nonsense;")

    refuses(/SQLITE_ERROR/)

    rmSync(join(migrations, `000${shipped + 1}-bad.sql`))
    const db = open()
    assert.equal(db.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").pluck().get(), 0)
    db.close()
  })

  test("refuses a migration that was changed after it was applied", () => {
    open().close()
    const name = readdirSync(migrations).sort()[0] ?? ""
    writeFileSync(join(migrations, name), "-- nothing")

    refuses(new RegExp(`${name} is not the one that was applied`))
  })

  test("refuses a catalog of a newer version", () => {
    const db = open()
    db.pragma("user_version = 99")
    db.close()

    refuses(/newer version.*at 99/)
  })

  test("refuses migrations with a gap", () => {
    writeFileSync(join(migrations, `000${shipped + 2}-gap.sql`), "-- nothing")

    refuses(/lacks migration/)
  })

  test("refuses a database of another program and changes nothing in it", () => {
    mkdirSync(join(dir, "state"))
    const foreign = new Database(path)
    foreign.exec("CREATE TABLE theirs (x)")
    foreign.close()

    refuses(/another program/)

    const db = new Database(path)
    assert.deepEqual(db.prepare("SELECT name FROM sqlite_schema").pluck().all(), ["theirs"])
    assert.equal(db.pragma("journal_mode", { simple: true }), "delete")
    db.close()
  })

  test("refuses a file that is no database, and says how to go on", () => {
    mkdirSync(join(dir, "state"))
    writeFileSync(path, "x".repeat(5000))

    refuses(/SQLITE_NOTADB.*move it away/)
  })

  test("refuses a catalog whose first pages were zeroed", () => {
    open().close()
    writeFileSync(path, Buffer.alloc(8192), { flag: "r+" })

    refuses(/catalog\.db/)
  })

  test("refuses a place that cannot be written, and says to choose another", () => {
    writeFileSync(join(dir, "state"), "a file")

    refuses(/(ENOTDIR|EEXIST).*writable path in state_dir/)
  })

  test("refuses a catalog that another program holds locked", () => {
    open().close()
    copyFileSync(path, `${path}.x`)
    const other = new Database(path)
    other.pragma("locking_mode = EXCLUSIVE")
    other.exec("BEGIN EXCLUSIVE")

    refuses(/SQLITE_BUSY.*locked/)
    other.close()
  })
})
