/**
 * The file format of a sealed version. Numbers are big-endian; `|` joins bytes.
 *
 *     off   size  field
 *     0     8     magic: 89 43 4D 42 0D 0A 1A 0A
 *     8     1     version = 1
 *     9     1     suite = 1 (AES-256-GCM, HKDF-SHA-256)
 *     10    2     reserved = 0
 *     12    4     header length H (2..4096)
 *     16    8     payload length P
 *     24    H     header: JSON in UTF-8; its bytes are authenticated as written
 *     24+H  1     number of slots n (1..4)
 *           112*n slot: key id (16) | scrypt salt (16; zeros: the key is a file) | salt (32) | wrapped data key (32 + 16)
 *           P     payload: AES-256-GCM( 0x01 | SHA-256(plain) | plain ), so P = plain_len + 49
 *           32    SHA-256 of all before it: finds bit rot without a key; proves nothing
 *
 * This file knows where the bytes stand, `cipher.ts` what is in them. Bytes 0..24+H are called the head: both layers of
 * encryption are bound to it.
 */
import { createHash } from "node:crypto"
import type { BlobHeader } from "../domain/blob-store.ts"
import { Fault } from "../domain/fault.ts"
import type { Trigger } from "../domain/version.ts"
import { idPattern } from "../domain/vm.ts"

const magic = Buffer.from("89434d420d0a1a0a", "hex")
const version = 1
const suite = 1
const prefixLength = 24
const headerLengthMin = 2
const headerLengthMax = 4096
const slotLength = 112
const slotsMax = 4
const trailerLength = 32

/** What the payload holds besides the plain bytes: its kind (1), their SHA-256 (32), the tag (16). */
const payloadOverhead = 1 + 32 + 16

/** The data key of a blob, wrapped for one key. */
export interface Slot {
  /** 16 bytes */
  readonly keyId: Buffer
  /** 16 bytes; zeros: the key is a file, not a passphrase. */
  readonly scryptSalt: Buffer
  /** 32 bytes */
  readonly salt: Buffer
  /** 32 bytes and a tag of 16 */
  readonly wrapped: Buffer
}

/** A blob taken apart; the buffers are views of its bytes. */
export interface BlobParts {
  readonly head: Buffer
  readonly header: BlobHeader
  readonly slots: readonly Slot[]
  readonly payload: Buffer
}

/** @throws {Error} when the header does not fit: its path is thousands of characters long */
export function encodeHead(header: BlobHeader): Buffer {
  const json = Buffer.from(JSON.stringify(inOrder(header)))
  if (json.length > headerLengthMax) {
    throw new Error(`A blob's header may have ${headerLengthMax} bytes, this one has ${json.length}.`)
  }
  const prefix = Buffer.alloc(prefixLength)
  magic.copy(prefix)
  prefix.writeUInt8(version, 8)
  prefix.writeUInt8(suite, 9)
  prefix.writeUInt32BE(json.length, 12)
  prefix.writeBigUInt64BE(BigInt(header.plain_len + payloadOverhead), 16)
  return Buffer.concat([prefix, json])
}

/** Joins the parts of a blob and adds the checksum. */
export function encodeBlob(head: Buffer, slots: readonly Slot[], payload: Buffer): Buffer {
  const parts = [head, Buffer.of(slots.length)]
  for (const slot of slots) parts.push(slot.keyId, slot.scryptSalt, slot.salt, slot.wrapped)
  const body = Buffer.concat([...parts, payload])
  return Buffer.concat([body, sha256(body)])
}

/**
 * Takes a blob apart and checks all that can be checked without a key.
 * @throws {Fault} `backup_corrupt` with a sentence that says what is wrong, never with content
 */
