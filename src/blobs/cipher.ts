/**
 * What is in a blob (`format.ts` says where):
 *
 *     key id      = HMAC-SHA256(master, "cm-blob-v1 key-id")[0..16]
 *     KEK         = HKDF-SHA256(master, salt, "cm-blob-v1 kek")
 *     wrapped     = GCM(KEK, aad = "cm-blob-v1 slot" | SHA256(head) | key id | scrypt salt | salt; data key)
 *     payload key = HKDF-SHA256(data key, "", "cm-blob-v1 payload")
 *     payload     = GCM(payload key, aad = "cm-blob-v1 payload" | head; 0x01 | SHA-256(plain) | plain)
 *
 * Data key and salt are 32 random bytes each, fresh per blob, so that every GCM key is used once: hence every nonce is 12
 * zero bytes (NIST SP 800-38D asks for a nonce that never repeats under one key).
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from "node:crypto"
import type { BlobHeader } from "../domain/blob-store.ts"
import { Fault } from "../domain/fault.ts"
import { type BlobParts, encodeBlob, encodeHead, type Slot } from "./format.ts"

const algorithm = "aes-256-gcm"
const tagLength = 16
const nonce = Buffer.alloc(12)
const payloadKind = 0x01

/** A key that seals and opens. */
export interface MasterKey {
  /** 32 bytes */
  readonly master: Buffer
  /** 16 bytes, public */
  readonly keyId: Buffer
  /** 16 bytes; zeros: the key is a file. */
  readonly scryptSalt: Buffer
}

/** The randomness of one blob; given by nobody but the tests of the vectors. */
interface SealRandomness {
  readonly dataKey: Buffer
  readonly salt: Buffer
}

export function masterKey(master: Buffer, scryptSalt: Buffer = Buffer.alloc(16)): MasterKey {
  const keyId = createHmac("sha256", master).update("cm-blob-v1 key-id").digest().subarray(0, 16)
  return { master, keyId, scryptSalt }
}

/** Seals `plain` for one key. @returns the bytes of the whole blob */
export function sealBlob(
  header: BlobHeader,
  plain: Uint8Array,
  key: MasterKey,
  random: SealRandomness = { dataKey: randomBytes(32), salt: randomBytes(32) },
): Buffer {
  if (header.plain_len !== plain.length) throw new Error("A blob's header tells another length than its bytes have.")
  const head = encodeHead(header)
  const content = Buffer.concat([Buffer.of(payloadKind), sha256(plain), plain])
  const payload = encrypt(payloadKey(random.dataKey), payloadData(head), content)
  return encodeBlob(head, [wrapFor(key, head, random.salt, random.dataKey)], payload)
}

/**
 * Opens the payload with a key of one of the blob's slots.
 * @throws {Fault} `backup_corrupt`: not a byte of it is handed out then
 */
export function openBlob(parts: BlobParts, slot: Slot, key: MasterKey): Buffer {
  const dataKey = decrypt(keyEncryptionKey(key, slot.salt), slotData(parts.head, slot), slot.wrapped)
  const content = dataKey && decrypt(payloadKey(dataKey), payloadData(parts.head), parts.payload)
  if (!content) throw corrupt("its bytes were changed after they were sealed")

  const plain = content.subarray(33)
  if (content[0] !== payloadKind) throw corrupt(`its payload is of kind ${content[0]}`)
  if (!sha256(plain).equals(content.subarray(1, 33)))
    throw corrupt("its content does not have the digest it was sealed with")
  return plain
}

/**
 * Wraps a blob's data key for `to` alone. Head and payload keep their bytes: neither is bound to the slots.
 * @param salt given by nobody but tests
 * @throws {Fault} `backup_corrupt` where `from` does not open `slot`
 */
export function rewrapBlob(
  parts: BlobParts,
  slot: Slot,
  from: MasterKey,
  to: MasterKey,
  salt = randomBytes(32),
): Buffer {
  const dataKey = decrypt(keyEncryptionKey(from, slot.salt), slotData(parts.head, slot), slot.wrapped)
  if (!dataKey) throw corrupt("its bytes were changed after they were sealed")
  return encodeBlob(parts.head, [wrapFor(to, parts.head, salt, dataKey)], parts.payload)
}

function wrapFor(key: MasterKey, head: Buffer, salt: Buffer, dataKey: Buffer): Slot {
  const slot = { keyId: key.keyId, scryptSalt: key.scryptSalt, salt }
  return { ...slot, wrapped: encrypt(keyEncryptionKey(key, salt), slotData(head, slot), dataKey) }
}

function keyEncryptionKey(key: MasterKey, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", key.master, salt, "cm-blob-v1 kek", 32))
}

function payloadKey(dataKey: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", dataKey, "", "cm-blob-v1 payload", 32))
}

function slotData(head: Buffer, slot: Omit<Slot, "wrapped">): Buffer {
  return Buffer.concat([Buffer.from("cm-blob-v1 slot"), sha256(head), slot.keyId, slot.scryptSalt, slot.salt])
}

function payloadData(head: Buffer): Buffer {
  return Buffer.concat([Buffer.from("cm-blob-v1 payload"), head])
}

function encrypt(key: Buffer, aad: Buffer, plain: Buffer): Buffer {
  const cipher = createCipheriv(algorithm, key, nonce, { authTagLength: tagLength }).setAAD(aad)
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** @returns null when key, associated data or bytes are not the ones that were sealed */
function decrypt(key: Buffer, aad: Buffer, sealed: Buffer): Buffer | null {
  const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: tagLength }).setAAD(aad)
  decipher.setAuthTag(sealed.subarray(-tagLength))
  const plain = decipher.update(sealed.subarray(0, -tagLength))
  try {
    return Buffer.concat([plain, decipher.final()])
  } catch {
    return null
  }
}

function corrupt(what: string): Fault {
  return new Fault("backup_corrupt", `The sealed version is damaged: ${what}.`)
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest()
}
