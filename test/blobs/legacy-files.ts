import { createCipheriv, randomBytes, scryptSync } from "node:crypto"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { LegacyKeys } from "../../src/blobs/legacy-keys.ts"

/** Makes files as the original service did; knows nothing of the reader under test. */

/** The key that the original derived from a passphrase, or from the text of a key file. */
export function derivedKey(secret: Buffer | string): Buffer {
  return scryptSync(secret, "th_timmy_config_backup_v1", 32, { N: 2 ** 14, r: 8, p: 1 })
}

/** nonce (12) | AES-256-GCM ciphertext | tag (16), no associated data */
export function legacyFile(plain: Buffer | string, key: Buffer): Buffer {
  const nonce = randomBytes(12)
  const cipher = createCipheriv("aes-256-gcm", key, nonce)
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Puts one into the directory of the backups. @param stamp `YYYYMMDD_HHMMSS` @returns its name */
export function putLegacy(
  location: string,
  file: { readonly vmId: string; readonly type: string; readonly stamp: string },
  plain: Buffer | string,
  key: Buffer,
): string {
  const name = `backup_${file.vmId}_${file.type}_${file.stamp}.enc`
  writeFileSync(join(location, name), legacyFile(plain, key), { mode: 0o600 })
  return name
}

/** Keys as they are loaded from key files of 32 raw bytes, and a passphrase. */
export function keysOf(files: readonly Buffer[], passphrase: string | null = null): LegacyKeys {
  const read = files.map((key) => ({ key, bytes: key }))
  return new LegacyKeys(read, passphrase)
}
