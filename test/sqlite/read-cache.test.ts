import assert from "node:assert/strict"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { setImmediate as nextTurn } from "node:timers/promises"
import SqliteDatabase, { type Database } from "better-sqlite3"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { openDatabase } from "../../src/sqlite/open.ts"
import { ReadCache } from "../../src/sqlite/read-cache.ts"
import { migrationsDir } from "./migrations.ts"
import { anOperation, aVersion } from "./records.ts"

const page = { limit: 50, cursor: null }

suite("ReadCache", () => {
  let dir: string
  let db: Database
  let asked: string[]
  const open = (most: number): ReadCache => {
    const cache = new ReadCache(db, most)
    cache.look()
    return cache
  }
  /** Asks for each key; tells which were not known. */
  const ask = (cache: ReadCache, ...keys: readonly string[]): readonly string[] => {
    asked = []
    for (const key of keys) {
      const read = (): string => {
        asked.push(key)
        return "x".repeat(9)
      }
      cache.get(key, read)
    }
    return asked
  }

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "kept-"))
    db = openDatabase({ path: join(dir, "catalog.db"), migrationsDir })
  })
  afterEach(() => {
    db.close()
    rmSync(dir, { recursive: true })
  })

  test("keeps what is asked for a second time", () => {
    const cache = open(10_000)
    assert.deepEqual(ask(cache, "a", "b", "a", "a", "b", "b", "a"), ["a", "b", "a", "b"])
  })

  test("drops all where all together would be more than may be kept", () => {
    const cache = open(1300)
    ask(cache, "a", "b", "c", "d", "a", "b", "c")
    assert.deepEqual(ask(cache, "a", "b", "c"), [])
    assert.deepEqual(ask(cache, "d", "d", "a", "b", "c", "c"), ["d", "a", "b", "c"])
  })

  test("knows of thousands of keys that they were asked for, and then of those that come", () => {
    const cache = open(1_000_000)
    const many = (from: number, count: number) => Array.from({ length: count }, (_, i) => `${from + i}`)
    ask(cache, ...many(0, 1_000))
    assert.deepEqual(ask(cache, "0", "0"), ["0"])
    ask(cache, ...many(1_000, 1))
    assert.deepEqual(ask(cache, "0", "1", "1", "1", "1000", "1000"), ["1", "1", "1000"])
  })

  test("counts the bytes of pages, not their number", () => {
    const cache = open(1300)
    const large = { json: Buffer.alloc(700), nextCursor: null }
    cache.get("page", () => large)
    cache.get("page", () => large)
    assert.equal(
      cache.get("page", () => assert.fail()),
      large,
    )
    ask(cache, "a", "a")
    assert.deepEqual(ask(cache, "page"), ["page"])
  })

  test("what is larger than all that may be kept is given and not kept", () => {
    const cache = open(9)
    assert.deepEqual(ask(cache, "a", "a", "a"), ["a", "a", "a"])
  })

  test("neither a failure nor that nothing is there is kept", () => {
    const cache = open(10_000)
    const failing = (): string => {
      throw new Error("disk I/O error")
    }
    assert.throws(() => cache.get("a", failing), /disk I\/O error/)
    assert.throws(() => cache.get("a", failing), /disk I\/O error/)
    for (const found of [null, null, "there"]) {
      const given: string | null = cache.get("a", () => found)
      assert.equal(given, found)
    }
  })

  test("a change by this connection, or by another, drops all, and room is there again", () => {
    const cache = open(1300)
    const other = new SqliteDatabase(db.name)
    for (const connection of [db, other]) {
      ask(cache, "a", "b", "c", "a", "b", "c")
      cache.look()
      assert.deepEqual(ask(cache, "a", "b", "c"), [])
      connection.exec("UPDATE totals SET bytes = bytes + 1")
      cache.look()
      assert.deepEqual(ask(cache, "a", "b", "c", "a"), ["a", "b", "c"])
    }
    other.close()
  })
})

suite("SqliteCatalog, asked again", () => {
  let dir: string
  let catalog: SqliteCatalog

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "kept-"))
    catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
  })
  afterEach(() => {
    catalog.close()
    rmSync(dir, { recursive: true })
  })

  const add = (version: ReturnType<typeof aVersion>): Promise<void> =>
    catalog.addOperation(anOperation(), null, { add: [version] })

  test("gives the very page of before while nothing changes, in later turns too", async () => {
    await add(aVersion())
    await catalog.listVersions({}, page)
    const first = await catalog.listVersions({}, page)
    await nextTurn()
    assert.equal(await catalog.listVersions({}, page), first)
    assert.notEqual(await catalog.listVersions({ vmId: "vm01" }, page), first)
    assert.notEqual(await catalog.listVersions({}, { ...page, limit: 49 }), first)
    assert.notEqual(await catalog.listOperations({}, page), first)
  })

  test("gives each backup its own", async () => {
    const versions = [aVersion(), aVersion()]
    for (const version of versions) await add(version)
    for (const { backupId } of [...versions, ...versions, ...versions]) {
      const json = JSON.parse((await catalog.versionJson(backupId)) ?? "null") as { readonly backupId: string }
      assert.equal(json.backupId, backupId)
    }
  })

  test("sees each change at once: a version, its note, its copy's place, an operation", async () => {
    const version = aVersion()
    const see = async (): Promise<string> => {
      const json = await catalog.versionJson(version.backupId)
      const pages = [await catalog.listVersions({}, page), await catalog.listOperations({}, page)]
      return [json, ...pages.map((each) => each.json.toString())].join("\n")
    }
    const changes = [
      () => add(version),
      () => catalog.annotateVersion(version.backupId, { pinned: true, note: "before the move" }),
      () => catalog.setCopyTarget("/mnt/copies", version.validFrom),
      () => catalog.noteCopy({ backupId: version.backupId, work: "queued" }, { kind: "copied", at: version.validFrom }),
      () => catalog.addOperation(anOperation(), null),
      () => catalog.removeVersions([version.backupId]),
    ]
    await see()
    const seen = [await see()]
    for (const change of changes) {
      await change()
      seen.push(await see())
    }
    assert.equal(new Set(seen).size, changes.length + 1)
    assert.equal(await catalog.versionJson(version.backupId), null)
  })
})
