import { basename } from "node:path"
import type { BlobHeader } from "../domain/blob-store.ts"
import { Fault } from "../domain/fault.ts"
import { openBlob } from "./cipher.ts"
import { decodeBlob } from "./format.ts"
import type { Keyring } from "./keyring.ts"
import { openLegacy } from "./legacy.ts"
import type { LegacyKeys } from "./legacy-keys.ts"

/** A sealed version that was opened by itself, with no store around it. */
export interface OpenedFile {
  /** What it says of itself; null: a backup of the original service, which says nothing. */
  readonly header: BlobHeader | null
  readonly bytes: Buffer
  /** 32 hex digits: of the key that opened it. */
  readonly keyId: string
}

/**
 * Opens the bytes of a file, whatever it is called and wherever it stands; what ends with `.enc`, or as one that was put aside,
 * is a backup of the original service.
 * @throws {Fault} `backup_corrupt`, `backup_key_unavailable`
 */
export async function openSealedFile(
  path: string,
  sealed: Buffer,
  keys: Pick<Keyring, "find"> & { readonly legacy: LegacyKeys },
): Promise<OpenedFile> {
  if (/\.enc((\.\d+)?\.damaged)?$/.test(basename(path))) return openEnc(sealed, keys.legacy)
  const parts = decodeBlob(sealed)
  for (const slot of parts.slots) {
    const key = await keys.find(slot)
    if (key) return { header: parts.header, bytes: openBlob(parts, slot, key), keyId: key.keyId.toString("hex") }
  }
  const ids = parts.slots.map(({ keyId }) => keyId.toString("hex")).join(", ")
  throw new Fault("backup_key_unavailable", `It is whole, and sealed with another key than those given (${ids}).`)
}

async function openEnc(sealed: Buffer, keys: LegacyKeys): Promise<OpenedFile> {
  const opened = await openLegacy(sealed, keys)
  if (opened) return { header: null, bytes: opened.plain, keyId: opened.keyId }
  throw new Fault("backup_key_unavailable", "It was sealed with another key than those given, or it is damaged.")
}
