import type { BlobStore } from "../domain/blob-store.ts"
import { type CopiedVersion, type CopyTarget, fileNameOf } from "../domain/copies.ts"
import { Fault } from "../domain/fault.ts"

interface Parts {
  readonly blobs: BlobStore
  readonly target: CopyTarget
}

/**
 * The bytes of a blob that go to the place of the copies. What no loaded key opens, as an older file that was put back after
 * a rewrap, takes the place of no copy that one opens.
 * @returns a fault where it must not
 * @throws {Fault} as BlobStore.sealed, CopyTarget
 */
export async function blobToCopy(version: CopiedVersion, { blobs, target }: Parts): Promise<Buffer | Fault> {
  const bytes = await blobs.sealed(version)
  if (await blobs.opens(version, bytes)) return bytes
  const theirs = await target.get(fileNameOf(version))
  if (theirs === null || !(await blobs.opens(version, theirs))) return bytes
  const { backupId } = version
  return new Fault(
    "backup_corrupt",
    `What stands here as version ${backupId} does not open, and its copy at ${target.name} does: it is left as it is. ` +
      `POST /backups/${backupId}/verify brings it home.`,
  )
}
