import type { BlobRef, BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { isFault } from "../domain/fault.ts"
import type { Version } from "../domain/version.ts"
import { blobVersion } from "./blob-versions.ts"
import type { ConfigLocks } from "./config-locks.ts"
import { stands } from "./homecoming.ts"
import type { Copies, Verifier } from "./verifier.ts"
import type { VersionNotes } from "./version-notes.ts"

/** Copies that are asked for in one round; the next asks for others. */
const mostAsked = 200

interface Parts {
  readonly catalog: Catalog
  readonly blobs: BlobStore
  readonly clock: Clock
  readonly locks: ConfigLocks
  readonly versionNotes: VersionNotes
  readonly verifier: Pick<Verifier, "readCopy">
  /** null: there are none. */
  readonly copies: Copies | null
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
  /** Told of each version that came back from its copy. */
  readonly onHealed: (version: Pick<Version, "backupId">, detail: string) => void
}

/**
 * Brings versions home whose files were put aside and that have no row: rotten while the catalog was lost, they are in no
 * list, and nothing looks at them. Their names stand among what was put aside; a copy off this host may be whole.
 */
export class AsideReturn {
  readonly #parts: Parts
  /** Asked for since all were, whatever came of it: the others come first. */
  readonly #asked = new Set<string>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** What goes wrong here must not keep those versions from being looked at that have a row. */
  async round(signal: AbortSignal): Promise<void> {
    if (this.#parts.copies === null) return
    try {
      await this.#round(signal)
    } catch (error) {
      if (!isFault(error)) throw error
      this.#parts.onProblem("versions that were put aside could not be brought home", error)
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const wanted: BlobRef[] = []
    for await (const { ref, backupIds } of this.#parts.blobs.listAside()) {
      for (const backupId of backupIds) if (await this.#isWanted(backupId)) wanted.push({ ...ref, backupId })
    }
    const others = wanted.filter(({ backupId }) => !this.#asked.has(backupId))
    if (others.length === 0) this.#asked.clear()
    for (const ref of (others.length === 0 ? wanted : others).slice(0, mostAsked)) {
      if (signal.aborted || !(await this.#bringHome(ref, signal))) return
    }
  }

  /** One whose copy is to be taken away was removed on purpose. */
  async #isWanted(backupId: string): Promise<boolean> {
    const { catalog, copies } = this.#parts
    if ((await catalog.getVersion(backupId)) !== null) return false
    return !(await copies?.catalog.isLeaving(backupId))
  }

  /** @returns false: the place does not answer, and there is no use in asking for others now */
  async #bringHome(ref: BlobRef, signal: AbortSignal): Promise<boolean> {
    // Before it is asked for: one that the place can never give must not keep the others waiting.
    this.#asked.add(ref.backupId)
    let sealed: Buffer | null
    try {
      sealed = await this.#parts.verifier.readCopy({ ...ref, format: "cmb1" })
    } catch (error) {
      if (isFault(error)) return false
      throw error
    }
    if (sealed === null) return true
    try {
      await this.#enter(ref, sealed, signal)
    } catch (error) {
      if (signal.aborted) return false
      // A copy that is no better than what stood here, or a config whose turn it is not: another time.
      if (!isFault(error, "backup_corrupt", "config_busy", "operation_in_doubt")) throw error
    }
    return true
  }

  async #enter(ref: BlobRef, sealed: Buffer, signal: AbortSignal): Promise<void> {
    const { blobs, clock, locks, versionNotes, copies, onHealed } = this.#parts
    // A change that is under way counts on which version is the newest.
    const release = await locks.acquire(ref, signal)
    try {
      if (!(await this.#isWanted(ref.backupId)) || (await stands(ref, blobs))) return
      await blobs.putSealed(ref, sealed)
      const version = await blobVersion(ref, blobs, clock).catch((error: unknown) => this.#takeBack(ref, error))
      await versionNotes.enter([version])
      onHealed(ref, `The copy at ${copies?.target.name} took the place of what was put aside.`)
    } finally {
      release()
    }
  }

  /** Its checksum fits and it does not open: it stands at the place still, and would be put aside again by each start. */
  async #takeBack(ref: BlobRef, error: unknown): Promise<never> {
    if (isFault(error, "backup_corrupt")) await this.#parts.blobs.remove(ref)
    throw error
  }
}
