import type { BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigType } from "../domain/config-type.ts"
import { type CopyCatalog, type CopyTarget, fileNameOf, type StoreFiles } from "../domain/copies.ts"
import { isFault } from "../domain/fault.ts"
import type { CheckReport } from "../domain/report.ts"
import type { Version } from "../domain/version.ts"
import { verifyVersion } from "./verification.ts"
import type { VersionReader } from "./version-reader.ts"

/** Copies off this host, and what is known of them. */
export interface Copies {
  readonly catalog: CopyCatalog
  readonly target: CopyTarget
  readonly files: StoreFiles
}

interface Parts {
  readonly reader: VersionReader
  readonly blobs: BlobStore
  readonly catalog: Catalog
  readonly clock: Clock
  /** null: there are none. */
  readonly copies: Copies | null
  /** Told of each version that came back from its copy. */
  readonly onHealed: (version: Version, detail: string) => void
}

/** A place that does not answer is not waited for any longer: its copies are looked at another day. */
const copyWaitMs = 60_000

/** Finds out whether versions can still be had, keeps what it finds, and brings back from their copies what can not. */
export class Verifier {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Opens a version and holds it against its row; one that is damaged or missing is first brought back from its copy.
   * What is found is kept with the version.
   */
  async verify(version: Version, type: ConfigType): Promise<CheckReport> {
    const { reader } = this.#parts
    const first = await verifyVersion(version, reader, type)
    const isLost = first.state === "damaged" || first.state === "missing"
    const healed = isLost ? await this.#heal(version) : null
    if (healed === null) {
      await this.#keep(version, first)
      return first.report
    }
    const again = await verifyVersion(version, reader, type)
    await this.#keep(version, again)
    if (again.report.ok) this.#parts.onHealed(version, healed)
    const check = { name: "copy", ok: again.report.ok, detail: healed, durationMs: 0 }
    return { ok: again.report.ok, checks: [...again.report.checks, check] }
  }

  /** Holds a version's copy against it: one that differs is made anew. @returns false: it differed, or is gone */
  async compareCopy(version: Version): Promise<boolean> {
    const { copies, blobs, clock } = this.#parts
    if (!copies || !(await copies.catalog.isCopied(version.backupId))) return true
    const { files } = copies
    const ours = version.format === "cmb1" ? await blobs.sealed(version) : await files.read(version.backupId)
    const theirs = await this.#copyOf(version, copies)
    if (ours === null || (theirs !== null && ours.equals(theirs))) return true
    await copies.catalog.queueCopy(version.backupId, clock().toISOString())
    return false
  }

  async #keep(version: Version, { report, state }: Awaited<ReturnType<typeof verifyVersion>>): Promise<void> {
    if (state === null) return
    const { catalog, clock } = this.#parts
    const verifiedAt = report.ok ? clock().toISOString() : version.verifiedAt
    await catalog.markVersion(version.backupId, { state, verifiedAt })
  }

  /** @returns what was done, in a sentence; null: nothing, for there is no copy that is whole */
  async #heal(version: Version): Promise<string | null> {
    const { copies, blobs } = this.#parts
    if (!copies) return null
    try {
      const bytes = await this.#copyOf(version, copies)
      if (!bytes) return null
      const from = `The copy at ${copies.target.name} took the place of what stood here`
      if (version.format === "legacy") {
        // Its seal does not tell damage from another key: what stands here is left alone.
        if ((await copies.files.read(version.backupId)) !== null) return null
        await copies.files.write(version.backupId, bytes)
        return `${from}: nothing.`
      }
      const aside = await blobs.putSealed(version, bytes)
      return aside === null ? `${from}: nothing.` : `${from}, which is kept as ${aside}.`
    } catch (error) {
      // No copy, or none that is whole, or nobody to ask: the version stays what it was found to be.
      if (isFault(error)) return null
      throw error
    }
  }

  async #copyOf(version: Version, { target }: Copies): Promise<Buffer | null> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), copyWaitMs)
    })
    try {
      return await Promise.race([target.get(fileNameOf(version)), late])
    } finally {
      clearTimeout(timer)
    }
  }
}
