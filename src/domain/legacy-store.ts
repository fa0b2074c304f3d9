import type { ConfigRef } from "./config-type.ts"

/**
 * A backup of the original Python service, as its name tells: `backup_<vm>_<type>_<YYYYMMDD_HHMMSS>.enc`, directly in the
 * directory of the backups. The name's time has no zone and is taken for UTC.
 */
export interface LegacyRef extends ConfigRef {
  /** The file's name. */
  readonly backupId: string
  /** RFC 3339 UTC with ms. */
  readonly validFrom: string
}

/** What was sealed, and the key that opened it: 32 hex digits. */
export interface OpenedLegacy {
  readonly plain: Buffer
  readonly keyId: string
}

export interface LegacyListing {
  /** Oldest first. */
  readonly refs: readonly LegacyRef[]
  /** How many files are named like such a backup, and were left out: of no known VM and type, of more than one, or of no possible time. */
  readonly unmatched: number
  /** The configs of which each of them may be whose name fits more than one, under what their names begin with. */
  readonly ambiguous: ReadonlyMap<string, readonly ConfigRef[]>
}

/** The backups of the original service: read, and removed once retention lets them go; never written. */
export interface LegacyStore {
  /**
   * Those of `known` configs, by their names alone: none is opened. An id may hold `_`, so that a name is held against the
   * known ids and never split.
   * @param rowOf the config that one is listed as, or null: decides where the name fits more than one. Left out: none is listed
   * @throws {Fault} `backup_storage_unavailable`, those of `rowOf`
   */
  list(known: readonly ConfigRef[], rowOf?: (backupId: string) => Promise<ConfigRef | null>): Promise<LegacyListing>

  /** The names of all files that are named like such a backup, of known configs or not. @throws {Fault} `backup_storage_unavailable` */
  names(): Promise<readonly string[]>

  /**
   * What was sealed: the JSON of the config's value as Python writes it, or its text.
   * @param keyId of the key that opened it before, or null: where that key is loaded and does not open it now, it is damaged
   * @throws {Fault} `backup_missing`, `backup_corrupt`, `backup_storage_unavailable`; `backup_key_unavailable` where no loaded
   *   key opens it, which may be damage too: the format does not tell these apart
   */
  open(backupId: string, keyId: string | null): Promise<OpenedLegacy>

  /** Opens the bytes of one, wherever they stand. @returns null where no loaded key does: another sealed it, or it is damaged */
  openSealed(sealed: Buffer): Promise<OpenedLegacy | null>

  /** Removes one; one that is gone counts as removed. @throws {Fault} `backup_storage_unavailable` */
  remove(backupId: string): Promise<void>
}
