import assert from "node:assert/strict"
import { join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import Database from "better-sqlite3"
import { PageCache } from "../../src/sqlite/page-cache.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

/** A database with one table, a cache over it, and how often a page was read. */
function openScene(t: TestContext) {
  const dir = makeTemporary("pages")
  const path = join(dir, "test.db")
  const db = new Database(path)
  db.pragma("journal_mode = WAL")
  db.exec("CREATE TABLE things (name TEXT); INSERT INTO things VALUES ('a')")
  t.after(async () => {
    db.close()
    await removeTemporary(dir)
  })
  const cache = new PageCache(db)
  let reads = 0
  const read = (items: string) => () => {
    reads += 1
    return { items, nextCursor: null }
  }
  return {
    db,
    path,
    get: (key: string, items = key) => cache.get(key, read(items)).items,
    reads: () => reads,
  }
}

suite("A page", () => {
  test("is read once as long as nothing changes, each key for itself", (t) => {
    const { get, reads } = openScene(t)
    assert.deepEqual([get("a"), get("b"), get("a", "other"), get("b", "other")], ["a", "b", "a", "b"])
    assert.equal(reads(), 2)
  })

  const changes: readonly [string, string][] = [
    ["a row was added", "INSERT INTO things VALUES ('b')"],
    ["a row was changed", "UPDATE things SET name = 'b'"],
    ["all rows are gone", "DELETE FROM things"],
    ["a change was undone", "BEGIN; INSERT INTO things VALUES ('b'); ROLLBACK"],
  ]
  for (const [what, sql] of changes) {
    test(`is read anew once ${what}`, (t) => {
      const { db, get } = openScene(t)
      get("a", "old")
      db.exec(sql)
      assert.equal(get("a", "new"), "new")
    })
  }

  test("is read anew once another connection has changed anything", (t) => {
    const { path, get } = openScene(t)
    get("a", "old")
    const other = new Database(path)
    other.exec("INSERT INTO things VALUES ('b')")
    other.close()
    assert.equal(get("a", "new"), "new")
  })

  test("is forgotten when there are too many, and one that is too large is never kept", (t) => {
    const { get } = openScene(t)
    get("a", "old")
    get("large", "x".repeat(4 * 1024 * 1024))
    assert.equal(get("large", "again"), "again")
    assert.equal(get("a", "new"), "new")
  })

  test("that could not be read is asked for again", (t) => {
    const { db, get } = openScene(t)
    const cache = new PageCache(db)
    const fail = () => {
      throw new Error("no page")
    }
    assert.throws(() => cache.get("a", fail), /no page/)
    assert.deepEqual(
      cache.get("a", () => ({ items: "a", nextCursor: null })),
      { items: "a", nextCursor: null },
    )
    assert.equal(get("a"), "a")
  })
})
