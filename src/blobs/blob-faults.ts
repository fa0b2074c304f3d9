import { type BlobRef, MisplacedFault } from "../domain/blob-store.ts"
import { Fault } from "../domain/fault.ts"
import type { BlobParts } from "./format.ts"
import { pathOf } from "./names.ts"

export function missing(ref: BlobRef): Fault {
  return new Fault("backup_missing", `The file of version ${ref.backupId} is gone.`)
}

export function unreadable(ref: BlobRef, cause: unknown): Fault {
  const text = `The disk does not give back the file of version ${ref.backupId}: see the kernel's log.`
  return new Fault("backup_corrupt", text, { cause })
}

export function keptFrom(ref: BlobRef, cause: unknown): Fault {
  const name = pathOf("", ref)
  return new Fault("backup_corrupt", `The service's user may not read ${name}: give that file back to it.`, { cause })
}

export function notGivenBack(location: string): Fault {
  return new Fault(
    "backup_storage_unavailable",
    `${location} does not give back what was written to it: see the disk and its file system.`,
  )
}

/** @throws {Fault} `backup_corrupt` for a blob that stands in another's place */
export function requireNamed({ header }: BlobParts, ref: BlobRef): void {
  const { backup_id, vm_id, type } = header
  if (backup_id !== ref.backupId)
    throw new Fault("backup_corrupt", `The file of version ${ref.backupId} holds another version.`)
  if (vm_id !== ref.vmId || type !== ref.type) throw new MisplacedFault(ref, { vmId: vm_id, type })
}
