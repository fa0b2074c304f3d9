import assert from "node:assert/strict"
import { copyFileSync, mkdtempSync, renameSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { openDatabase } from "../../src/sqlite/open.ts"
import { ReadTurn } from "../../src/sqlite/read-turn.ts"
import { sqliteFault } from "../../src/sqlite/sqlite-fault.ts"
import { WriteQueue } from "../../src/sqlite/write-queue.ts"
import { migrationsDir } from "./migrations.ts"
import { aJournal, anOperation } from "./records.ts"

suite("SqliteCatalog", () => {
  let dir: string
  let path: string
  let catalog: SqliteCatalog
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "catalog-"))
    path = join(dir, "catalog.db")
    catalog = SqliteCatalog.open({ path, migrationsDir })
  })
  afterEach(() => {
    catalog.close()
    rmSync(dir, { recursive: true })
  })

  test("a write that has resolved is seen by another connection", async () => {
    const operation = anOperation()
    const other = new Database(path, { readonly: true })
    const seen = other.prepare("SELECT count(*) FROM operations WHERE operation_id = ?").pluck()

    const written = catalog.addOperation(operation, aJournal())
    assert.equal(seen.get(operation.operationId), 0)
    await written

    assert.equal(seen.get(operation.operationId), 1)
    other.close()
  })

  test("keeps what was asked for before it was closed", async () => {
    const operation = anOperation()
    const written = catalog.addOperation(operation, aJournal())
    catalog.close()
    await written

    catalog = SqliteCatalog.open({ path, migrationsDir })
    assert.deepEqual((await catalog.openOperations())[0]?.operation, operation)
  })

  for (const [what, lose] of [
    ["removed", () => rmSync(path)],
    ["moved away", () => renameSync(path, `${path}.away`)],
    [
      "replaced by a copy of itself",
      () => {
        copyFileSync(path, `${path}.copy`)
        renameSync(`${path}.copy`, path)
      },
    ],
  ] as const) {
    test(`takes no write and is not healthy once its file was ${what}`, async () => {
      assert.equal((await catalog.health()).ok, true)
      lose()

      await assert.rejects(catalog.addOperation(anOperation(), null), {
        code: "backup_storage_unavailable",
        message: /restart the service/,
      })
      const { ok, detail } = await catalog.health()
      assert.equal(ok, false)
      assert.match(detail, /catalog\.db was (removed|replaced)/)
    })
  }

  test("says storage_busy when another program holds the catalog, and goes on afterwards", async () => {
    const other = new Database(path)
    other.exec("BEGIN IMMEDIATE")
    const operation = anOperation()

    const [written, health] = await Promise.allSettled([catalog.addOperation(operation, null), catalog.health()])
    assert.equal(written.status === "rejected" && written.reason.code, "storage_busy")
    assert.equal(health.status === "fulfilled" && health.value.ok, false)

    other.exec("ROLLBACK")
    other.close()
    await catalog.addOperation(operation, null)
  })
})

suite("WriteQueue", () => {
  let dir: string
  let db: Database.Database
  let queue: WriteQueue
  const rows = () => db.prepare("SELECT backup_id FROM provisional_versions ORDER BY 1").pluck().all()
  const insert = (id: string) => () => void db.prepare("INSERT INTO provisional_versions VALUES (?, '{}')").run(id)

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "queue-"))
    db = openDatabase({ path: join(dir, "catalog.db"), migrationsDir })
    queue = new WriteQueue(db, new ReadTurn(db))
  })
  afterEach(() => {
    queue.close()
    db.close()
    rmSync(dir, { recursive: true })
  })

  test("writes of one turn share a transaction", async () => {
    const other = new Database(db.name)
    const before = other.pragma("data_version", { simple: true }) as number
    await Promise.all(["a", "b", "c"].map((id) => queue.write(insert(id))))

    assert.equal(other.pragma("data_version", { simple: true }), before + 1)
    assert.deepEqual(rows(), ["a", "b", "c"])
    other.close()
  })

  test("a work that throws undoes its own statements only", async () => {
    const failing = queue.write(() => {
      insert("b")()
      throw new Error("no")
    })
    const results = await Promise.allSettled([queue.write(insert("a")), failing, queue.write(insert("c"))])

    assert.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    )
    assert.deepEqual(rows(), ["a", "c"])
  })

  test("nothing of a turn stays when the disk is full, and the next goes on", async () => {
    const pageCount = db.pragma("page_count", { simple: true }) as number
    db.pragma(`max_page_count = ${pageCount}`)
    const big = () =>
      void db.prepare("INSERT INTO provisional_versions VALUES ('big', ?)").run(`"${"x".repeat(100_000)}"`)

    await assert.rejects(queue.write(big), { code: "storage_full", message: /no room/ })

    db.pragma(`max_page_count = ${pageCount + 1000}`)
    await queue.write(insert("a"))
    assert.deepEqual(rows(), ["a"])
  })

  test("a commit that fails rejects all that shared it", async () => {
    db.exec("CREATE TABLE parent (id INTEGER PRIMARY KEY) STRICT")
    db.exec("CREATE TABLE child (id INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED) STRICT")
    const orphan = () => void db.prepare("INSERT INTO child VALUES (1)").run()

    const results = await Promise.allSettled([queue.write(insert("a")), queue.write(orphan)])

    assert.deepEqual(
      results.map(({ status }) => status),
      ["rejected", "rejected"],
    )
    assert.deepEqual(rows(), [])
    assert.equal(db.inTransaction, false)
  })

  test("takes 10 000 waiting writes and no more", async () => {
    const waiting = Array.from({ length: 10_000 }, () => queue.write(() => undefined))

    await assert.rejects(
      queue.write(() => undefined),
      { code: "storage_busy" },
    )

    await Promise.all(waiting)
    await queue.write(() => undefined)
  })

  test("a turn of many is split, and all of it is written in order", async () => {
    const order: number[] = []
    await Promise.all(Array.from({ length: 1000 }, (_, i) => queue.write(() => void order.push(i))))

    assert.deepEqual(
      order,
      Array.from({ length: 1000 }, (_, i) => i),
    )
  })

  test("takes nothing once it is closed", async () => {
    queue.close()

    await assert.rejects(queue.write(insert("a")), { code: "shutting_down" })
    assert.deepEqual(rows(), [])
  })
})

suite("sqliteFault", () => {
  for (const [code, fault] of [
    ["SQLITE_FULL", "storage_full"],
    ["SQLITE_BUSY", "storage_busy"],
    ["SQLITE_BUSY_SNAPSHOT", "storage_busy"],
    ["SQLITE_CORRUPT", "backup_storage_unavailable"],
    ["SQLITE_CORRUPT_INDEX", "backup_storage_unavailable"],
    ["SQLITE_IOERR_FSYNC", "backup_storage_unavailable"],
    ["SQLITE_READONLY", "backup_storage_unavailable"],
    ["SQLITE_NOTADB", "backup_storage_unavailable"],
  ]) {
    test(`makes ${code} ${fault}`, () => {
      const error = new Database.SqliteError("x", code ?? "")

      assert.equal((sqliteFault(error, "/catalog.db") as { code: string }).code, fault)
    })
  }

  test("leaves a mistake of ours what it is", () => {
    const error = new Database.SqliteError("x", "SQLITE_CONSTRAINT_UNIQUE")

    assert.equal(sqliteFault(error, "/catalog.db"), error)
  })
})
