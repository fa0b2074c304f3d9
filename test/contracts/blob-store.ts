import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { BlobRef, BlobStore } from "../../src/domain/blob-store.ts"
import { aBlob, refOf } from "../blobs/blobs.ts"

export interface BlobStoreUnderTest {
  readonly store: BlobStore
  /** Changes the kept bytes of a blob behind the store's back. */
  damage(ref: BlobRef): Promise<void>
  close(): Promise<void>
}

/** What every BlobStore does; `make` gives an empty one. */
export function blobStoreContract(name: string, make: () => Promise<BlobStoreUnderTest>): void {
  suite(`${name} as a BlobStore`, () => {
    let given: BlobStoreUnderTest
    let store: BlobStore
    beforeEach(async () => {
      given = await make()
      store = given.store
    })
    afterEach(() => given.close())

    for (const bytes of [Buffer.alloc(0), Buffer.of(0), Buffer.from("ä: ö\r\n\0"), randomBytes(300_000)]) {
      test(`gives back ${bytes.length} bytes and their header as they were put`, async () => {
        const blob = aBlob(bytes, { reason: "why \u{1F600}", mode: 0o4755, uid: 1000, gid: 4_000_000_000 })

        await store.put([blob])

        assert.deepEqual(await store.open(refOf(blob)), { ...blob, keyId: store.keyId })
      })
    }

    test("names its key by 32 hex digits", () => {
      assert.match(store.keyId, /^[0-9a-f]{32}$/)
    })

    test("keeps several blobs at once, also of several VMs", async () => {
      const blobs = [aBlob("a"), aBlob("b"), aBlob("c", { vm_id: "vm02" }), aBlob("d", { type: "env" })]

      await store.put(blobs)

      for (const blob of blobs) assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    })

    test("keeps what was put, whatever becomes of the buffers that were put and given back", async () => {
      const blob = aBlob("original")
      await store.put([blob])
      blob.bytes.fill(0)
      ;(await store.open(refOf(blob))).bytes.fill(0)

      assert.equal((await store.open(refOf(blob))).bytes.toString(), "original")
    })

    test("puts nothing when there is nothing to put", async () => {
      await store.put([])
    })

    test("never overwrites a blob, and keeps nothing of a put that would", async () => {
      const first = aBlob("first")
      const beside = aBlob("beside")
      await store.put([first])

      await assert.rejects(store.put([beside, aBlob("second", { backup_id: first.header.backup_id })]), {
        code: "backup_storage_unavailable",
      })

      assert.equal((await store.open(refOf(first))).bytes.toString(), "first")
      await assert.rejects(store.open(refOf(beside)), { code: "backup_missing" })
    })

    test("does not find a blob that was never put", async () => {
      await assert.rejects(store.open(refOf(aBlob())), { code: "backup_missing" })
    })

    test("does not find a blob under the ids of another VM or type", async () => {
      const blob = aBlob()
      await store.put([blob])

      await assert.rejects(store.open({ ...refOf(blob), vmId: "vm02" }), { code: "backup_missing" })
      await assert.rejects(store.open({ ...refOf(blob), type: "env" }), { code: "backup_missing" })
    })

    for (const id of ["..", ".", "", "../vm01", "/etc/passwd", "a/b", "a\0b", ".hidden", "x".repeat(64)]) {
      test(`leads nowhere for the id ${JSON.stringify(id)}`, async () => {
        const ref = refOf(aBlob())
        for (const name of ["vmId", "type", "backupId"]) {
          await assert.rejects(store.open({ ...ref, [name]: id }), { code: "backup_missing" })
          await store.remove({ ...ref, [name]: id })
        }
        for (const name of ["vm_id", "type", "backup_id"]) await assert.rejects(store.put([aBlob("x", { [name]: id })]))
      })
    }

    test("refuses a header that tells another length than its bytes have", async () => {
      const blob = aBlob("four", { plain_len: 5 })

      await assert.rejects(store.put([blob]), /length/)

      await assert.rejects(store.open(refOf(blob)), { code: "backup_missing" })
    })

    test("removes one blob and no other", async () => {
      const [gone, kept] = [aBlob("gone"), aBlob("kept")]
      await store.put([gone, kept])

      await store.remove(refOf(gone))

      await assert.rejects(store.open(refOf(gone)), { code: "backup_missing" })
      assert.equal((await store.open(refOf(kept))).bytes.toString(), "kept")
    })

    test("counts a blob that is gone as removed", async () => {
      await store.remove(refOf(aBlob()))
      await store.remove(refOf(aBlob("x", { vm_id: "never-seen" })))
    })

    test("never hands out a byte of a blob that was damaged", async () => {
      const blob = aBlob()
      await store.put([blob])
      await given.damage(refOf(blob))

      await assert.rejects(store.open(refOf(blob)), { code: "backup_corrupt" })
    })

    test("lists what stands there, config by config, and nothing else", async () => {
      const gone = aBlob("gone")
      const kept = [aBlob("a"), aBlob("b"), aBlob("c", { vm_id: "vm02" }), aBlob("d", { type: "env" })]
      await store.put([gone, ...kept])
      await store.remove(refOf(gone))

      assert.deepEqual(await listed(), kept.map((blob) => keyOf(refOf(blob))).sort())
    })

    test("lists nothing where there is nothing", async () => {
      assert.deepEqual(await listed(), [])
    })

    test("tells what a blob says of itself in the clear", async () => {
      const blob = aBlob("text", { reason: "why" })
      await store.put([blob])

      assert.deepEqual(await store.header(refOf(blob)), { header: blob.header, keyId: store.keyId })
    })

    test("tells nothing of a blob that is gone or was damaged", async () => {
      const blob = aBlob()
      await assert.rejects(store.header(refOf(blob)), { code: "backup_missing" })
      await store.put([blob])
      await given.damage(refOf(blob))

      await assert.rejects(store.header(refOf(blob)), { code: "backup_corrupt" })
    })

    test("puts a file aside, after which it is no version, and another of that name may come", async () => {
      const [odd, other] = [aBlob("odd"), aBlob("other")]
      await store.put([odd, other])

      const first = await store.putAside(refOf(odd))
      await store.put([odd])
      const second = await store.putAside(refOf(odd))

      assert.notEqual(first, "")
      assert.notEqual(second, "")
      await assert.rejects(store.open(refOf(odd)), { code: "backup_missing" })
      assert.deepEqual(await listed(), [keyOf(refOf(other))])
    })

    test("lists what was put aside, each name once, and nothing else", async () => {
      const [odd, other, third] = [aBlob("odd"), aBlob("other"), aBlob("third", { vm_id: "vm02" })]
      const aside = async () =>
        (await Array.fromAsync(store.listAside())).flatMap(({ ref, backupIds }) =>
          backupIds.map((backupId) => keyOf({ ...ref, backupId })),
        )
      assert.deepEqual(await aside(), [])
      await store.put([odd, other, third])
      await store.putAside(refOf(odd))
      await store.put([odd])
      await store.putAside(refOf(odd))
      await store.putAside(refOf(third))

      assert.deepEqual((await aside()).sort(), [keyOf(refOf(odd)), keyOf(refOf(third))].sort())
    })

    test("cannot put aside what is not there", async () => {
      await assert.rejects(store.putAside(refOf(aBlob())), { code: "backup_missing" })
      await assert.rejects(store.putAside({ ...refOf(aBlob()), vmId: ".." }), { code: "backup_missing" })
    })

    async function listed(): Promise<readonly string[]> {
      const keys: string[] = []
      for await (const { ref, backupIds } of store.list()) {
        for (const backupId of backupIds) keys.push(keyOf({ ...ref, backupId }))
      }
      return keys.sort()
    }

    test("gives a blob away sealed, and takes it in again in another store's stead", async () => {
      const blob = aBlob("far away")
      await store.put([blob])
      const sealed = await store.sealed(refOf(blob))
      await store.remove(refOf(blob))

      assert.equal(await store.putSealed(refOf(blob), sealed), null)

      assert.deepEqual(await store.open(refOf(blob)), { ...blob, keyId: store.keyId })
    })

    test("takes a sealed blob in for a damaged one, which is put aside", async () => {
      const blob = aBlob()
      await store.put([blob])
      const sealed = await store.sealed(refOf(blob))
      await given.damage(refOf(blob))

      const aside = await store.putSealed(refOf(blob), sealed)

      assert.notEqual(aside, null)
      assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
      assert.equal(await store.putSealed(refOf(blob), sealed), null)
    })

    test("takes a sealed blob in for one that is whole only where it is said to be better, and puts that aside", async () => {
      const blob = aBlob()
      await store.put([blob])
      const sealed = await store.sealed(refOf(blob))

      assert.equal(await store.putSealed(refOf(blob), sealed), null)
      assert.notEqual(await store.putSealed(refOf(blob), sealed, true), null)

      assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    })

    test("knows of sealed bytes whether they are the named blob and open, and with which key", async () => {
      const [blob, other] = [aBlob("one"), aBlob("other")]
      await store.put([blob])
      const sealed = await store.sealed(refOf(blob))

      assert.deepEqual(
        [
          await store.opens(refOf(blob), sealed),
          await store.opens(refOf(other), sealed),
          await store.opens(refOf(blob), sealed.subarray(0, -1)),
        ],
        [store.keyId, null, null],
      )
    })

    test("gives no blob away that is gone or was damaged", async () => {
      const blob = aBlob()
      await assert.rejects(store.sealed(refOf(blob)), { code: "backup_missing" })
      await store.put([blob])
      await given.damage(refOf(blob))

      await assert.rejects(store.sealed(refOf(blob)), { code: "backup_corrupt" })
    })

    test("takes no sealed blob in that is cut, or another than is named, and leaves what stands there", async () => {
      const [blob, other] = [aBlob("one"), aBlob("other")]
      await store.put([blob, other])
      const sealed = await store.sealed(refOf(other))

      await assert.rejects(store.putSealed(refOf(blob), sealed), { code: "backup_corrupt" })
      await assert.rejects(store.putSealed(refOf(other), sealed.subarray(0, -1)), { code: "backup_corrupt" })
      await assert.rejects(store.putSealed(refOf(other), Buffer.alloc(0)), { code: "backup_corrupt" })

      for (const each of [blob, other]) assert.deepEqual((await store.open(refOf(each))).bytes, each.bytes)
    })

    test("has nothing to wrap anew for a blob that the active key has sealed", async () => {
      const blob = aBlob()
      await store.put([blob])
      const before = await store.sealed(refOf(blob))

      assert.equal(await store.rewrap(refOf(blob)), false)

      assert.deepEqual(await store.sealed(refOf(blob)), before)
      await assert.rejects(store.rewrap(refOf(aBlob())), { code: "backup_missing" })
    })

    test("is healthy when it can keep a version", async () => {
      const { ok, detail } = await store.health()

      assert.equal(ok, true, detail)
      assert.notEqual(detail, "")
    })
  })
}

function keyOf({ vmId, type, backupId }: BlobRef): string {
  return `${vmId}/${type}/${backupId}`
}
