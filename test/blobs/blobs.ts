import { randomUUID } from "node:crypto"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { masterKey } from "../../src/blobs/cipher.ts"
import type { Keyring } from "../../src/blobs/keyring.ts"
import type { BlobHeader, BlobRef } from "../../src/domain/blob-store.ts"

export interface NewBlob {
  readonly header: BlobHeader
  readonly bytes: Buffer
}

/** A blob to put; `header` says what is to be special about it. */
export function aBlob(bytes: Buffer | string = "port: 80\n", header: Partial<BlobHeader> = {}): NewBlob {
  const content = Buffer.from(bytes)
  return {
    bytes: content,
    header: {
      backup_id: randomUUID(),
      vm_id: "vm01",
      type: "central",
      path: "/opt/app/central.yml",
      created_at: "2026-01-02T03:04:05.678Z",
      plain_len: content.length,
      mode: 0o640,
      uid: 0,
      gid: 0,
      operation_id: null,
      trigger: "found",
      reason: null,
      actor: "anonymous",
      ...header,
    },
  }
}

export function refOf({ header }: NewBlob): BlobRef {
  return { vmId: header.vm_id, type: header.type, backupId: header.backup_id }
}

/** Keys of 32 times one byte each: the first seals, all open. */
export function keyringOf(...bytes: readonly [number, ...number[]]): Keyring {
  const keys = bytes.map((byte) => masterKey(Buffer.alloc(32, byte)))
  const [active = masterKey(Buffer.alloc(32, bytes[0]))] = keys
  return { active, find: async ({ keyId }) => keys.find((key) => key.keyId.equals(keyId)) ?? null }
}

export const fileOf = (location: string, { vmId, type, backupId }: BlobRef) =>
  join(location, vmId, type, `${backupId}.cmb`)

/** The names of all files under a location, but for the reserve. */
export async function filesIn(location: string): Promise<readonly string[]> {
  const entries = await readdir(location, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => !entry.isDirectory() && entry.name !== ".reserve").map((entry) => entry.name)
}
