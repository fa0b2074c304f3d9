import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { TimedBlobStore } from "../../src/blobs/timed-store.ts"
import { blobStoreContract } from "../contracts/blob-store.ts"
import { MemoryBlobStore } from "../fakes/memory-blob-store.ts"
import { aBlob, refOf } from "./blobs.ts"

blobStoreContract("TimedBlobStore", async () => {
  const disk = new MemoryBlobStore()
  const store = new TimedBlobStore(disk, 5_000)
  return { store, damage: async (ref) => disk.damage(ref), close: async () => undefined }
})

const unavailable = { code: "backup_storage_unavailable", message: /did not answer within 0\.02 s/ }

/** A disk on which `method` hangs until `comeBack` is called. */
function hangingAt(method: "put" | "open" | "remove") {
  const disk = new MemoryBlobStore()
  const held = Promise.withResolvers<void>()
  disk.holding.set(method, held.promise)
  const comeBack = async (): Promise<void> => {
    disk.holding.clear()
    held.resolve()
    // What waits for it ends in microtasks.
    await new Promise(setImmediate)
  }
  return { disk, store: new TimedBlobStore(disk, 20), comeBack }
}

suite("A store that hangs", { timeout: 10_000 }, () => {
  test("rejects a put in time, and what it makes after that is gone again", async () => {
    const { disk, store, comeBack } = hangingAt("put")
    const blobs = [aBlob("a"), aBlob("b")]
    await assert.rejects(store.put(blobs), unavailable)
    await comeBack()
    assert.equal(disk.blobs.size, 0)
    await store.put(blobs)
    assert.equal(disk.blobs.size, 2)
  })

  test("rejects open and remove in time, and what was to be removed may go later", async () => {
    for (const method of ["open", "remove"] as const) {
      const { disk, store, comeBack } = hangingAt(method)
      const blob = aBlob()
      await store.put([blob])
      await assert.rejects(store[method](refOf(blob)), unavailable)
      await comeBack()
      assert.equal(disk.blobs.size, method === "open" ? 1 : 0)
    }
  })

  test("is asked nothing more until it has answered: each call is refused at once", async () => {
    const { disk, store, comeBack } = hangingAt("open")
    const blob = aBlob()
    await disk.put([blob])
    await assert.rejects(store.open(refOf(blob)), unavailable)
    await assert.rejects(store.put([aBlob("other")]), unavailable)
    await assert.rejects(store.remove(refOf(blob)), unavailable)
    assert.equal(disk.blobs.size, 1)
    const health = await store.health()
    assert.deepEqual([health.ok, health.ok || health.code], [false, "backup_storage_unavailable"])
    await comeBack()
    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    assert.equal((await store.health()).ok, true)
  })

  test("that fails in the end is used again, and nothing is unhandled", async () => {
    const { disk, store } = hangingAt("put")
    const held = Promise.withResolvers<void>()
    disk.holding.set("put", held.promise)
    await assert.rejects(store.put([aBlob()]), unavailable)
    disk.holding.clear()
    held.reject(new Error("the mount was taken away"))
    await new Promise(setImmediate)
    await store.put([aBlob()])
  })

  test("is not taken for one where the process itself was held up and the answer is there", async () => {
    const disk = new MemoryBlobStore()
    const store = new TimedBlobStore(disk, 20)
    const answer = Promise.withResolvers<void>()
    disk.holding.set("put", answer.promise)
    const putting = store.put([aBlob()])
    // The time is over and the answer has come, both while nothing could run.
    setImmediate(answer.resolve)
    const end = performance.now() + 40
    while (performance.now() < end);
    await putting
  })
})
