import { type BlobRef, type BlobStore, MisplacedFault } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import { isFault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import type { ImportedVersion, StoredVersion } from "../domain/version.ts"
import type { StatusOf } from "./attempt.ts"
import { inBatches, readTogether } from "./batches.ts"
import { blobVersion } from "./blob-versions.ts"
import { LegacyReconciliation } from "./legacy-reconciliation.ts"
import { OpenPushes } from "./open-pushes.ts"
import { knowsTime, noteUnlisted } from "./retention-clock.ts"

export interface ReconciliationParts {
  readonly catalog: Catalog
  readonly blobs: BlobStore
  readonly legacy: LegacyStore
  readonly inventory: () => Inventory
  readonly clock: Clock
  readonly statusOf: StatusOf
  /** Makes the catalog say what was noted beside the blobs. @returns how many rows did not */
  readonly applyNotes: () => Promise<number>
  /** Told of each thing that somebody should look at, in a sentence. */
  readonly onFinding: (sentence: string) => void
}

/** What was found, and is so no more. */
export interface Reconciled {
  /** Versions that stood in the store and had no row, or one that could not be relied on. */
  readonly imported: number
  /** Rows whose version is gone. */
  readonly missing: number
  /** Versions that no loaded key opens, of those that were looked at. */
  readonly locked: number
  /** Versions that do not open, of those that were looked at; their rows stay. */
  readonly damaged: number
  /** Files that are no version, or of which nobody knows whether they are one, and have no row: moved out of the way. */
  readonly putAside: number
  /** Files that have no row and that this user may not read: they stay, and are in no list. */
  readonly unread: number
  /** Files that have no row, and are whole in another config's directory: they stay, and are in no list. */
  readonly misplaced: number
  /** Rows that could not be relied on, and whose version is gone or does not open. */
  readonly rowsRemoved: number
  /** Blobs that a change which failed had left. */
  readonly blobsRemoved: number
  /** Open operations of a catalog that is older than what the store shows. */
  readonly outdated: number
  /** Rows whose order or end was wrong, or that said what no restore writes any more, and pins and notes. */
  readonly corrected: number
  /** Files of the original service that belong to no known config, or may be of two. */
  readonly unmatched: number
}

export type Counts = { -readonly [name in keyof Reconciled]: number }

/** Rows of one transaction. */
const rowsTogether = 500

/**
 * Makes the catalog say what stands in the store. Blobs are the truth: a catalog that was lost, damaged or replaced by an old
 * copy comes back from them. What has its row and looks well is not opened, but for one of a config whose rows name an older key:
 * names and rows are compared, config by config.
 */
export class Reconciliation {
  readonly #parts: ReconciliationParts
  readonly #counts: Counts = {
    imported: 0,
    missing: 0,
    locked: 0,
    damaged: 0,
    putAside: 0,
    unread: 0,
    misplaced: 0,
    rowsRemoved: 0,
    blobsRemoved: 0,
    outdated: 0,
    corrected: 0,
    unmatched: 0,
  }
  readonly #pushes: OpenPushes
  /** How many of those files stand where, in words. */
  readonly #misplaced = new Map<string, number>()
  /** Whether there was no version in the catalog at the beginning. */
  #isNew = false

  constructor(parts: ReconciliationParts) {
    this.#parts = parts
    this.#pushes = new OpenPushes(parts)
  }

  /** Once, before anybody else uses catalog or store. @throws {Fault} as Catalog, and `backup_storage_unavailable` */
  async run(): Promise<Reconciled> {
    const { catalog, blobs, applyNotes } = this.#parts
    this.#isNew = (await catalog.totals()).versions === 0
    await this.#pushes.load()
    const seen = new Set<string>()
    for await (const { ref, backupIds } of blobs.list()) {
      seen.add(keyOf(ref))
      await this.#config(ref, new Set(backupIds))
    }
    for (const ref of await catalog.versionedConfigs()) {
      if (!seen.has(keyOf(ref))) await this.#config(ref, new Set())
    }
    // Which configs have left is known by the notes alone, where only files of the original service are left of them.
    this.#counts.corrected += await applyNotes()
    await new LegacyReconciliation(this.#parts, this.#counts, this.#isNew).run()
    this.#counts.corrected += await catalog.orderVersions()
    this.#counts.corrected += await applyNotes()
    for (const [where, count] of this.#misplaced) this.#parts.onFinding(misplacedText(where, count))
    return this.#counts
  }

  async #config(ref: ConfigRef, stands: ReadonlySet<string>): Promise<void> {
    const rows = (await this.#parts.catalog.versionsOf(ref)).filter(({ format }) => format !== "legacy")
    const known = new Map(rows.map((row) => [row.backupId, row]))
    await this.#rowsWithoutBlob(rows.filter(({ backupId }) => !stands.has(backupId)))
    const { well = [], doubtful = [] } = Object.groupBy(
      rows.filter(({ backupId }) => stands.has(backupId)),
      ({ intact, state }) => (intact && state === "ok" ? "well" : "doubtful"),
    )
    const wrong = [...doubtful, ...(await this.#ofAnotherKey(well))]
    await inBatches(wrong, rowsTogether, (batch) => this.#lookAgain(batch))
    const rowless = [...stands].filter((backupId) => !known.has(backupId)).sort()
    if (rowless.length > 0) await this.#blobsWithoutRow(ref, rowless)
  }

  /** Rows that name another key than the one that seals, where the first of them is wrong: the catalog is older than a rewrap. */
  async #ofAnotherKey(rows: readonly StoredVersion[]): Promise<readonly StoredVersion[]> {
    const others = rows.filter(({ keyId }) => keyId !== this.#parts.blobs.keyId)
    const [first] = others
    if (!first) return []
    const found = await this.#read(first)
    return found === null || found.keyId === first.keyId ? [] : others
  }

  async #rowsWithoutBlob(rows: readonly StoredVersion[]): Promise<void> {
    const { catalog } = this.#parts
    const wrong = rows.filter(({ intact }) => !intact)
    if (wrong.length > 0) await this.#forget(wrong, "it has no blob")
    for (const { backupId, state, verifiedAt } of rows.filter(({ intact }) => intact)) {
      this.#counts.missing += 1
      if (state !== "missing") await catalog.markVersion(backupId, { state: "missing", verifiedAt })
    }
  }

  /** Rows that are wrong, or say that their version is not well: their blobs are asked. */
  async #lookAgain(rows: readonly StoredVersion[]): Promise<void> {
    const { catalog } = this.#parts
    const found = await readTogether(rows, (row) => this.#read(row))
    const better: ImportedVersion[] = []
    for (const [index, row] of rows.entries()) {
      const version = found[index] ?? null
      if (version !== null && (!row.intact || version.state === "ok")) {
        if (version.state === "locked") this.#counts.locked += 1
        better.push(await this.#wrapped(version, row))
      } else if (!row.intact) {
        await this.#putAside(row, "does not open with any key")
        await this.#forget([row], "its blob does not open")
      } else {
        const state = version === null ? "damaged" : "locked"
        this.#counts[state] += 1
        if (row.state !== state) await catalog.markVersion(row.backupId, { state, verifiedAt: row.verifiedAt })
      }
    }
    await this.#import(better)
  }

  /** Seals a file of before a rewrap that was put back after it for the active key again, as its row says; one that cannot be stays. */
  async #wrapped(version: ImportedVersion, row: StoredVersion): Promise<ImportedVersion> {
    const { blobs } = this.#parts
    const isBack = row.intact && row.keyId === blobs.keyId && version.state === "ok" && version.keyId !== blobs.keyId
    if (!isBack) return version
    try {
      await blobs.rewrap(row)
      return { ...version, keyId: blobs.keyId }
    } catch (error) {
      if (isFault(error)) return version
      throw error
    }
  }

  async #blobsWithoutRow(ref: ConfigRef, backupIds: readonly string[]): Promise<void> {
    const refs = backupIds.map((backupId) => ({ ...ref, backupId }))
    const versions: ImportedVersion[] = []
    await inBatches(refs, rowsTogether, async (batch) => {
      const found = await readTogether(batch, (each) => this.#read(each))
      for (const [index, each] of batch.entries()) {
        const version = found[index]
        if (version) versions.push(version)
        else await this.#putAside(each, "does not open with any key")
      }
    })
    if (await this.#pushes.endOutdated(ref, versions)) this.#counts.outdated += 1
    const wanted: ImportedVersion[] = []
    for (const version of versions) {
      const fate = await this.#pushes.fateOf(version)
      if (fate === "import") wanted.push(version)
      if (fate === "putAside") await this.#putAside(version, "was made by a change whose end is not known")
      if (fate === "remove") {
        this.#counts.blobsRemoved += 1
        await this.#parts.blobs.remove(version)
      }
    }
    this.#counts.locked += wanted.filter(({ state }) => state === "locked").length
    // One that was made anew from another knows its operations, and what they have not made came since.
    const isLost = this.#isNew && !(await knowsTime(this.#parts.catalog))
    await noteUnlisted(this.#parts.catalog, await this.#unknownOf(wanted), isLost)
    await inBatches(wanted, rowsTogether, (batch) => this.#import(batch))
  }

  /** Those that no operation of the catalog has made: by a later one, or by another service. */
  async #unknownOf(versions: readonly ImportedVersion[]): Promise<readonly ImportedVersion[]> {
    const { catalog } = this.#parts
    const isKnown = async ({ operationId }: ImportedVersion): Promise<boolean> =>
      operationId !== null && (await catalog.getOperation(operationId)) !== null
    const known = await readTogether(versions, isKnown)
    return versions.filter((_, index) => !known[index])
  }

  async #import(versions: readonly ImportedVersion[]): Promise<void> {
    this.#counts.imported += versions.length
    if (versions.length > 0) await this.#parts.catalog.importVersions(versions)
  }

  /** @returns null for a blob that does not open, whatever the key */
  async #read(ref: BlobRef): Promise<ImportedVersion | null> {
    try {
      return await blobVersion(ref, this.#parts.blobs, this.#parts.clock)
    } catch (error) {
      if (isFault(error, "backup_corrupt", "backup_missing")) return null
      throw error
    }
  }

  async #putAside(ref: BlobRef, why: string): Promise<void> {
    try {
      if (await this.#isMisplaced(ref)) return
      const to = await this.#parts.blobs.putAside(ref)
      this.#counts[to === null ? "unread" : "putAside"] += 1
      this.#parts.onFinding(to === null ? unreadText(ref) : asideText(ref, why, to))
    } catch (error) {
      // Gone since it was listed: nothing is in the way any more.
      if (!isFault(error, "backup_missing")) throw error
    }
  }

  /** A directory that was renamed is not taken apart: given its name back, all of it counts again. */
  async #isMisplaced(ref: BlobRef): Promise<boolean> {
    const fault = await this.#parts.blobs.header(ref).catch((error: unknown) => error)
    if (!(fault instanceof MisplacedFault)) return false
    const where = `${ref.vmId}/${ref.type} that are whole and versions of ${fault.home.vmId}/${fault.home.type}`
    this.#misplaced.set(where, (this.#misplaced.get(where) ?? 0) + 1)
    this.#counts.misplaced += 1
    return true
  }

  async #forget(rows: readonly StoredVersion[], why: string): Promise<void> {
    await this.#parts.catalog.forgetVersions(rows.map(({ backupId }) => backupId))
    this.#counts.rowsRemoved += rows.length
    for (const { backupId } of rows) {
      this.#parts.onFinding(`The row of version ${backupId} is damaged, and ${why}: it is not listed any more.`)
    }
  }
}

function asideText({ backupId }: BlobRef, why: string, to: string): string {
  return `The file of version ${backupId} ${why}; it stands in ${to} now.`
}

function misplacedText(where: string, count: number): string {
  return (
    `There are ${count} files in ${where}: they stay there, and are in no list. ` +
    "Give that directory its name back, or move it out of the backups, and restart."
  )
}

function unreadText({ vmId, type, backupId }: BlobRef): string {
  return (
    `The service's user may not read the file of version ${backupId}, in ${vmId}/${type}: it stays there, and is in no list. ` +
    "Give it back to that user, and restart."
  )
}
