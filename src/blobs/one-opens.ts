import type { BlobRef } from "../domain/blob-store.ts"
import { isFault } from "../domain/fault.ts"
import { StartError } from "../domain/start-error.ts"
import { decodeBlob, type Slot } from "./format.ts"
import { type FsPort, nodeFs, readWhole } from "./fs-port.ts"
import type { Keyring } from "./keyring.ts"
import { listBlobs, maxBlobBytes } from "./listing.ts"
import { pathOf } from "./names.ts"
import { storageFault } from "./storage-fault.ts"

/** Versions that are read: a start does not wait for thousands, of which a wrong key opens none either. */
const mostVersions = 32
/** Configs whose directory is listed: most may be empty. */
const mostConfigs = 1000

/**
 * Where nothing remembers which key sealed last, the blobs tell: the newest of some configs, then older ones. Where there are none
 * that can be read, nothing is told.
 * @throws {StartError} where none of them is sealed for a key of `keyring`, or a directory cannot be read
 */
export async function requireOneOpens(location: string, keyring: Keyring, fs: FsPort = nodeFs): Promise<void> {
  const sealedFor = new Set<string>()
  let looked = 0
  for (const ref of await someBlobs(fs, location)) {
    const slots = await slotsOf(fs, location, ref)
    for (const slot of slots) {
      if (await keyring.find(slot)) return
      sealedFor.add(slot.keyId.toString("hex"))
    }
    looked += Math.min(slots.length, 1)
  }
  if (looked === 0) return
  const activeId = keyring.active.keyId.toString("hex")
  throw new StartError(
    `None of ${looked} versions in ${location} that were looked at opens with the key of the backups (${activeId}), nor with an old one ` +
      `that is named: they were sealed with another (${[...sealedFor].slice(0, 3).join(", ")}). keyring.json, which tells the last key, ` +
      "is not there. Give the right key. If this one is meant so, start once with --new-key: without the right one, none of them can be opened.",
  )
}

async function someBlobs(fs: FsPort, location: string): Promise<readonly BlobRef[]> {
  const configs: (readonly BlobRef[])[] = []
  let listed = 0
  try {
    for await (const { ref, backupIds } of listBlobs(fs, location)) {
      // Ids sort by time.
      const newest = backupIds.toSorted().reverse().slice(0, mostVersions)
      if (newest.length > 0) configs.push(newest.map((backupId) => ({ ...ref, backupId })))
      listed += 1
      if (configs.length === mostVersions || listed === mostConfigs) break
    }
  } catch (error) {
    // A location that is not there yet is made; one that is no directory is told of by whoever makes it.
    if (nothingThere.has((error as NodeJS.ErrnoException).code ?? "")) return []
    const fault = storageFault(error, location)
    throw isFault(fault) ? new StartError(fault.message, { cause: fault }) : fault
  }
  const byAge = Array.from({ length: mostVersions }, (_, age) => configs.flatMap((refs) => refs[age] ?? []))
  return byAge.flat().slice(0, mostVersions)
}

const nothingThere: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR"])

/** @returns none for a file that is damaged or cannot be read: it tells nothing of keys */
async function slotsOf(fs: FsPort, location: string, ref: BlobRef): Promise<readonly Slot[]> {
  try {
    const bytes = await readWhole(fs, pathOf(location, ref), maxBlobBytes)
    return bytes === null ? [] : decodeBlob(bytes).slots
  } catch {
    return []
  }
}
