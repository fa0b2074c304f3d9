import assert from "node:assert/strict"
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { migrate } from "../../src/sqlite/migrate.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { migrationsDir } from "./migrations.ts"
import { anImport, aVersion } from "./records.ts"

const ref = { vmId: "vm01", type: "central" }

suite("A catalog that lies on the disk", () => {
  let dir: string
  let path: string
  beforeEach(() => {
    dir = makeTemporary("keeping")
    path = join(dir, "catalog.db")
  })
  afterEach(() => removeTemporary(dir))

  /** Changes the closed file, and opens it again. */
  async function after<T>(sql: string, look: (catalog: SqliteCatalog) => Promise<T>): Promise<T> {
    const db = new Database(path)
    db.exec(sql)
    db.close()
    const catalog = SqliteCatalog.open({ path, migrationsDir })
    try {
      return await look(catalog)
    } finally {
      catalog.close()
    }
  }

  async function fill(): Promise<void> {
    const catalog = SqliteCatalog.open({ path, migrationsDir })
    await catalog.importVersions([anImport({ backupId: "a" }), anImport({ backupId: "b" })])
    catalog.close()
  }

  const changes = {
    path: "'/etc/passwd'",
    valid_from: "'2026-01-01T00:00:00.001Z'",
    size: "size + 1",
    digest: "replace(digest, 'd', 'c')",
    mode: "mode | 2",
    uid: "1",
    gid: "NULL",
    trigger: "'manual'",
    reason: "'another'",
    actor: "'somebody'",
    operation_id: "'another'",
    key_id: "NULL",
    format: "'legacy'",
    row_check: "'0000000000000000'",
  }
  for (const [column, value] of Object.entries(changes)) {
    test(`tells a row to be not intact once its ${column} is another`, async () => {
      await fill()

      const rows = await after(`UPDATE versions SET ${column} = ${value} WHERE backup_id = 'a'`, (catalog) =>
        catalog.versionsOf(ref),
      )

      const intact = Object.fromEntries(rows.map((row) => [row.backupId, row.intact]))
      assert.deepEqual(intact, { a: false, b: true })
    })
  }

  test("tells rows to be not intact whose JSON is not that of their columns, and importing them makes it so", async () => {
    await fill()
    const db = new Database(path)
    const before = db.prepare<[], string>("SELECT json FROM versions WHERE backup_id = 'a'").pluck().get() ?? ""
    db.pragma("wal_checkpoint(TRUNCATE)")
    db.close()
    const bytes = await readFile(path)
    const at = bytes.indexOf(Buffer.from(before))
    assert.ok(at > 0)
    bytes.writeUInt8(bytes.readUInt8(at + 20) ^ 1, at + 20)
    await writeFile(path, bytes)

    const [broken, again] = await after("", async (catalog) => {
      const rows = await catalog.versionsOf(ref)
      await catalog.importVersions(rows.map(({ intact, supersededAt, note, pinned, ...row }) => row))
      return [rows, await catalog.versionsOf(ref)]
    })

    const intact = (rows: typeof broken) => Object.fromEntries(rows.map((row) => [row.backupId, row.intact]))
    assert.deepEqual(intact(broken), { a: false, b: true })
    assert.deepEqual(intact(again), { a: true, b: true })
  })

  test("puts right when a version was superseded", async () => {
    await fill()

    const wrong = await after("UPDATE versions SET superseded_at = '2099-01-01T00:00:00.000Z'", async (catalog) => {
      const count = await catalog.orderVersions()
      const rows = await catalog.versionsOf(ref)
      return { count, ends: rows.map(({ supersededAt }) => supersededAt), second: rows[1]?.validFrom }
    })

    assert.equal(wrong.count, 2)
    assert.deepEqual(wrong.ends, [wrong.second, null])
  })

  test("finds what may go, and what is not well, without looking at every row", async () => {
    await fill()

    await after("", async () => {
      const db = new Database(path, { readonly: true })
      const plan = (sql: string) =>
        db
          .prepare<[], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
          .all()
          .map(({ detail }) => detail)
          .join("\n")
      const expired =
        "SELECT count(*) FROM versions WHERE superseded_at <= '2026' AND superseded_at IS NOT NULL AND pinned = 0"
      assert.match(plan(expired), /^SEARCH versions USING (COVERING )?INDEX versions_expiry/)
      assert.match(plan("SELECT count(*) FROM versions WHERE state <> 'ok'"), /INDEX versions_state/)
      db.close()
    })
  })

  test("takes the rows of an older catalog over, but believes them only once they were read from their blobs", async () => {
    const old = join(dir, "migrations")
    await mkdir(old)
    await copyFile(join(migrationsDir, "0001-catalog.sql"), join(old, "0001-catalog.sql"))
    const db = new Database(path)
    db.pragma("application_id = 0x434d4331")
    migrate(db, { path, migrationsDir: old })
    const { provisional: _, ...version } = aVersion({ backupId: "a" })
    db.prepare(
      `INSERT INTO versions (backup_id, vm_id, type, path, valid_from, size, digest, mode, uid, gid, trigger, reason, actor,
         operation_id, key_id, format, note, pinned)
       VALUES (@backupId, @vmId, @type, @path, @validFrom, @size, @digest, @mode, @uid, @gid, @trigger, @reason, @actor,
         @operationId, @keyId, @format, 'a note', 1)`,
    ).run(version)
    db.close()

    const [rows, totals] = await after("", async (catalog) => [await catalog.versionsOf(ref), await catalog.totals()])

    const rest = { supersededAt: null, note: "a note", pinned: true, verifiedAt: null, state: "ok", intact: false }
    assert.deepEqual(rows, [{ ...version, ...rest }])
    assert.deepEqual([totals.versions, totals.bytes], [1, version.size])
  })
})
