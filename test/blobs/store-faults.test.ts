import assert from "node:assert/strict"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { suite, test } from "node:test"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { aBlob, filesIn, keyringOf, refOf } from "./blobs.ts"
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
