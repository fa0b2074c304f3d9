import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { blobVersion } from "../../src/services/blob-versions.ts"
import { rewrapAll } from "../../src/services/rewrapping.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { aBlob, fileOf, keyringOf, refOf } from "../blobs/blobs.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

const [oldKey, newKey] = [0x11, 0x22]

suite("rewrapAll, where a blob cannot be replaced", () => {
  let dir: string
  let location: string
  let catalog: SqliteCatalog
  const blobs = [1, 2, 3].map((number) =>
    aBlob(`port: ${number}\n`, { created_at: `2026-01-0${number}T00:00:00.000Z` }),
  )
  const [first, stuck, last] = blobs.map(refOf)
  assert.ok(first && stuck && last)
  beforeEach(async () => {
    dir = makeTemporary("rewrapping")
    location = join(dir, "backups")
    catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
    const store = await DiskBlobStore.open({ location, keyring: keyringOf(oldKey) })
    await store.put(blobs)
    const clock = () => new Date()
    await catalog.importVersions(await Promise.all(blobs.map((blob) => blobVersion(refOf(blob), store, clock))))
  })
  afterEach(async () => {
    catalog.close()
    await removeTemporary(dir)
  })

  /** Nothing takes the place of the file that is stuck, as where it is immutable. */
  const stuckFs = (beforeFailing = (): void => undefined): FsPort => ({
    ...nodeFs,
    rename: async (from, to) => {
      if (to !== fileOf(location, stuck)) return nodeFs.rename(from, to)
      beforeFailing()
      throw Object.assign(new Error("EPERM: operation not permitted"), { code: "EPERM", path: from })
    },
  })
  const open = (fs: FsPort) => DiskBlobStore.open({ location, keyring: keyringOf(newKey, oldKey), fs })
  async function rewrap(store: DiskBlobStore) {
    const findings: string[] = []
    const legacy = { names: async () => [], open: () => assert.fail("there are none") }
    const counts = await rewrapAll({ blobs: store, legacy, catalog, onFinding: (text) => findings.push(text) })
    return { counts, findings }
  }

  test("goes on with the others, and names and counts it: it opens as before", async () => {
    const store = await open(stuckFs())
    const before = await readFile(fileOf(location, stuck))

    const { counts, findings } = await rewrap(store)

    assert.deepEqual([counts.wrapped, counts.stuck], [2, 1])
    assert.equal(findings.length, 1)
    assert.match(findings[0] ?? "", new RegExp(`^vm01/central/${stuck.backupId}\\.cmb was not moved\\. .*\\(EPERM\\)`))
    assert.deepEqual(await readFile(fileOf(location, stuck)), before)
    const opened = await Promise.all([first, stuck, last].map((ref) => store.open(ref)))
    const rows = await catalog.versionsOf(first)
    assert.equal(new Set(opened.map(({ keyId }) => keyId)).size, 2)
    assert.deepEqual(
      rows.map(({ keyId }) => keyId),
      opened.map(({ keyId }) => keyId),
    )
    assert.deepEqual((await rewrap(await open(nodeFs))).counts.wrapped, 1)
  })

  test("ends where the store itself is not well", async () => {
    let isWell = true
    const fs = stuckFs(() => {
      isWell = false
    })
    const freeBytes = async (path: string) => (isWell ? nodeFs.freeBytes(path) : 0)

    await assert.rejects(rewrap(await open({ ...fs, freeBytes })), {
      code: "backup_storage_unavailable",
      message: /EPERM/,
    })
  })

  test("ends where the disk does not give back what was written", async () => {
    const rename: FsPort["rename"] = async (from, to) => {
      await nodeFs.rename(from, to)
      if (to === fileOf(location, stuck)) await nodeFs.unlink(to)
      if (to === fileOf(location, stuck)) await nodeFs.link(fileOf(location, first), to)
    }

    await assert.rejects(rewrap(await open({ ...nodeFs, rename })), { message: /does not give back/ })
  })
})
