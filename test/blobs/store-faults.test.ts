import assert from "node:assert/strict"
import { mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeEach, suite, test } from "node:test"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { makeTemporary } from "../support/temporary.ts"
import { aBlob, fileOf, filesIn, keyringOf, refOf } from "./blobs.ts"
import { FaultyFs } from "./faulty-fs.ts"

suite("DiskBlobStore.put, when any one call to the file system fails", () => {
  for (const [code, fault] of [
    ["ENOSPC", "storage_full"],
    ["EDQUOT", "storage_full"],
    ["EIO", "backup_storage_unavailable"],
    ["EROFS", "backup_storage_unavailable"],
    ["EMFILE", "backup_storage_unavailable"],
    ["EACCES", "backup_storage_unavailable"],
  ] as const) {
    test(`leaves nothing behind and tells ${fault} (${code})`, async () => {
      const root = await mkdtemp(join(tmpdir(), "blobs-"))
      try {
        assert.ok((await failEach(root, code, fault)) > 20)
      } finally {
        await rm(root, { recursive: true })
      }
    })
  }

  /** Fails the 1st, 2nd, ... call of a put of two blobs until one gets by. @returns how many failed */
  async function failEach(root: string, code: string, fault: string): Promise<number> {
    for (let n = 1; ; n++) {
      const location = join(root, String(n))
      await DiskBlobStore.open({ location, keyring: keyringOf(0x11) })
      // Opening again makes fewer calls: the reserve is there.
      const counting = new FaultyFs()
      await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs: counting })
      const fs = new FaultyFs({ failAt: counting.calls + n, code })
      const store = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs })
      const blobs = [aBlob("a"), aBlob("b", { type: "env" })]

      const error = await store.put(blobs).then(
        () => null,
        (reason: unknown) => reason,
      )
      if (error === null) {
        assert.ok(fs.calls < counting.calls + n, `call ${n} failed and nobody noticed`)
        return n - 1
      }

      assert.equal((error as { code?: string }).code, fault, `call ${n}: ${String(error)}`)
      assert.ok((error as Error).message.includes(location))
      assert.deepEqual(await filesIn(location), [], `call ${n}`)
      await store.put(blobs)
      for (const blob of blobs) assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    }
  }
})

suite("DiskBlobStore, when another directory stands where its location was", () => {
  let location: string
  let store: DiskBlobStore
  const blob = aBlob()

  beforeEach(async () => {
    location = join(makeTemporary("blobs"), "backups")
    store = await DiskBlobStore.open({ location, keyring: keyringOf(0x11) })
    await store.put([blob])
    renameSync(location, `${location}-aside`)
  })

  test("keeps nothing in an empty one, and says that it is another one", async () => {
    mkdirSync(location)
    const refused = { code: "backup_storage_unavailable", message: /another directory/ }
    await assert.rejects(store.put([aBlob("b", { vm_id: "vm02" })]), refused)
    const health = await store.health()
    assert.deepEqual([health.ok, readdirSync(location)], [false, []])
  })

  test("does not take a blob for removed because nothing is there", async () => {
    await assert.rejects(store.remove(refOf(blob)), { code: "backup_storage_unavailable" })
    renameSync(`${location}-aside`, location)
    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
  })
})

suite("DiskBlobStore, when the disk does not give back one file", () => {
  const blob = aBlob()
  let fs: FsPort
  let location: string

  beforeEach(async () => {
    location = join(makeTemporary("blobs"), "backups")
    const calm = await DiskBlobStore.open({ location, keyring: keyringOf(0x11) })
    await calm.put([blob])
    const inode = await nodeFs.inode(fileOf(location, refOf(blob)))
    const failing = async (): Promise<never> => {
      throw Object.assign(new Error("told to fail"), { code: "EIO" })
    }
    const open: FsPort["open"] = async (path, flags) => {
      const file = await nodeFs.open(path, flags)
      return (await nodeFs.inode(path)) === inode ? { ...file, read: failing } : file
    }
    fs = { ...nodeFs, open }
  })

  test("says that this version is damaged, not that the storage is away", async () => {
    const store = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs })
    const expected = { code: "backup_corrupt", message: /see the kernel's log/ }
    await assert.rejects(store.open(refOf(blob)), expected)
    await assert.rejects(store.header(refOf(blob)), expected)
    await assert.rejects(store.sealed(refOf(blob)), expected)
  })

  test("takes a copy in its place, and keeps the file aside", async () => {
    const store = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs })
    const sealed = readFileSync(fileOf(location, refOf(blob)))

    assert.match((await store.putSealed(refOf(blob), sealed)) ?? "", /\.unreadable/)

    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
  })
})

suite("DiskBlobStore.remove", () => {
  test("syncs the directory, so that a power loss does not bring the blob back", async () => {
    const location = join(makeTemporary("blobs"), "backups")
    const synced: string[] = []
    const open: FsPort["open"] = async (path, flags) => {
      const file = await nodeFs.open(path, flags)
      return { ...file, sync: () => file.sync().then(() => void synced.push(path)) }
    }
    const store = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs: { ...nodeFs, open } })
    const blob = aBlob()
    await store.put([blob])
    synced.length = 0
    await store.remove(refOf(blob))
    assert.deepEqual(synced, [join(location, "vm01", "central")])
  })
})
