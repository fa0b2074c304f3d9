import type { Version } from "./version.ts"

/**
 * A place off this host that holds copies of the store's files. Names are relative, their parts divided by `/`; none of the
 * parts begins with a dot. Every implementation passes test/contracts/copy-target.ts.
 * Faults of all methods: `backup_storage_unavailable`, `storage_full`; over SSH those of Transport.open and of a session.
 */
export interface CopyTarget {
  /** As in the settings: no secret is in it. */
  readonly name: string
  /** How many files may be under way at once. */
  readonly parallel: number

  /** Puts a file in place at once and durably, over what stands there, and reads it back. */
  put(name: string, bytes: Buffer): Promise<void>

  /** @returns null where no regular file stands */
  get(name: string): Promise<Buffer | null>

  /** Removes a file; one that is gone counts as removed. */
  remove(name: string): Promise<void>

  /** The names of all files, whatever their kind; temporary ones are left out. */
  list(): AsyncIterable<string>
}

/** The files that lie beside the blobs and belong to them: `keyring.json`, `notes.jsonl`, `clock.json`, legacy backups. */
export interface StoreFiles {
  /** @returns null where no regular file stands @throws {Fault} `backup_storage_unavailable` */
  read(name: string): Promise<Buffer | null>

  /** Puts a file in place at once and durably. @throws {Fault} `storage_full`, `backup_storage_unavailable` */
  write(name: string, bytes: Buffer): Promise<void>
}

/** Those that every copy of a store needs, besides the versions. */
export const sideFileNames = ["keyring.json", "notes.jsonl"] as const

/** What copying a version needs to know of it. */
export type CopiedVersion = Pick<Version, "backupId" | "vmId" | "type" | "format">

/**
 * A copy that is to be made (`queued`) or taken away (`removing`): work that waits.
 * Times: RFC 3339 UTC with ms.
 */
export interface DueCopy extends CopiedVersion {
  readonly work: "queued" | "removing"
  /** How often it has failed. */
  readonly attempts: number
  /** Since when it is due: another time where it is to be done anew, whatever was done meanwhile. */
  readonly nextAt: string
}

/** Which piece of that work; `nextAt` left out: however often it was to be done anew. */
export type WorkRef = Pick<DueCopy, "backupId" | "work"> & Partial<Pick<DueCopy, "nextAt">>

/** How a piece of that work ended. */
export type CopyResult =
  | { readonly kind: "copied"; readonly at: string }
  | { readonly kind: "removed" }
  | { readonly kind: "failed"; readonly problem: string; readonly nextAt: string }

/** How far the copies are behind. */
export interface CopyLag {
  /** Counted up to 10 000. */
  readonly waiting: number
  /** Since when the oldest of them waits; null: none does. */
  readonly since: string | null
  /** Why the last that failed did; null: none of those that wait has failed. */
  readonly problem: string | null
}

/** Whether `name` leads to a file below the target, and none of its parts elsewhere or to a hidden one. */
export function isCopyName(name: string): boolean {
  const parts = name.split("/")
  return parts.length <= 3 && parts.every((part) => /^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$/.test(part))
}

/** File of a version below the store, and off this host. */
export function fileNameOf({ format, vmId, type, backupId }: CopiedVersion): string {
  return format === "legacy" ? backupId : `${vmId}/${type}/${backupId}.cmb`
}

/** What the catalog keeps of copies. Part of test/contracts/catalog.ts; faults as those of Catalog. */
export interface CopyCatalog {
  /**
   * From now on every version is to be copied to `target`; where it was another one before, all of them anew. null: nowhere.
   * Where an earlier call for the same target did not end, this one goes on.
   */
  setCopyTarget(target: string | null, now: string): Promise<void>

  /** Where copies go; null: nowhere. */
  copyTarget(): Promise<string | null>

  /** Work that is due, what has waited longest first. @param work left out: of both kinds */
  dueCopies(now: string, limit: number, work?: DueCopy["work"]): Promise<readonly DueCopy[]>

  /** When the next work is due; null: none waits. */
  nextCopyAt(): Promise<string | null>

  /** Notes how a piece of work ended, unless other work for that version has come up since. */
  noteCopy(work: WorkRef, result: CopyResult): Promise<void>

  /** Copies a version anew that was copied before, or is just being copied. */
  queueCopy(backupId: string, now: string): Promise<void>

  /** Copies all versions anew, to the place where copies go. Where an earlier call did not end, `setCopyTarget` goes on. */
  queueCopies(now: string): Promise<void>

  /** The newest version of our own that is well and copied, by its id; null: none of the last thousand is. */
  newestCopied(): Promise<CopiedVersion | null>

  isCopied(backupId: string): Promise<boolean>

  /** Whether the copy of a version that was removed is still to be taken away. */
  isLeaving(backupId: string): Promise<boolean>

  copyLag(): Promise<CopyLag>
}
