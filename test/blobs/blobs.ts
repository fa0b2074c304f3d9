import { randomUUID } from "node:crypto"
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
