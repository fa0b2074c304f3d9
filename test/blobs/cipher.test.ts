import assert from "node:assert/strict"
import { createHash, randomBytes } from "node:crypto"
import { suite, test } from "node:test"
import { type MasterKey, masterKey, openBlob, sealBlob } from "../../src/blobs/cipher.ts"
import { type BlobParts, decodeBlob, encodeBlob } from "../../src/blobs/format.ts"
import { vector, vectorBlob, vectorKey } from "./vector.ts"

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex")

function open(parts: BlobParts, key: MasterKey): Buffer {
  const [slot] = parts.slots
  assert.ok(slot)
  return openBlob(parts, slot, key)
}

/** Flips a bit in one part of a blob and leaves everything else, the checksum included, fitting. */
function tampered(part: "head" | "keyId" | "scryptSalt" | "salt" | "wrapped" | "payload", at = 0): BlobParts {
  const parts = decodeBlob(vectorBlob())
  const [slot] = parts.slots
  assert.ok(slot)
  const flip = (bytes: Buffer) => {
    const flipped = Buffer.from(bytes)
    flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at)
    return flipped
  }
  if (part === "head" || part === "payload") return { ...parts, [part]: flip(parts[part]) }
  return { ...parts, slots: [{ ...slot, [part]: flip(slot[part]) }] }
}

suite("sealBlob", () => {
  for (const which of ["keyFile", "passphrase"] as const) {
    test(`gives the bytes of the published vector (${which})`, () => {
      const blob = vectorBlob(which)

      assert.equal(vectorKey(which).keyId.toString("hex"), vector[which].keyId)
      assert.equal(blob.length, vector.length)
      assert.equal(sha256(blob), vector[which].sha256)
    })
  }

  test("seals the same bytes under fresh keys each time", () => {
    const seal = () => sealBlob(vector.header, Buffer.from(vector.plain), vectorKey("keyFile"))
    const [first, second] = [decodeBlob(seal()), decodeBlob(seal())]

    assert.notDeepEqual(first.slots[0]?.salt, second.slots[0]?.salt)
    assert.notDeepEqual(first.slots[0]?.wrapped, second.slots[0]?.wrapped)
    assert.notDeepEqual(first.payload, second.payload)
  })

  test("refuses a header that tells another length", () => {
    assert.throws(() => sealBlob(vector.header, Buffer.alloc(28), vectorKey("keyFile")), /another length/)
  })
})

suite("openBlob", () => {
  for (const plain of [Buffer.alloc(0), Buffer.of(0), randomBytes(70_000)]) {
    test(`gives back ${plain.length} bytes as they were`, () => {
      const key = masterKey(randomBytes(32))
      const blob = sealBlob({ ...vector.header, plain_len: plain.length }, plain, key)

      assert.deepEqual(open(decodeBlob(blob), key), plain)
    })
  }

  for (const part of ["head", "keyId", "scryptSalt", "salt", "wrapped", "payload"] as const) {
    test(`finds a bit changed in the ${part}, whatever the checksum says`, () => {
      assert.throws(() => open(tampered(part), vectorKey("keyFile")), { code: "backup_corrupt" })
    })
  }

  test("finds a changed tag", () => {
    const { payload } = decodeBlob(vectorBlob())

    assert.throws(() => open(tampered("payload", payload.length - 1), vectorKey("keyFile")), { code: "backup_corrupt" })
  })

  test("finds a payload that was swapped for that of another blob of the same key", () => {
    const mine = decodeBlob(vectorBlob())
    const other = decodeBlob(sealBlob(vector.header, Buffer.from(vector.plain), vectorKey("keyFile")))
    const swapped = decodeBlob(encodeBlob(mine.head, mine.slots, other.payload))

    assert.throws(() => open(swapped, vectorKey("keyFile")), { code: "backup_corrupt" })
  })

  test("finds slot and payload that were put under another header", () => {
    const mine = decodeBlob(vectorBlob())
    const other = decodeBlob(
      sealBlob({ ...vector.header, vm_id: "vm02" }, Buffer.from(vector.plain), vectorKey("keyFile")),
    )
    const swapped = decodeBlob(encodeBlob(other.head, mine.slots, mine.payload))

    assert.throws(() => open(swapped, vectorKey("keyFile")), { code: "backup_corrupt" })
  })

  test("does not open with another key", () => {
    assert.throws(() => open(decodeBlob(vectorBlob()), masterKey(Buffer.alloc(32, 0x12))), { code: "backup_corrupt" })
  })
})
