import { type BlobRef, type BlobStore, MisplacedFault } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import { type Fault, isFault } from "../domain/fault.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import type { ImportedVersion, StoredVersion } from "../domain/version.ts"
import { inBatches, readTogether } from "./batches.ts"
import { blobVersion } from "./blob-versions.ts"
import { enteredAs, isAsEntered, isUnknown } from "./legacy-versions.ts"
import { stateOf } from "./version-keeper.ts"

interface Parts {
  readonly blobs: BlobStore
  readonly legacy: LegacyStore
  /** null: what stands in the store is looked at alone. */
  readonly catalog: Catalog | null
  /** The configs of the settings: files of the original service are known by them. */
  readonly configs: readonly ConfigRef[]
  /** Whether a version is to be opened. */
  readonly isChosen: () => boolean
  readonly onFinding: (finding: StoreFinding) => void
}

/**
 * A version that is not as it should be: `unlisted` has no row, `differs` another than what stands there, `misplaced` stands in
 * another config's directory.
 */
export interface StoreFinding extends BlobRef {
  readonly kind: "damaged" | "misplaced" | "missing" | "locked" | "unlisted" | "differs"
  readonly detail: string
}

export interface StoreChecked {
  readonly versions: number
  /** Of `versions`, those that were to be opened. */
  readonly chosen: number
  /** Of `chosen`, those that did. */
  readonly opened: number
  readonly unmatched: number
}

const batchSize = 500

/** The members of a version that its blob tells as well. */
const told = [
  "path",
  "validFrom",
  "size",
  "digest",
  "mode",
  "uid",
  "gid",
  "trigger",
  "reason",
  "actor",
  "operationId",
  "keyId",
] as const

