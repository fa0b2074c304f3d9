import type { BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigType } from "../domain/config-type.ts"
import type { CopiedVersion, CopyCatalog, CopyTarget, StoreFiles } from "../domain/copies.ts"
import { isFault } from "../domain/fault.ts"
import type { CheckReport } from "../domain/report.ts"
import type { Version, VersionState } from "../domain/version.ts"
import { CopyReader } from "./copy-reader.ts"
import { replaceLegacy } from "./legacy-copies.ts"
import { verifyVersion } from "./verification.ts"
import type { VersionReader } from "./version-reader.ts"

/** Copies off this host, and what is known of them. */
export interface Copies {
  readonly catalog: CopyCatalog & Pick<Catalog, "fact" | "setFact" | "getVersion">
  readonly target: CopyTarget
  readonly files: StoreFiles
}

interface Parts {
  readonly reader: VersionReader
  readonly blobs: BlobStore
  readonly catalog: Catalog
  readonly clock: Clock
  /** A clock in ms that cannot be set. */
  readonly monotonic: () => number
  /** null: there are none. */
  readonly copies: Copies | null
  /** Told of each version that came back from its copy. */
  readonly onHealed: (version: Version, detail: string) => void
  /** Aborts when the service ends: no copy is waited for then. */
  readonly stopping: AbortSignal
  /** How long a copy is waited for; only a test gives another time. */
  readonly copyWaitMs?: number
}

type Verified = Awaited<ReturnType<typeof verifyVersion>>

/** What became of bringing a version back, in a sentence. */
interface Healing {
  readonly ok: boolean
  readonly detail: string
}

/** Finds out whether versions can still be had, keeps what it finds, and brings back from their copies what can not. */
export class Verifier {
  readonly #parts: Parts
  readonly #copyReader: CopyReader | null

  constructor(parts: Parts) {
    this.#parts = parts
    const { copies, copyWaitMs } = parts
    this.#copyReader = copies && new CopyReader({ ...parts, target: copies.target, waitMs: copyWaitMs })
  }