export function decodeBlob(bytes: Buffer): BlobParts {
  if (bytes.length < prefixLength + headerLengthMin + 1 + slotLength + payloadOverhead + trailerLength) {
    throw corrupt(`it has only ${bytes.length} bytes`)
  }
  const body = bytes.subarray(0, -trailerLength)
  if (!sha256(body).equals(bytes.subarray(-trailerLength))) throw corrupt("its checksum does not fit its bytes")
  const { headerLength, payloadLength } = decodePrefix(bytes)

  const headEnd = prefixLength + headerLength
  const slotCount = headEnd < body.length ? body.readUInt8(headEnd) : 0
  if (slotCount < 1 || slotCount > slotsMax)
    throw corrupt(`it has ${slotCount} key slots where 1 to ${slotsMax} may be`)
  const slotsEnd = headEnd + 1 + slotCount * slotLength
  if (BigInt(body.length) !== BigInt(slotsEnd) + payloadLength) {
    throw corrupt(`it has ${bytes.length} bytes, its own lengths say otherwise`)
  }

  const header = decodeHeader(body.subarray(prefixLength, headEnd))
  if (payloadLength !== BigInt(header.plain_len + payloadOverhead)) {
    throw corrupt("its header and its payload disagree on the length")
  }
  const slots = Array.from({ length: slotCount }, (_, index) => decodeSlot(body, headEnd + 1 + index * slotLength))
  return { head: body.subarray(0, headEnd), header, slots, payload: body.subarray(slotsEnd) }
}

function decodePrefix(bytes: Buffer): { headerLength: number; payloadLength: bigint } {
  if (!bytes.subarray(0, magic.length).equals(magic)) throw corrupt("it does not begin as a sealed version does")
  const [foundVersion, foundSuite] = [bytes.readUInt8(8), bytes.readUInt8(9)]
  if (foundVersion !== version) throw corrupt(`its format is version ${foundVersion}, this program knows ${version}`)
  if (foundSuite !== suite) throw corrupt(`it is sealed by suite ${foundSuite}, this program knows ${suite}`)
  if (bytes.readUInt16BE(10) !== 0) throw corrupt("its reserved bytes are not zero")
  const headerLength = bytes.readUInt32BE(12)
  if (headerLength < headerLengthMin || headerLength > headerLengthMax) {
    throw corrupt(`its header length is ${headerLength}`)
  }
  return { headerLength, payloadLength: bytes.readBigUInt64BE(16) }
}

function decodeSlot(body: Buffer, at: number): Slot {
  return {
    keyId: body.subarray(at, at + 16),
    scryptSalt: body.subarray(at + 16, at + 32),
    salt: body.subarray(at + 32, at + 64),
    wrapped: body.subarray(at + 64, at + slotLength),
  }
}

function decodeHeader(bytes: Buffer): BlobHeader {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
  } catch (cause) {
    throw corrupt("its header is not JSON", cause)
  }
  if (!isHeader(value)) throw corrupt("its header lacks members, has unknown ones, or has some of the wrong kind")
  return value
}

const triggers: readonly Trigger[] = ["written", "found", "manual", "scheduled", "imported"]
const timePattern = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

const isText = (value: unknown) => typeof value === "string"
const isTextOrNull = (value: unknown) => value === null || typeof value === "string"
const isId = (value: unknown) => typeof value === "string" && idPattern.test(value)
const isNatural = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0

/** A moment that exists: 30 February would be read as a day in March. */
export function isTime(value: unknown): boolean {
  if (typeof value !== "string" || !timePattern.test(value)) return false
  const time = new Date(value)
  return !Number.isNaN(time.getTime()) && time.toISOString() === value
}

/** Every member of a header, in the order in which they are written. */
const members = {
  backup_id: isId,
  vm_id: isId,
  type: isId,
  path: isText,
  created_at: isTime,
  plain_len: isNatural,
  mode: (value: unknown) => isNatural(value) && (value as number) <= 0o7777,
  uid: isNatural,
  gid: isNatural,
  operation_id: isTextOrNull,
  trigger: (value: unknown) => triggers.includes(value as Trigger),
  reason: isTextOrNull,
  actor: isText,
} satisfies Record<keyof BlobHeader, (value: unknown) => boolean>

const memberNames = Object.keys(members) as (keyof BlobHeader)[]

function isHeader(value: unknown): value is BlobHeader {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false
  const found = value as Record<string, unknown>
  return (
    Object.keys(found).length === memberNames.length &&
    memberNames.every((name) => Object.hasOwn(found, name) && members[name](found[name]))
  )
}

/** The header with its members in the one order, and with no others. @throws {Error} for one that could not be read again */
function inOrder(header: BlobHeader): BlobHeader {
  const ordered = Object.fromEntries(memberNames.map((name) => [name, header[name]]))
  if (!isHeader(ordered)) throw new Error("A blob's header has members of the wrong kind.")
  return ordered
}

function corrupt(what: string, cause?: unknown): Fault {
  return new Fault("backup_corrupt", `The sealed version is damaged: ${what}.`, { cause })
}

function sha256(bytes: Buffer): Buffer {
  return createHash("sha256").update(bytes).digest()
}
