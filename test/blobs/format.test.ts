import assert from "node:assert/strict"
import { createHash, randomBytes } from "node:crypto"
import { suite, test } from "node:test"
import { decodeBlob, encodeHead } from "../../src/blobs/format.ts"
import type { Fault } from "../../src/domain/fault.ts"
import { vector, vectorBlob } from "./vector.ts"

/** Changes bytes and gives the blob a checksum that fits: what an attacker can do without a key. */
function forge(blob: Buffer, change: (body: Buffer) => Buffer): Buffer {
  const body = change(Buffer.from(blob.subarray(0, -32)))
  return Buffer.concat([body, createHash("sha256").update(body).digest()])
}

function patch(offset: number, bytes: readonly number[]): (body: Buffer) => Buffer {
  return (body) => {
    body.set(bytes, offset)
    return body
  }
}

/** The blob with another text in the place of its header, lengths and checksum fitting. */
function withHeader(text: string | Buffer): Buffer {
  return forge(vectorBlob(), (body) => {
    const header = Buffer.from(text)
    const prefix = Buffer.from(body.subarray(0, 24))
    prefix.writeUInt32BE(header.length, 12)
    return Buffer.concat([prefix, header, body.subarray(24 + vector.headerLength)])
  })
}

const damaged = (message: RegExp) => (error: unknown) => {
  const fault = error as Fault
  assert.equal(fault.code, "backup_corrupt")
  assert.match(fault.message, message)
  return true
}

suite("decodeBlob", () => {
  test("takes a blob apart as it was put together", () => {
    const { header, head, slots, payload } = decodeBlob(vectorBlob())

    assert.deepEqual(header, vector.header)
    assert.equal(head.length, 24 + vector.headerLength)
    assert.deepEqual(
      slots.map(({ keyId }) => keyId.toString("hex")),
      [vector.keyFile.keyId],
    )
    assert.equal(payload.length, vector.header.plain_len + 49)
  })

  test("finds every single bit that was flipped", () => {
    const blob = vectorBlob()
    for (let bit = 0; bit < blob.length * 8; bit++) {
      const flipped = Buffer.from(blob)
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      assert.throws(() => decodeBlob(flipped), { code: "backup_corrupt" }, `bit ${bit}`)
    }
  })

  test("finds a truncation at every length", () => {
    const blob = vectorBlob()
    for (let length = 0; length < blob.length; length++) {
      assert.throws(() => decodeBlob(blob.subarray(0, length)), { code: "backup_corrupt" }, `length ${length}`)
    }
  })

  test("finds bytes that were added, also under a new checksum", () => {
    assert.throws(() => decodeBlob(Buffer.concat([vectorBlob(), Buffer.of(0)])), { code: "backup_corrupt" })
    assert.throws(
      () => decodeBlob(forge(vectorBlob(), (body) => Buffer.concat([body, Buffer.of(0)]))),
      damaged(/lengths say otherwise/),
    )
  })

  for (const [what, offset, bytes, message] of [
    ["another magic", 0, [0x88], /does not begin/],
    ["version 0", 8, [0], /version 0/],
    ["version 2", 8, [2], /version 2/],
    ["another suite", 9, [2], /suite 2/],
    ["reserved bytes in use", 10, [0, 1], /reserved/],
    ["a header length below 2", 12, [0, 0, 0, 1], /header length is 1/],
    ["a header length over 4096", 12, [0, 0, 16, 1], /header length is 4097/],
    ["a header length past the end", 12, [0, 0, 16, 0], /key slots/],
    ["a payload length of 2^64-1", 16, [255, 255, 255, 255, 255, 255, 255, 255], /lengths say otherwise/],
    ["no slot", 24 + vector.headerLength, [0], /0 key slots/],
    ["five slots", 24 + vector.headerLength, [5], /5 key slots/],
    ["more slots than bytes", 24 + vector.headerLength, [4], /lengths say otherwise/],
  ] as const) {
    test(`refuses ${what}, also under a fitting checksum`, () => {
      assert.throws(() => decodeBlob(forge(vectorBlob(), patch(offset, bytes))), damaged(message))
    })
  }

  for (const [what, text] of [
    ["is not JSON", "{}}"],
    ["is not UTF-8", Buffer.from(JSON.stringify({ ...vector.header, path: "/\u00ff" }), "latin1")],
    ["is no object", "[]"],
    ["is null", "null"],
    ["lacks a member", JSON.stringify({ ...vector.header, actor: undefined })],
    ["has an unknown member", JSON.stringify({ ...vector.header, more: 1 })],
    ["has a path for an id", JSON.stringify({ ...vector.header, vm_id: "../etc" })],
    ["has an impossible mode", JSON.stringify({ ...vector.header, mode: 0o10000 })],
    ["has a negative owner", JSON.stringify({ ...vector.header, uid: -1 })],
    ["has an unknown trigger", JSON.stringify({ ...vector.header, trigger: "magic" })],
    ["has a time without milliseconds", JSON.stringify({ ...vector.header, created_at: "2026-01-02T03:04:05Z" })],
    ["has a day that does not exist", JSON.stringify({ ...vector.header, created_at: "2026-02-30T03:04:05.678Z" })],
    ["has a time that is none", JSON.stringify({ ...vector.header, created_at: "2026-99-99T99:99:99.999Z" })],
    ["tells another length than the payload has", JSON.stringify({ ...vector.header, plain_len: 30 })],
  ] as const) {
    test(`refuses a header that ${what}`, () => {
      assert.throws(() => decodeBlob(withHeader(text)), damaged(/header/))
    })
  }

  test("never fails in another way, whatever the bytes are", () => {
    for (let round = 0; round < 2000; round++) {
      const noise = randomBytes(round)
      const start = round % 3 === 0 ? vectorBlob().subarray(0, 24) : Buffer.alloc(0)
      const blob = forge(Buffer.concat([start, noise, Buffer.alloc(32)]), (body) => body)
      assert.throws(() => decodeBlob(blob), { code: "backup_corrupt" })
    }
  })
})

suite("encodeHead", () => {
  test("writes the members in one order, whatever order they come in", () => {
    const reversed = Object.fromEntries(Object.entries(vector.header).reverse()) as unknown as typeof vector.header

    assert.deepEqual(encodeHead(reversed), encodeHead(vector.header))
  })

  test("refuses a header of more than 4096 bytes", () => {
    assert.throws(() => encodeHead({ ...vector.header, path: `/${"x".repeat(4096)}` }), /4096 bytes/)
    // The longest that settings and callers may give: a lone surrogate is six bytes of JSON.
    const path = `/${"x".repeat(1997)}`
    const longest = { path, vm_id: "v".repeat(63), type: "t".repeat(63), reason: "\ud83d".repeat(200) }
    assert.doesNotThrow(() => encodeHead({ ...vector.header, ...longest }))
  })

  test("refuses a header that it could not read again", () => {
    assert.throws(() => encodeHead({ ...vector.header, created_at: "yesterday" }), /wrong kind/)
  })
})
