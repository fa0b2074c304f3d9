import type { BlobStore } from "../domain/blob-store.ts"
import { type CopiedVersion, type CopyTarget, fileNameOf } from "../domain/copies.ts"
import { Fault } from "../domain/fault.ts"

interface Parts {
  readonly blobs: BlobStore
  readonly target: CopyTarget
}

/**
 * The bytes of a blob that go to the place of the copies. What no loaded key opens, as an older file that was put back after
 * a rewrap, takes the place of no copy that one opens; what an old key opens, of none that the active one does: that stays.
 * @returns a fault where it must not
 * @throws {Fault} as BlobStore.sealed, CopyTarget
 */
export async function blobToCopy(version: CopiedVersion, { blobs, target }: Parts): Promise<Buffer | Fault> {
  const bytes = await blobs.sealed(version)
  const keyId = await blobs.opens(version, bytes)
  if (keyId === blobs.keyId) return bytes
  const theirs = await target.get(fileNameOf(version))
  const theirKeyId = theirs && (await blobs.opens(version, theirs))
  if (theirs === null || theirKeyId === null) return bytes
  if (keyId !== null) return theirKeyId === blobs.keyId ? theirs : bytes
  const { backupId } = version
  return new Fault(
    "backup_corrupt",
    `What stands here as version ${backupId} does not open, and its copy at ${target.name} does: it is left as it is. ` +
      `POST /backups/${backupId}/verify brings it home.`,
  )
}
