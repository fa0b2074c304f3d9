import type { BlobRef, BlobStore } from "../domain/blob-store.ts"
import { type CopyTarget, isCopyName, type StoreFiles, sideFileNames } from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"

/** What came back from the copies. */
export interface Homecoming {
  /** Versions that were brought home. */
  readonly brought: number
  /** Versions that stood here already, whole. */
  readonly here: number
  /** Copies that are damaged. */
  readonly damaged: number
}

interface Parts {
  readonly target: CopyTarget
  readonly files: StoreFiles
  /** Told of each thing that somebody should look at, in a sentence. */
  readonly onFinding: (sentence: string) => void
}

/** Brings home the files beside the blobs, before keys are loaded: a passphrase is to go on with its salt. What stands here stays. @throws {Fault} */
export async function bringSideFilesHome({ target, files, onFinding }: Parts): Promise<void> {
  for (const name of sideFileNames) {
    const theirs = await target.get(name)
    if (theirs === null) continue
    const ours = await files.read(name)
    if (ours === null) await files.write(name, theirs)
    else if (ours.equals(theirs)) continue
    else if (name === "notes.jsonl") await files.write(name, joined(theirs, ours))
    else onFinding(`${name} stands here already and differs from the copy; it stays as it is.`)
  }
}

/** Their lines, then those that are ours alone: what a service noted here that was started too early counts as well. */
function joined(theirs: Buffer, ours: Buffer): Buffer {
  const known = new Set(linesOf(theirs))
  const own = linesOf(ours).filter((line) => !known.has(line))
  return Buffer.from([...known, ...own].map((line) => `${line}\n`).join(""))
}

function linesOf(bytes: Buffer): readonly string[] {
  return bytes
    .toString("utf8")
    .split("\n")
    .filter((line) => line !== "")
}

/** Brings every version home that does not stand here whole. May be called again: it goes on. @throws {Fault} */
export async function bringVersionsHome(parts: Parts & { readonly blobs: BlobStore }): Promise<Homecoming> {
  const { target } = parts
  const counts = { brought: 0, here: 0, damaged: 0 }
  const names = target.list()[Symbol.asyncIterator]()
  const lane = async (): Promise<void> => {
    for (let next = await names.next(); !next.done; next = await names.next()) {
      const fate = await bringHome(next.value, parts)
      if (fate) counts[fate] += 1
    }
  }
  const lanes = await Promise.allSettled(Array.from({ length: target.parallel }, lane))
  const failed = lanes.find((result) => result.status === "rejected")
  if (failed) throw failed.reason
  if (counts.brought + counts.here + counts.damaged === 0) {
    throw new Fault(
      "backup_missing",
      `${target.name} holds no version: see whether it is the right place, and mounted.`,
    )
  }
  return counts
}

async function bringHome(
  name: string,
  { target, files, blobs, onFinding }: Parts & { readonly blobs: BlobStore },
): Promise<keyof Homecoming | null> {
  const ref = blobRefOf(name)
  if (!ref && !/^backup_.*\.enc$/.test(name)) return null
  if (ref ? await stands(ref, blobs) : (await files.read(name)) !== null) return "here"
  const bytes = await target.get(name)
  if (bytes === null) return null
  if (!ref) {
    await files.write(name, bytes)
    return "brought"
  }
  try {
    await blobs.putSealed(ref, bytes)
    return "brought"
  } catch (error) {
    if (!isFault(error, "backup_corrupt")) throw error
    onFinding(`The copy ${name} was left where it is. ${error.message}`)
    return "damaged"
  }
}

async function stands(ref: BlobRef, blobs: BlobStore): Promise<boolean> {
  try {
    await blobs.sealed(ref)
    return true
  } catch (error) {
    if (isFault(error, "backup_missing", "backup_corrupt")) return false
    throw error
  }
}

/** @returns null for what is no blob */
function blobRefOf(name: string): BlobRef | null {
  const found = /^([^/]+)\/([^/]+)\/([^/]+)\.cmb$/.exec(name)
  if (!found || !isCopyName(name)) return null
  const [, vmId = "", type = "", backupId = ""] = found
  return { vmId, type, backupId }
}
