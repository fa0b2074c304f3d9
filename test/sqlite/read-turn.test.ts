import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { setImmediate as nextTurn } from "node:timers/promises"
import type { Database } from "better-sqlite3"
import SqliteDatabase from "better-sqlite3"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { openDatabase } from "../../src/sqlite/open.ts"
import { ReadTurn } from "../../src/sqlite/read-turn.ts"
import { migrationsDir } from "./migrations.ts"
import { anOperation } from "./records.ts"

suite("ReadTurn", () => {
  let dir: string
  let db: Database
  let other: Database
  let reads: ReadTurn
  const rows = () => reads.read(() => db.prepare("SELECT backup_id FROM provisional_versions ORDER BY 1").pluck().all())
  const insert = (id: string) => other.prepare("INSERT INTO provisional_versions VALUES (?, '{}')").run(id)

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "reads-"))
    db = openDatabase({ path: join(dir, "catalog.db"), migrationsDir })
    other = new SqliteDatabase(db.name)
    reads = new ReadTurn(db)
  })
  afterEach(() => {
    db.close()
    other.close()
    rmSync(dir, { recursive: true })
  })

  test("what is read in one turn shares a transaction, and the next turn sees what was written meanwhile", async () => {
    assert.deepEqual(rows(), [])
    insert("a")
    assert.deepEqual(rows(), [])
    assert.equal(db.inTransaction, true)

    await nextTurn()

    assert.equal(db.inTransaction, false)
    assert.deepEqual(rows(), ["a"])
  })

  test("a read behind the end sees what was written before it, in the same turn", () => {
    rows()
    insert("a")
    reads.end()

    assert.deepEqual(rows(), ["a"])
  })

  test("a read that throws leaves the others of its turn", async () => {
    assert.throws(() => reads.read(() => db.prepare("SELECT * FROM nowhere").all()), /nowhere/)
    assert.deepEqual(rows(), [])
    await nextTurn()
    assert.equal(db.inTransaction, false)
  })

  test("a read that ended the transaction does not make its end fail", async () => {
    reads.read(() => db.exec("ROLLBACK"))
    reads.end()
    rows()
    reads.read(() => db.exec("ROLLBACK"))
    await nextTurn()
    assert.deepEqual(rows(), [])
  })
})

suite("SqliteCatalog", () => {
  test("writes and closes with a turn's reads open", async () => {
    const dir = mkdtempSync(join(tmpdir(), "reads-"))
    const catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
    const operation = anOperation()
    const { operationId } = operation
    const nobodyWrites = new Promise<void>((resolve) => {
      // Runs in the phase of the event loop in which the writes are made, before them.
      setImmediate(async () => {
        assert.equal(await catalog.getOperation(operationId), null)
        resolve()
      })
    })
    const written = catalog.addOperation(operation, null)
    await nobodyWrites
    await written

    assert.equal((await catalog.getOperation(operationId))?.operationId, operationId)
    const atTheEnd = catalog.addOperation(anOperation({ operationId: "019b7c1e-2f4e-7000-8000-000000000001" }), null)
    await catalog.getOperation(operationId)
    catalog.close()
    await atTheEnd
    rmSync(dir, { recursive: true })
  })
})
