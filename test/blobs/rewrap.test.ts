import assert from "node:assert/strict"
import { readFile, writeFile } from "node:fs/promises"
import { afterEach, beforeEach, suite, test } from "node:test"
import { decodeBlob } from "../../src/blobs/format.ts"
import type { FsPort } from "../../src/blobs/fs-port.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { aBlob, fileOf, filesIn, keyringOf, refOf } from "./blobs.ts"

const [oldKey, newKey] = [0x11, 0x22]

suite("DiskBlobStore.putSealed", () => {
  let location: string
  const open = (...keys: readonly [number, ...number[]]) =>
    DiskBlobStore.open({ location, keyring: keyringOf(...keys) })
  beforeEach(() => {
    location = makeTemporary("put-sealed")
  })
  afterEach(() => removeTemporary(location))

  /** One blob, sealed for the old key and for the new; the old one stands in the store. */
  async function twice() {
    const blob = aBlob("a secret")
    await (await open(oldKey)).put([blob])
    const old = await readFile(fileOf(location, refOf(blob)))
    await (await open(newKey, oldKey)).rewrap(refOf(blob))
    const moved = await readFile(fileOf(location, refOf(blob)))
    await writeFile(fileOf(location, refOf(blob)), old)
    return { blob, old, moved }
  }

  test("takes one that opens in for one that no loaded key opens, which is put aside, and not the other way round", async () => {
    const { blob, old, moved } = await twice()
    const store = await open(newKey)

    const aside = await store.putSealed(refOf(blob), moved)

    assert.deepEqual(await readFile(aside ?? ""), old)
    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    for (const isBetter of [false, true]) assert.equal(await store.putSealed(refOf(blob), old, isBetter), null)
    assert.deepEqual(await readFile(fileOf(location, refOf(blob))), moved)
  })

  test("seals for the active key what another loaded one opens", async () => {
    const { blob, old } = await twice()
    const store = await open(newKey, oldKey)
    await store.remove(refOf(blob))

    assert.equal(await store.putSealed(refOf(blob), old), null)

    assert.deepEqual(await (await open(newKey)).open(refOf(blob)), { ...blob, keyId: store.keyId })
  })
})

suite("DiskBlobStore.rewrap", () => {
  let location: string
  const open = (keys: readonly [number, ...number[]], fs?: FsPort) =>
    DiskBlobStore.open({ location, keyring: keyringOf(...keys), ...(fs && { fs }) })
  beforeEach(() => {
    location = makeTemporary("rewrap")
  })
  afterEach(() => removeTemporary(location))

  test("moves a blob to the active key, after which the old one is not needed and does not open it", async () => {
    const blob = aBlob("a secret")
    await (await open([oldKey])).put([blob])

    assert.equal(await (await open([newKey, oldKey])).rewrap(refOf(blob)), true)

    const store = await open([newKey])
    assert.deepEqual(await store.open(refOf(blob)), { ...blob, keyId: store.keyId })
    await assert.rejects((await open([oldKey])).open(refOf(blob)), { code: "backup_key_unavailable" })
  })

  test("changes the slots only: header and payload keep their bytes, and no temporary file is left", async () => {
    const blob = aBlob("a secret")
    await (await open([oldKey])).put([blob])
    const before = decodeBlob(await readFile(fileOf(location, refOf(blob))))

    await (await open([newKey, oldKey])).rewrap(refOf(blob))

    const after = decodeBlob(await readFile(fileOf(location, refOf(blob))))
    assert.deepEqual(after.head, before.head)
    assert.deepEqual(after.payload, before.payload)
    assert.equal(after.slots.length, 1)
    assert.notDeepEqual(after.slots[0]?.salt, before.slots[0]?.salt)
    assert.deepEqual(await filesIn(location), [`${blob.header.backup_id}.cmb`])
  })

  test("has nothing to do the second time", async () => {
    const blob = aBlob()
    await (await open([oldKey])).put([blob])
    const store = await open([newKey, oldKey])

    assert.deepEqual([await store.rewrap(refOf(blob)), await store.rewrap(refOf(blob))], [true, false])
  })

  test("leaves a blob as it is that no loaded key opens", async () => {
    const blob = aBlob()
    await (await open([oldKey])).put([blob])

    await assert.rejects((await open([newKey])).rewrap(refOf(blob)), { code: "backup_key_unavailable" })

    assert.deepEqual((await (await open([oldKey])).open(refOf(blob))).bytes, blob.bytes)
  })
})
