import type { BlobHeader, BlobRef, BlobStore } from "../domain/blob-store.ts"
import type { Clock } from "../domain/clock.ts"
import { digestOf } from "../domain/digest.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { ImportedVersion } from "../domain/version.ts"

/**
 * The row of a version that stands in the store: its blob is opened, and is `locked` where no loaded key does that.
 * @throws {Fault} `backup_missing`, `backup_corrupt`, `backup_storage_unavailable`
 */
export async function blobVersion(ref: BlobRef, blobs: BlobStore, clock: Clock): Promise<ImportedVersion> {
  try {
    const { header, bytes, keyId } = await blobs.open(ref)
    const found = { size: bytes.length, digest: digestOf(bytes), verifiedAt: clock().toISOString() }
    return { ...rowOf(header), ...found, keyId, state: "ok" }
  } catch (error) {
    if (!isFault(error, "backup_key_unavailable")) throw error
    const { header, keyId } = await blobs.header(ref)
    if (header.created_at >= endOfTime) throw endless(ref)
    return { ...rowOf(header), size: header.plain_len, digest: null, verifiedAt: null, keyId, state: "locked" }
  }
}

/** Versions follow each other in time: after what somebody may have written into an unproved header there must be room for ours. */
const endOfTime = "9999"

function endless({ backupId }: BlobRef): Fault {
  return new Fault(
    "backup_corrupt",
    `No loaded key opens version ${backupId}, and the time it gives itself is the end of time.`,
  )
}

function rowOf(header: BlobHeader) {
  const { backup_id, vm_id, created_at, operation_id, type, path, mode, uid, gid, trigger, reason, actor } = header
  const ids = { backupId: backup_id, vmId: vm_id, operationId: operation_id, validFrom: created_at }
  return { ...ids, type, path, mode, uid, gid, trigger, reason, actor, format: "cmb1" } as const
}
