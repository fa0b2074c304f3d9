import assert from "node:assert/strict"
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { StartError } from "../../src/domain/start-error.ts"
import { CatalogDamage } from "../../src/sqlite/damage.ts"
import { lookAtCatalog, openDatabase } from "../../src/sqlite/open.ts"
import { migrationsDir } from "./migrations.ts"

suite("openDatabase", () => {
  let dir: string
  let path: string
  let migrations: string
  const open = () => openDatabase({ path, migrationsDir: migrations })
  const look = () => lookAtCatalog({ path, migrationsDir: migrations })
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
    const next = shipped + 1
    look()
    db.prepare("INSERT INTO migrations VALUES (?, 'x.sql', 'x', '2026-01-01T00:00:00.000Z')").run(next)
    db.pragma(`user_version = ${next}`)
    db.close()

    refuses(new RegExp(`newer version.*at ${next}`))
    assert.throws(look, new RegExp(`newer version.*at ${next}`))
    assert.deepEqual(readdirSync(join(dir, "state")), ["catalog.db"])
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

  const damages: Readonly<Record<string, readonly [spoil: (db: Database.Database) => void, what: RegExp]>> = {
    "a number of migrations that it does not name": [(db) => db.pragma("user_version = 99"), /says that 99/],
    "a note of a migration with a wrong digit": [
      (db) => {
        db.exec(
          "UPDATE migrations SET sha256 = CASE substr(sha256, 1, 1) WHEN 'f' THEN 'e' ELSE 'f' END || substr(sha256, 2)",
        )
      },
      /note of migration 0001/,
    ],
    "a wrong mark over our tables": [(db) => db.pragma("application_id = 7"), /its tables are ours/],
    "a table that is gone": [(db) => db.exec("DROP TABLE facts"), /tables are not those/],
    "a table that lacks its trigger": [(db) => db.exec("DROP TRIGGER versions_removed"), /tables are not those/],
    "two tables in one place": [
      (db) => {
        db.exec("INSERT INTO facts VALUES ('a', 'b')")
        db.unsafeMode().pragma("writable_schema = ON")
        db.exec(
          "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'facts') WHERE name = 'departures'",
        )
      },
      /./,
    ],
  }
  for (const [what, [spoil, sentence]] of Object.entries(damages)) {
    test(`tells a catalog damaged that has ${what}`, () => {
      const db = open()
      spoil(db)
      db.close()

      assert.throws(open, (error: unknown) => {
        assert.ok(error instanceof CatalogDamage, String(error))
        assert.match(error.message, sentence)
        return true
      })
    })
  }

  test("tells a catalog damaged whose header is not what SQLite writes, one byte of it at a time", () => {
    open().close()
    const good = readFileSync(path)
    // Write and read version, reserved space, payload fractions, schema format, encoding.
    for (const offset of [18, 19, 20, 21, 22, 23, 44, 56, 59]) {
      const bytes = Buffer.from(good)
      bytes[offset] = (bytes[offset] ?? 0) ^ 0x10
      writeFileSync(path, bytes)
      assert.throws(open, { name: "CatalogDamage", message: /header/ }, `byte ${offset}`)
    }
    writeFileSync(path, good)
    open().close()
  })

  test("finds a new catalog sound whose process was killed while all of it stood in its -wal", () => {
    const db = open()
    db.exec("INSERT INTO provisional_versions VALUES ('x', '{}')")
    const killed = ["", "-wal"].map((suffix) => [path + suffix, readFileSync(path + suffix)] as const)
    db.close()
    for (const [file, bytes] of killed) writeFileSync(file, bytes)

    const again = open()
    assert.deepEqual(again.prepare("SELECT count(*) FROM provisional_versions").pluck().all(), [1])
    again.close()
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
