import type { Catalog } from "../domain/catalog.ts"
import { type CopyCatalog, type CopyTarget, type StoreFiles, sideFileNames } from "../domain/copies.ts"
import { digestOf } from "../domain/digest.ts"
import type { Fault } from "../domain/fault.ts"
import { copiedNotesFact, type ParsedNotes, parseSalvaged, salvagedFact, unreadNotesName } from "../domain/notes.ts"
import type { CopyPlace } from "./copy-place.ts"
import type { VersionNotes } from "./version-notes.ts"

interface Parts {
  readonly catalog: Pick<Catalog, "fact" | "setFact"> & Pick<CopyCatalog, "isLeaving" | "noteCopy">
  readonly files: StoreFiles
  readonly target: CopyTarget
  readonly versionNotes: Pick<VersionNotes, "applyNotes" | "takeIn" | "endSearch">
  readonly parse: (bytes: Buffer) => ParsedNotes
  /** Told when notes that were sought there were found, or are not there. */
  readonly onFound: () => void
}

const [, notesName] = sideFileNames
const steady = { whyLost: async () => null, renew: async () => null }

/**
 * The copy of the notes off this host. Catalog and notes may both be lost here, and what was pinned then stands there alone:
 * nothing takes its place before it was taken in.
 */
export class NotesCopy {
  readonly #parts: Parts
  /** Digest of the notes here when the copy was last seen to be theirs; null: there were none. */
  #copied: string | null | undefined

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** The place is another one: nothing that was seen there counts. */
  forget(): void {
    this.#copied = undefined
  }

  /**
   * Where the notes have changed, or in a process that has not looked there yet.
   * @param place left out: it cannot go @throws {Fault}
   */
  async copy(place: Pick<CopyPlace, "whyLost" | "renew"> = steady): Promise<void> {
    const { catalog, files, target } = this.#parts
    if (this.#copied !== undefined && digestOrNull(await files.read(notesName)) === this.#copied) return
    const theirs = await target.get(notesName)
    // A mount may have gone since the place was claimed: that the directory below it holds no notes says nothing.
    requireThere(await place.whyLost())
    // What was cut off or rotted here, and the catalog knows, is noted again before it takes the place of the copy.
    await this.#parts.versionNotes.applyNotes()
    await this.#learn(theirs)
    const ours = await files.read(notesName)
    if (ours !== null) {
      // Both, and before: whichever of them stands there after a process has ended here is known.
      await catalog.setFact(copiedNotesFact, [theirs, ours].map(digestOrNull).join(" "))
      if (!theirs?.equals(ours)) await target.put(notesName, ours)
      requireThere(await place.renew())
    }
    this.#copied = digestOrNull(ours)
  }

  async #learn(theirs: Buffer | null): Promise<void> {
    const { catalog, versionNotes, onFound } = this.#parts
    const known = (await catalog.fact(copiedNotesFact)) ?? ""
    if (theirs !== null && !known.split(" ").includes(digestOf(theirs))) await this.#takeIn(theirs)
    if (await versionNotes.endSearch()) onFound()
  }

  async #takeIn(theirs: Buffer): Promise<void> {
    const { target, versionNotes, parse } = this.#parts
    const { notes, unread } = parse(theirs)
    // What cannot be read is not known here: it is kept there, under a name that the same bytes always get.
    if (unread > 0) await target.put(unreadNotesName(theirs), theirs)
    await versionNotes.takeIn(notes)
    await this.#keepPinned()
  }

  /** What they pin may have been removed here meanwhile: its copy is not to follow. */
  async #keepPinned(): Promise<void> {
    const { catalog } = this.#parts
    const without = parseSalvaged((await catalog.fact(salvagedFact)) ?? "")
    for (const { backupId } of without.filter(({ pinned }) => pinned)) {
      if (await catalog.isLeaving(backupId)) await catalog.noteCopy({ backupId, work: "removing" }, { kind: "removed" })
    }
  }
}

/** @param lost as CopyPlace tells */
export function requireThere(lost: Fault | null): void {
  if (lost) throw lost
}

function digestOrNull(bytes: Buffer | null): string | null {
  return bytes && digestOf(bytes)
}