  /**
   * Opens a version and holds it against its row; one that is damaged, missing or locked is first brought back from its copy.
   * What is found is kept with the version.
   * @param isUrgent false: a place that did not answer lately is not asked
   */
  async verify(version: Version, type: ConfigType, isUrgent = true): Promise<CheckReport> {
    return (await this.#verify(version, type, isUrgent)).report
  }

  /**
   * As `verify`, and nothing is kept where the version is what its row says: the disk may be full, and room be made by what
   * the caller goes by this for.
   * @returns what the version is now known to be; null where the store could not be asked
   */
  async look(version: Version, type: ConfigType): Promise<VersionState | null> {
    return (await this.#verify(version, type, false, (found) => found !== version.state)).state
  }

  async #verify(
    version: Version,
    type: ConfigType,
    isUrgent: boolean,
    isKept: (found: VersionState) => boolean = () => true,
  ): Promise<Omit<Verified, "keyId">> {
    const { reader } = this.#parts
    const first = await verifyVersion(version, reader, type)
    // What seals a legacy backup is told by nothing: one that is locked may be whole, and its copy is no better.
    const isLocked = first.state === "locked" && version.format === "cmb1"
    const isLost = first.state === "damaged" || first.state === "missing" || isLocked
    const begin = performance.now()
    const healing = isLost ? await this.#heal(version, isUrgent) : null
    const found = healing?.ok ? await verifyVersion(version, reader, type) : first
    if (found.state && isKept(found.state)) await this.#keep(version, { ...found, state: found.state })
    if (healing === null) return found
    const { ok } = found.report
    if (ok) this.#parts.onHealed(version, healing.detail)
    const durationMs = Math.round((performance.now() - begin) * 10) / 10
    const checks = [...found.report.checks, { name: "copy", ok, detail: healing.detail, durationMs }]
    return { report: { ok, checks }, state: found.state }
  }

  /** Holds a version's copy against it: one that differs is made anew. @returns false: it differed, or is gone */
  async compareCopy(version: Version): Promise<boolean> {
    const { copies, blobs, clock } = this.#parts
    if (!copies || !(await copies.catalog.isCopied(version.backupId))) return true
    const { files } = copies
    const ours = version.format === "cmb1" ? await blobs.sealed(version) : await files.read(version.backupId)
    const theirs = await this.readCopy(version)
    if (ours === null || (theirs !== null && ours.equals(theirs))) return true
    await copies.catalog.queueCopy(version.backupId, clock().toISOString())
    return false
  }

  /** A version's copy, where the place is not left alone. @returns null where there is none @throws {Fault} as CopyReader.read */
  async readCopy(version: CopiedVersion): Promise<Buffer | null> {
    return (await this.#copyReader?.read(version, false)) ?? null
  }

  async #keep(version: Version, { report, state, keyId }: Verified & { readonly state: VersionState }): Promise<void> {
    const { blobs, catalog, clock, copies } = this.#parts
    const now = clock().toISOString()
    const verifiedAt = report.ok ? now : version.verifiedAt
    const isOther = state === "ok" && version.format === "cmb1" && keyId !== null && keyId !== version.keyId
    const isRowWrong = isOther && version.keyId !== blobs.keyId
    await catalog.markVersion(version.backupId, { state, verifiedAt, ...(isRowWrong && { keyId }) })
    // A row of before a rewrap, or after one that was healed by an older service: its copy is as likely to be of another key.
    if (isRowWrong || (isOther && (await this.#wrap(version)))) await copies?.catalog.queueCopy(version.backupId, now)
  }

  /**
   * A file of before a rewrap was put back after it: it would go on needing a key that no row names any more.
   * @returns whether it is sealed for the active key now; false: it cannot be, and is looked at again in its turn
   */
  async #wrap(version: Version): Promise<boolean> {
    const { blobs, catalog } = this.#parts
    try {
      await blobs.rewrap(version)
    } catch (error) {
      if (isFault(error)) return false
      throw error
    }
    // One that was removed meanwhile, as a purge does, must not stand there again.
    if ((await catalog.getVersion(version.backupId)) === null) await blobs.remove(version)
    return true
  }

  /** @returns null where there is no place for copies */
  async #heal(version: Version, isUrgent: boolean): Promise<Healing | null> {
    const { copies } = this.#parts
    if (!copies || !this.#copyReader) return null
    const { name } = copies.target
    try {
      const bytes = await this.#copyReader.read(version, isUrgent)
      if (!bytes) return { ok: false, detail: `${name} has no copy of it.` }
      if (version.format === "legacy") return await this.#bringLegacyHome(version, bytes, copies)
      return await this.#bringBlobHome(version, bytes, copies)
    } catch (error) {
      // Nobody to ask, or none that is whole: the version stays what it was found to be.
      if (isFault(error)) return { ok: false, detail: `The copy at ${name} is of no help. ${error.message}` }
      throw error
    }
  }

  async #bringBlobHome(version: Version, bytes: Buffer, copies: Copies): Promise<Healing> {
    const { blobs, catalog, clock } = this.#parts
    const from = copies.target.name
    const standing = await this.#standing(version)
    if (standing?.equals(bytes)) return { ok: true, detail: `The copy at ${from} is what stands here.` }
    // Its checksum fits, which proves nothing: it does not open, or is not what its row names.
    const aside = await blobs.putSealed(version, bytes, true)
    // One that was removed meanwhile, as a purge does, must not stand there again.
    if ((await catalog.getVersion(version.backupId)) === null) {
      await blobs.remove(version)
      return { ok: false, detail: "It was removed meanwhile." }
    }
    if (standing && aside === null) return { ok: false, detail: `No loaded key opens the copy at ${from} either.` }
    // It was sealed for the active key on its way.
    if (!(await blobs.sealed(version)).equals(bytes)) {
      await copies.catalog.queueCopy(version.backupId, clock().toISOString())
    }
    const detail = `The copy at ${from} took the place of what stood here`
    return { ok: true, detail: aside === null ? `${detail}: nothing.` : `${detail}, which is kept as ${aside}.` }
  }

  /** What stands here in a version's place and has a checksum that fits; null: no such thing. */
  async #standing(version: Version): Promise<Buffer | null> {
    try {
      return await this.#parts.blobs.sealed(version)
    } catch (error) {
      if (isFault(error, "backup_corrupt", "backup_missing")) return null
      throw error
    }
  }

  /**
   * A seal alone does not tell damage from another key: what stands here makes room only for a copy that is opened by the key
   * which opened it before. Where none did, what stands here is damaged whatever the key, as one that was cut short.
   */
  async #bringLegacyHome(version: Version, bytes: Buffer, copies: Copies): Promise<Healing> {
    const { backupId } = version
    const { files, target } = copies
    const taken = `The copy at ${target.name} took the place of what stood here`
    const standing = await files.read(backupId)
    // One that was removed while its copy was fetched must not stand there again.
    if ((await this.#parts.catalog.getVersion(backupId)) === null)
      return { ok: false, detail: "It was removed meanwhile." }
    if (standing === null) {
      await files.write(backupId, bytes)
      return { ok: true, detail: `${taken}: nothing.` }
    }
    if (!standing.equals(bytes) && (await this.#parts.reader.opensLegacy(version, bytes))) {
      const aside = await replaceLegacy(backupId, standing, bytes, files)
      return { ok: true, detail: `${taken}, which is kept as ${aside}.` }
    }
    const detail = `What stands here may be sealed with another key; the copy at ${target.name} was not taken.`
    return { ok: false, detail }
  }
}
