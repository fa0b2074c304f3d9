import { randomUUID } from "node:crypto"
import type { BlobRef, BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { type CopyTarget, isCopyName, type StoreFiles, sideFileNames } from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import type { ParsedNotes } from "../domain/notes.ts"
import { clockText, unknownClock } from "../domain/retention-clock.ts"
import { idPattern } from "../domain/vm.ts"
import { areOfTwoStores } from "./copy-place.ts"
import { doubtOf, replaceLegacy } from "./legacy-copies.ts"
import { NoteTimes } from "./note-times.ts"
import { undoneBy } from "./notes-beyond.ts"
import { clockFileName } from "./retention-clock.ts"

const [keyringName, notesName] = sideFileNames

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

/** @throws {Fault} `backup_missing` where the place holds no version: nothing is to be begun from there */
export async function requireVersions(target: CopyTarget): Promise<void> {
  for await (const name of target.list()) if (isVersion(name)) return
  throw new Fault("backup_missing", `${target.name} holds no version: see whether it is the right place, and mounted.`)
}

/**
 * Brings home the keyring, before keys are loaded: a passphrase is to go on with its salt. One that stands here stays.
 * @returns whether it was brought @throws {Fault}
 */
export async function bringKeyringHome({ target, files, onFinding }: Parts): Promise<boolean> {
  const theirs = await target.get(keyringName)
  if (theirs === null) return false
  const ours = await files.read(keyringName)
  if (ours === null) await files.write(keyringName, theirs)
  else if (!ours.equals(theirs)) {
    const meaning = areOfTwoStores(theirs, ours)
      ? `: it is another store's, as where the service was started before this, and nothing is copied to ${target.name} while ` +
        "it stands. To go on with the copies' own, move it away and call this again: what was sealed since opens all the same."
      : "."
    onFinding(`${keyringName} stands here already and differs from the copy; it stays as it is${meaning}`)
  }
  return ours === null
}

interface BringingNotes extends Pick<Parts, "target" | "files"> {
  readonly parse: (bytes: Buffer) => ParsedNotes
  readonly clock: Clock
}

/**
 * Brings home the notes, and keeps those that were made here. They may be a clone's: they unpin nothing that is pinned here, and let
 * no config have left earlier. @throws {Fault}
 */
export async function bringNotesHome({ target, files, parse, clock }: BringingNotes): Promise<void> {
  const theirs = await target.get(notesName)
  if (theirs === null) return
  const ours = await files.read(notesName)
  if (ours?.equals(theirs)) return
  const all = ours ? joined(theirs, ours) : theirs
  const { notes } = parse(all)
  const times = new NoteTimes()
  times.see(notes)
  const undone = ours ? times.dated(undoneBy(notes, parse(ours).notes, clock().toISOString())) : []
  await files.write(notesName, Buffer.concat([all, ...undone.map((note) => Buffer.from(`${JSON.stringify(note)}\n`))]))
}

/**
 * Their lines, then those that are ours alone: what a service noted here that was started too early counts as well. What
 * theirs have said later of the same version or config comes after ours: they may have been cleared of what it made void.
 */
function joined(theirs: Buffer, ours: Buffer): Buffer {
  const known = new Set(linesOf(theirs))
  const own = linesOf(ours).filter((line) => !known.has(line))
  const lastOf = new Map<string, string>()
  for (const { subject, at } of [...known].map(noteIn)) lastOf.set(subject, at)
  const isOlder = (line: string): boolean => {
    const { subject, at } = noteIn(line)
    return at < (lastOf.get(subject) ?? "")
  }
  const { older = [], newer = [] } = Object.groupBy(own, (line) => (isOlder(line) ? "older" : "newer"))
  return Buffer.from([...older, ...known, ...newer].map((line) => `${line}\n`).join(""))
}

/** What a line is a note of, and when it was made; both "" where it is none. */
function noteIn(line: string): { readonly subject: string; readonly at: string } {
  try {
    const { at, backupId, vmId, type } = JSON.parse(line) as Partial<Record<string, unknown>>
    if (typeof at === "string") return { subject: JSON.stringify([backupId, vmId, type]), at }
  } catch {
    // A line that was cut off says nothing.
  }
  return { subject: "", at: "" }
}

function linesOf(bytes: Buffer): readonly string[] {
  return bytes
    .toString("utf8")
    .split("\n")
    .filter((line) => line !== "")
}

interface Bringing extends Parts {
  readonly blobs: BlobStore
  readonly legacy: Pick<LegacyStore, "openSealed">
  /** As it was before; null: there is none that can be read. */
  readonly catalog: Pick<Catalog, "getVersion" | "fact"> | null
  /** Resolves when the first version may come. */
  readonly ready: () => Promise<void>
}

/**
 * Brings every version home that does not stand here whole, or does not open while its copy does, or is a backup of the original
 * service and not known to be the one that its copy is not. May be called again: it goes on. @throws {Fault}
 */
export async function bringVersionsHome(parts: Omit<Bringing, "ready">): Promise<Homecoming> {
  const { target, files } = parts
  let forgetting: Promise<void> | null = null
  const ready = (): Promise<void> => {
    // Whatever a service that was started too early has seen of this machine's clock says nothing of these.
    forgetting ??= files.write(clockFileName, Buffer.from(clockText(unknownClock(randomUUID()))))
    return forgetting
  }
  const counts = { brought: 0, here: 0, damaged: 0 }
  const names = target.list()[Symbol.asyncIterator]()
  const lane = async (): Promise<void> => {
    for (let next = await names.next(); !next.done; next = await names.next()) {
      const fate = await bringHome(next.value, { ...parts, ready })
      if (fate) counts[fate] += 1
    }
  }
  const lanes = await Promise.allSettled(Array.from({ length: target.parallel }, lane))
  const failed = lanes.find((result) => result.status === "rejected")
  if (failed) throw failed.reason
  return counts
}

async function bringHome(name: string, parts: Bringing): Promise<keyof Homecoming | null> {
  if (!isVersion(name)) return null
  const { target, blobs, onFinding, ready } = parts
  const ref = blobRefOf(name)
  if (ref && (await faultless(() => blobs.open(ref)))) return "here"
  const bytes = await target.get(name)
  if (bytes === null) return null
  if (!ref) return bringLegacyHome(name, bytes, parts)
  // Whole, and under another key: the copy is no better.
  if ((await stands(ref, blobs)) && !(await blobs.opens(ref, bytes))) return "here"
  await ready()
  try {
    await blobs.putSealed(ref, bytes)
    return "brought"
  } catch (error) {
    if (!isFault(error, "backup_corrupt")) throw error
    onFinding(`The copy ${name} was left where it is. ${error.message}`)
    return "damaged"
  }
}

/**
 * Nothing in such a file says whether it is whole but a key that opens it, and nothing which one it is: it makes room for a copy
 * that opens, but where it is known to be the one that was entered.
 */
async function bringLegacyHome(name: string, bytes: Buffer, parts: Bringing): Promise<keyof Homecoming> {
  const { files, legacy, ready, onFinding } = parts
  const standing = await files.read(name)
  if (standing?.equals(bytes)) return "here"
  if (standing === null) {
    await ready()
    await files.write(name, bytes)
    return "brought"
  }
  const [ours, theirs] = [await legacy.openSealed(standing), await legacy.openSealed(bytes)]
  const isProved = ours !== null && (await isEntered(name, ours.plain, parts))
  if (theirs && ours?.plain.equals(theirs.plain)) return "here"
  if (theirs === null && isProved) return "here"
  if (theirs === null || isProved) {
    const why = theirs ? "it is the backup that was entered" : `no loaded key opens ${ours ? "that" : "either"}`
    onFinding(`What stands here as ${name} stays, and differs from its copy: ${why}.`)
    return "damaged"
  }
  await ready()
  const aside = await replaceLegacy(name, standing, bytes, files)
  if (ours)
    onFinding(
      `What stood here as ${name} holds another backup than its copy, which took its place: it is kept as ${aside}.`,
    )
  return "brought"
}

/** Whether the catalog of before proves a file; one that cannot be read, or was lost, proves none. */
async function isEntered(name: string, plain: Buffer, { catalog }: Bringing): Promise<boolean> {
  try {
    return catalog !== null && (await doubtOf(name, plain, catalog)) === null
  } catch (error) {
    if (isFault(error)) return false
    throw error
  }
}

/** Whether a blob stands here whole. */
export function stands(ref: BlobRef, blobs: BlobStore): Promise<boolean> {
  return faultless(() => blobs.sealed(ref))
}

/** Whether there is nothing wrong with a version, as far as `look` goes. */
async function faultless(look: () => Promise<unknown>): Promise<boolean> {
  try {
    await look()
    return true
  } catch (error) {
    if (isFault(error, "backup_missing", "backup_corrupt", "backup_key_unavailable")) return false
    throw error
  }
}

/** Whether a file is named as a version, or as a backup of the original service, which stands beside the directories of VMs. */
function isVersion(name: string): boolean {
  return blobRefOf(name) !== null || /^backup_[^/]*\.enc$/.test(name)
}

/** @returns null for what is no blob */
function blobRefOf(name: string): BlobRef | null {
  const found = /^([^/]+)\/([^/]+)\/([^/]+)\.cmb$/.exec(name)
  if (!found || !isCopyName(name)) return null
  const [, vmId = "", type = "", backupId = ""] = found
  // What a tool that mirrors the place has named is no version: "<id>.sync-conflict-<time>-<device>.cmb".
  return [vmId, type, backupId].every((id) => idPattern.test(id)) ? { vmId, type, backupId } : null
}
