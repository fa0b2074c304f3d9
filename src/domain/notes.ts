/**
 * What is told of versions and is not in their blobs, so that a catalog made anew from these equals the lost one (DESIGN 4).
 * Times: RFC 3339 UTC with ms.
 */
export type Note =
  /** A version was pinned or unpinned, or its note changed; members left out stay. */
  | { readonly at: string; readonly backupId: string; readonly pinned?: boolean; readonly note?: string | null }
  /** A config left the settings, or came back. */
  | { readonly at: string; readonly vmId: string; readonly type: string; readonly left: boolean }

/** An append-only list beside the blobs. */
export interface Notes {
  /** Has resolved when they are durable. @throws {Fault} `storage_full`, `backup_storage_unavailable` */
  append(notes: readonly Note[]): Promise<void>

  /** All of them, oldest first; a line that cannot be read is left out. @throws {Fault} `backup_storage_unavailable` */
  read(): Promise<readonly Note[]>

  /** Replaces them all by these, at once: what later notes made void goes. @throws {Fault} as `append` */
  replace(notes: readonly Note[]): Promise<void>
}