/** Opens what stands in the store and holds it against the catalog. Changes nothing, and may run beside the service. */
export class StoreCheck {
  readonly #parts: Parts
  #versions = 0
  #chosen = 0
  #opened = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** @throws {Fault} `backup_storage_unavailable`, and as Catalog */
  async run(): Promise<StoreChecked> {
    const seen = new Set<string>()
    for await (const { ref, backupIds } of this.#parts.blobs.list()) {
      seen.add(keyOf(ref))
      await this.#config(ref, backupIds)
    }
    const versioned = (await this.#parts.catalog?.versionedConfigs()) ?? []
    for (const ref of versioned) if (!seen.has(keyOf(ref))) await this.#config(ref, [])
    const unmatched = await this.#legacyFiles(versioned)
    return { versions: this.#versions, chosen: this.#chosen, opened: this.#opened, unmatched }
  }

  async #config(ref: ConfigRef, backupIds: readonly string[]): Promise<void> {
    const rows = await this.#rowsOf(ref, "cmb1")
    const stands = new Set(backupIds)
    for (const row of rows.values()) {
      if (!stands.has(row.backupId)) await this.#withoutFile(row, () => this.#parts.blobs.header(row))
    }
    this.#versions += backupIds.length
    await inBatches(backupIds, batchSize, async (batch) => {
      await readTogether(batch, (backupId) => this.#blob({ ...ref, backupId }, rows.get(backupId) ?? null))
    })
  }

  async #blob(ref: BlobRef, row: StoredVersion | null): Promise<void> {
    const { catalog } = this.#parts
    if (row === null && catalog && (await this.#isUnlisted(ref, catalog))) {
      this.#find(ref, "unlisted", "It stands in the storage, and the catalog does not list it.")
    }
    if (!this.#parts.isChosen()) return
    this.#chosen += 1
    try {
      const version = await blobVersion(ref, this.#parts.blobs, () => new Date())
      if (version.state === "locked") return this.#find(ref, "locked", "No loaded key opens it.")
      this.#opened += 1
      if (row) this.#compare(version, row)
    } catch (error) {
      await this.#notOpened(ref, error)
    }
  }

  #compare(version: ImportedVersion, row: StoredVersion): void {
    const wrong = told.filter((name) => row[name] !== null && row[name] !== version[name])
    if (wrong.length > 0) this.#find(row, "differs", `Its row says another ${wrong.join(", ")} than its file.`)
    else if (!row.intact) this.#find(row, "differs", "Its row does not have the check value it was entered with.")
  }

  async #legacyFiles(versioned: readonly ConfigRef[]): Promise<number> {
    const { legacy, configs, isChosen } = this.#parts
    const { refs, unmatched } = await legacy.list(
      [...configs, ...versioned],
      async (backupId) => (await this.#parts.catalog?.getVersion(backupId)) ?? null,
    )
    const files = Map.groupBy(refs, keyOf)
    const all = new Map([...versioned, ...refs].map((ref) => [keyOf(ref), ref]))
    for (const [key, ref] of all) {
      const rows = await this.#rowsOf(ref, "legacy")
      const stands = files.get(key) ?? []
      this.#versions += stands.length
      for (const row of rows.values()) {
        if (stands.some(({ backupId }) => backupId === row.backupId)) continue
        await this.#withoutFile(row, () => legacy.open(row.backupId, row.keyId))
      }
      for (const { backupId } of stands.filter(() => isChosen())) {
        this.#chosen += 1
        const { keyId = null, digest = null } = rows.get(backupId) ?? {}
        const { catalog } = this.#parts
        const entered = catalog && rows.has(backupId) ? await enteredAs(catalog, { backupId, digest }) : null
        await legacy.open(backupId, keyId).then(
          ({ plain }) => {
            this.#opened += 1
            if (entered === null || isUnknown(entered) || isAsEntered(plain, entered)) return
            this.#find({ ...ref, backupId }, "differs", "It opens, and holds another backup than its row names.")
          },
          (error: unknown) => this.#notOpened({ ...ref, backupId }, error),
        )
      }
    }
    return unmatched
  }

  async #rowsOf(ref: ConfigRef, format: StoredVersion["format"]): Promise<ReadonlyMap<string, StoredVersion>> {
    const rows = (await this.#parts.catalog?.versionsOf(ref)) ?? []
    return new Map(rows.filter((row) => row.format === format).map((row) => [row.backupId, row]))
  }

  /** A version that is removed meanwhile loses its row first: one that still has it is missing. */
  async #withoutFile(row: StoredVersion, look: () => Promise<unknown>): Promise<void> {
    const fault = await look().then(
      () => null,
      (error: unknown) => error,
    )
    if (!isFault(fault, "backup_missing")) return
    if (await this.#parts.catalog?.getVersion(row.backupId))
      this.#find(row, "missing", "It is listed, and its file is gone.")
  }

  /** A push that is under way has its blob before its row, and takes it away again when it fails. */
  async #isUnlisted(ref: BlobRef, catalog: Catalog): Promise<boolean> {
    const open = await catalog.openOperations()
    const named = open.flatMap(({ journal }) => [journal.madeFoundId, journal.madeWrittenId])
    if (named.includes(ref.backupId) || (await catalog.getVersion(ref.backupId))) return false
    return this.#parts.blobs.header(ref).then(
      () => true,
      (error: unknown) => !isFault(error, "backup_missing"),
    )
  }

  async #notOpened(ref: BlobRef, error: unknown): Promise<void> {
    const state = isFault(error) ? stateOf(error.code) : null
    if (state === null || state === "ok") throw error
    // Removed since it was listed: its row went before it.
    if (state === "missing" && !(await this.#parts.catalog?.getVersion(ref.backupId))) return
    this.#find(ref, error instanceof MisplacedFault ? "misplaced" : state, (error as Fault).message)
  }

  #find({ vmId, type, backupId }: BlobRef, kind: StoreFinding["kind"], detail: string): void {
    this.#parts.onFinding({ vmId, type, backupId, kind, detail })
  }
}
