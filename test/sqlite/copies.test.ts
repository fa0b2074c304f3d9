import assert from "node:assert/strict"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { migrationsDir } from "./migrations.ts"
import { anImport } from "./records.ts"

const place = "/mnt/copies"
const now = "2026-11-24T00:00:00.000Z"

suite("Versions that were there before the place for copies", () => {
  let dir: string
  let path: string
  let catalog: SqliteCatalog
  beforeEach(() => {
    dir = makeTemporary("copies-queue")
    path = join(dir, "catalog.db")
    catalog = SqliteCatalog.open({ path, migrationsDir })
  })
  afterEach(async () => {
    catalog.close()
    await removeTemporary(dir)
  })

  const enter = (count: number): Promise<void> => {
    const ids = Array.from({ length: count }, (_, index) => `b-${String(index).padStart(6, "0")}`)
    return catalog.importVersions(ids.map((backupId) => anImport({ backupId })))
  }

  test("are all queued, however many there are, and others may write in between", async () => {
    await enter(4500)
    const steps: string[] = []

    await Promise.all([
      catalog.setCopyTarget(place, now).then(() => steps.push("queued")),
      catalog.setFact("another", "write").then(() => steps.push("written")),
    ])

    assert.deepEqual(steps, ["written", "queued"])
    assert.equal((await catalog.copyLag()).waiting, 4500)
  })

  test("are queued to the last where an earlier process ended in between; what was copied meanwhile is not copied again", async () => {
    await enter(5)
    await catalog.setCopyTarget(place, now)
    await catalog.noteCopy({ backupId: "b-000004", work: "queued" }, { kind: "copied", at: now })
    catalog.close()
    const db = new Database(path)
    db.exec("DELETE FROM copies WHERE backup_id IN ('b-000002', 'b-000003')")
    db.exec("INSERT INTO facts VALUES ('copy_queued', 'b-000001')")
    db.close()
    catalog = SqliteCatalog.open({ path, migrationsDir })

    await catalog.setCopyTarget(place, now)

    assert.equal((await catalog.copyLag()).waiting, 4)
    assert.equal(await catalog.isCopied("b-000004"), true)
  })

  test("are counted up to 10 000, so that readiness is told at once, and the oldest of them is the oldest of all", async () => {
    await enter(10_001)
    await catalog.setCopyTarget(place, now)

    const { waiting, since } = await catalog.copyLag()
    assert.deepEqual([waiting, since], [10_000, now])
  })

  test("wait no longer once there is no place any more, also where not all were queued yet", async () => {
    await enter(3)
    await catalog.setCopyTarget(place, now)
    await catalog.setFact("copy_queued", "")

    await catalog.setCopyTarget(null, now)
    await catalog.setCopyTarget(null, now)

    assert.equal((await catalog.copyLag()).waiting, 0)
    assert.equal(await catalog.fact("copy_queued"), null)
  })
})
