import { randomBytes } from "node:crypto"
import { join } from "node:path"
import type { BlobRef } from "../domain/blob-store.ts"
import { idPattern } from "../domain/vm.ts"

const tempPattern = /^\.[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\.[0-9a-f]{16}\.tmp$/

/** A name in the same directory that no reader takes for the file itself, and that the sweep knows as ours. */
export function tempName(id: string): string {
  return `.${id}.${randomBytes(8).toString("hex")}.tmp`
}

export function isTempName(name: string): boolean {
  return tempPattern.test(name)
}

/** Whether the parts of `ref` are ids: then none of them leads out of its directory. */
export function isSafe(ref: BlobRef): boolean {
  return [ref.vmId, ref.type, ref.backupId].every((part) => idPattern.test(part))
}

export function directoryOf(location: string, ref: BlobRef): string {
  return join(location, ref.vmId, ref.type)
}

export function pathOf(location: string, ref: BlobRef): string {
  return join(directoryOf(location, ref), `${ref.backupId}.cmb`)
}
