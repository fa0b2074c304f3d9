import type { BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { ConfigType } from "../domain/config-type.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import type { Version } from "../domain/version.ts"
import type { Warning } from "../domain/warning.ts"
import {
  enteredAs,
  isAsEntered,
  isUnknown,
  isUnproved,
  originUnproved,
  renderLegacy,
  requireAsEntered,
} from "./legacy-versions.ts"

/** A version's bytes, whatever sealed them. */
export interface ReadVersion {
  readonly bytes: Buffer
  /** 32 hex digits: of the key that opened it. */
  readonly keyId: string
  readonly warnings: readonly Warning[]
}

/** Opens versions of either format. */
export class VersionReader {
  readonly #blobs: BlobStore
  readonly #legacy: LegacyStore
  readonly #catalog: Pick<Catalog, "fact">

  constructor(blobs: BlobStore, legacy: LegacyStore, catalog: Pick<Catalog, "fact">) {
    this.#blobs = blobs
    this.#legacy = legacy
    this.#catalog = catalog
  }

  /**
   * @param type how a legacy backup is written down: what it sealed is a value, so that its bytes are those of today's format
   * @throws {Fault} `backup_missing`, `backup_corrupt`, `backup_key_unavailable`, `backup_storage_unavailable`; of a legacy one
   *   `config_unparsable`, `config_too_complex` where the format cannot hold its value
   */
  async open(version: Version, type: ConfigType): Promise<ReadVersion> {
    if (version.format === "cmb1") {
      const { bytes, keyId } = await this.#blobs.open(version)
      return { bytes, keyId, warnings: [] }
    }
    const { plain, keyId } = await this.#legacy.open(version.backupId, version.keyId)
    const entered = await enteredAs(this.#catalog, version)
    requireAsEntered(version.backupId, plain, entered)
    const { bytes, warnings } = renderLegacy(plain, type)
    return { bytes, keyId, warnings: isUnproved(entered) ? [...warnings, originUnproved] : warnings }
  }

  /** Whether the bytes of a copy are the legacy backup that its row was entered for, and the key opens them that opened it before. */
  async opensLegacy(version: Version, sealed: Buffer): Promise<boolean> {
    const opened = await this.#legacy.openSealed(sealed)
    if (opened === null || (version.keyId !== null && opened.keyId !== version.keyId)) return false
    const entered = await enteredAs(this.#catalog, version)
    return isUnknown(entered) || isAsEntered(opened.plain, entered)
  }
}
