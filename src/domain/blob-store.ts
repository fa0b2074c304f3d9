import type { ConfigRef } from "./config-type.ts"
import { Fault } from "./fault.ts"
import type { Trigger } from "./version.ts"

/** What a blob says of itself, in the clear (DESIGN 4). Names as in the file format. */
export interface BlobHeader {
  readonly backup_id: string
  readonly vm_id: string
  readonly type: string
  readonly path: string
  readonly created_at: string
  readonly plain_len: number
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly operation_id: string | null
  readonly trigger: Trigger
  readonly reason: string | null
  readonly actor: string
}

/** Names one blob: `<backup_location>/<vmId>/<type>/<backupId>.cmb`. */
export interface BlobRef {
  readonly vmId: string
  readonly type: string
  readonly backupId: string
}

/** `backup_corrupt` of a blob that is whole and stands in another config's directory, as where that was renamed. */
export class MisplacedFault extends Fault {
  readonly home: ConfigRef

  constructor({ backupId }: BlobRef, home: ConfigRef) {
    const place = `${home.vmId}/${home.type}`
    super(
      "backup_corrupt",
      `The file of version ${backupId} is whole and in the wrong directory: it belongs to ${place}.`,
    )
    this.home = home
  }
}

export interface OpenedBlob {
  readonly header: BlobHeader
  readonly bytes: Buffer
  /** 32 hex digits: the slot that opened. */
  readonly keyId: string
}

export type StoreHealth =
  | { readonly ok: true; readonly detail: string }
  | { readonly ok: false; readonly detail: string; readonly code: "storage_full" | "backup_storage_unavailable" }

/** Sealed, write-once bytes. Every implementation passes test/contracts/blob-store.ts. */
export interface BlobStore {
  /** Id of the key that seals, 32 hex digits. */
  readonly keyId: string

  /**
   * Seals and keeps each of `blobs`: temp file, fsync, rename, one fsync of each directory; then opened again and compared.
   * All or nothing: when it rejects none is left.
   * @throws {Fault} `storage_full`, `backup_storage_unavailable`
   */
  put(blobs: readonly { readonly header: BlobHeader; readonly bytes: Uint8Array }[]): Promise<void>

  /** @throws {Fault} `backup_missing`, `backup_corrupt`, `backup_key_unavailable`, `backup_storage_unavailable` */
  open(ref: BlobRef): Promise<OpenedBlob>

  /** Removes a blob; one that is gone counts as removed. @throws {Fault} `backup_storage_unavailable` */
  remove(ref: BlobRef): Promise<void>

  /**
   * The blob as it lies there, sealed: whole, and the one that its place says.
   * @throws {Fault} `backup_missing`, `backup_corrupt`, `backup_storage_unavailable`
   */
  sealed(ref: BlobRef): Promise<Buffer>

  /**
   * Whether sealed bytes, wherever they stand, are the blob that `ref` names and open with a loaded key.
   * @returns that key's id, 32 hex digits; null: they do not
   */
  opens(ref: BlobRef, sealed: Buffer): Promise<string | null>

  /**
   * Puts a sealed blob from elsewhere in place, synced and read back; one that opens is sealed for the active key. What stood
   * there and was no such blob, or does not open while this one does, is put aside; one that is whole stays otherwise, and is
   * taken for this one.
   * @param isBetter what opens there makes room too, for one that opens
   * @returns where it was put aside; null: nothing was
   * @throws {Fault} `backup_corrupt` when `sealed` is not whole, or not the blob that `ref` names; those of `put`
   */
  putSealed(ref: BlobRef, sealed: Buffer, isBetter?: boolean): Promise<string | null>

  /**
   * Seals a blob's data key for the active key alone; its content is neither opened nor written anew. At every moment it
   * opens with the old key or the new.
   * @returns whether there was anything to do @throws {Fault} those of `open` and `put`
   */
  rewrap(ref: BlobRef): Promise<boolean>

  /** The blobs that stand in the store, as their file names tell, config by config. @throws {Fault} `backup_storage_unavailable` */
  list(): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }>

  /**
   * What a blob says of itself in the clear: whole, but proved by no key.
   * @returns with `keyId` the first key that opens it, loaded or not (32 hex digits)
   * @throws {Fault} `backup_missing`, `backup_corrupt`, `backup_storage_unavailable`
   */
  header(ref: BlobRef): Promise<{ readonly header: BlobHeader; readonly keyId: string }>

  /**
   * Moves a file that is no version out of the way, and never removes it.
   * @returns where it stands now; null: this user may not read it, so that it may be one, and it stays
   * @throws {Fault} `backup_missing`, and as `remove`
   */
  putAside(ref: BlobRef): Promise<string | null>

  /** The names of blobs that were put aside, config by config, each once however often it was. @throws {Fault} as `list` */
  listAside(): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }>

  /** Whether a version could be kept now: writable, and with room. The sentence says what is wrong, `code` which fault a `put` would be. */
  health(): Promise<StoreHealth>
}
