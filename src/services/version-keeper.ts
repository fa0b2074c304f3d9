import { setTimeout as sleep } from "node:timers/promises"
import { v7 as uuidv7 } from "uuid"
import type { BlobHeader, BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { digestOf } from "../domain/digest.ts"
import { Fault, type FaultCode, isFault } from "../domain/fault.ts"
import type { NewVersion, Trigger, Version, VersionState } from "../domain/version.ts"

/** Bytes that stand, stood or will stand on a VM, with the attributes a restore gives back. */
export interface Standing {
  readonly bytes: Buffer
  readonly digest: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** A version planned: its row and its blob, neither kept yet. */
export interface PlannedVersion {
  readonly row: NewVersion
  readonly header: BlobHeader
  readonly bytes: Buffer
}

/** What all versions of one operation share. */
export interface VersionOrigin {
  readonly ref: ConfigRef
  readonly path: string
  readonly operationId: string
  readonly actor: string
  readonly reason: string | null
}

/** Plans versions and removes them: blob before row when they come, row before blob when they go. */
export class VersionKeeper {
  readonly blobs: BlobStore
  readonly #catalog: Catalog
  readonly #clock: Clock

  constructor(blobs: BlobStore, catalog: Catalog, clock: Clock) {
    this.blobs = blobs
    this.#catalog = catalog
    this.#clock = clock
  }

  /**
   * The newest version of a config, its blob opened: bytes that are about to be overwritten are not left to a version that
   * can no longer give them back.
   * @returns with `state` other than `ok` where it does not open
   */
  async newest(ref: ConfigRef): Promise<Version | null> {
    const version = await this.#catalog.newestVersion(ref)
    // A legacy backup holds no mode and no owner, so that it stands for nothing that is found, opened or not.
    if (version === null || version.state !== "ok" || version.format === "legacy") return version
    try {
      const { bytes } = await this.blobs.open(version)
      if (version.digest === null || digestOf(bytes) === version.digest) return version
      return this.#mark(version, "damaged")
    } catch (error) {
      if (!isFault(error)) throw error
      return this.#mark(version, stateOf(error.code))
    }
  }

  async #mark(version: Version, state: VersionState | null): Promise<Version> {
    // What is found out beside the way must not end the push: it is found out again.
    if (state)
      await this.#catalog.markVersion(version.backupId, { state, verifiedAt: version.verifiedAt }).catch(() => {})
    return { ...version, state: state ?? "missing" }
  }

  /** When the next version of a config begins: now, and never before or at the newest one, whatever the clock did. */
  nextTime(after: string | null): string {
    const now = this.#clock().getTime()
    return new Date(after === null ? now : Math.max(now, Date.parse(after) + 1)).toISOString()
  }

  plan(
    origin: VersionOrigin,
    trigger: Trigger,
    standing: Standing,
    options: { readonly backupId?: string; readonly at: string; readonly provisional: boolean },
  ): PlannedVersion {
    const backupId = options.backupId ?? uuidv7()
    const { ref, path, operationId, actor, reason } = origin
    const row: NewVersion = {
      backupId,
      vmId: ref.vmId,
      type: ref.type,
      path,
      validFrom: options.at,
      size: standing.bytes.length,
      digest: standing.digest,
      mode: standing.mode,
      uid: standing.uid,
      gid: standing.gid,
      trigger,
      reason,
      actor,
      operationId,
      keyId: this.blobs.keyId,
      format: "cmb1",
      provisional: options.provisional,
    }
    return { row, header: headerOf(row, standing), bytes: standing.bytes }
  }

  /** The version of what was found on the VM. */
  planFound(origin: VersionOrigin, found: Standing, newest: Version | null, provisional: boolean): PlannedVersion {
    // The reason of the change is not why these bytes stood there.
    return this.plan({ ...origin, reason: null }, "found", found, {
      at: this.nextTime(newest?.validFrom ?? null),
      provisional,
    })
  }

  /** Seals and keeps the blobs; the rows are the caller's next step. @throws {Fault} as BlobStore.put */
  async put(planned: readonly PlannedVersion[]): Promise<void> {
    await this.blobs.put(planned.map(({ header, bytes }) => ({ header, bytes })))
  }

  /**
   * As `put`, for a caller who waits for `limitMs` at most. What comes after that is removed again.
   * @throws {Fault} those of `put`
   */
  async putWithin(limitMs: number, planned: readonly PlannedVersion[]): Promise<void> {
    const putting = this.put(planned)
    const over = new AbortController()
    const patience = sleep(limitMs, "late", { signal: over.signal }).catch(() => "ended")
    try {
      if ((await Promise.race([putting, patience])) !== "late") return
    } finally {
      over.abort()
    }
    const drop = ({ row }: PlannedVersion) => this.dropBlobs(row, [row.backupId], "remove")
    putting.then(() => Promise.all(planned.map(drop))).catch(() => {})
    throw new Fault(
      "backup_storage_unavailable",
      "The backup directory did not answer in the time that this change has; try again later.",
      { retryAfterSeconds: 5 },
    )
  }

  /**
   * Drops blobs whose rows are gone: for good, or put aside where their bytes may stand nowhere else.
   * @returns whether each is gone; one that is not is found again by the next start
   */
  async dropBlobs(ref: ConfigRef, backupIds: readonly string[], how: "remove" | "putAside"): Promise<boolean> {
    const { vmId, type } = ref
    const drop = async (backupId: string): Promise<void> => {
      try {
        await this.blobs[how]({ vmId, type, backupId })
      } catch (error) {
        if (!isFault(error, "backup_missing")) throw error
      }
    }
    const drops = await Promise.allSettled(backupIds.map(drop))
    return drops.every(({ status }) => status === "fulfilled")
  }
}

/** What a blob that does not open says of its version; null: the store could not be asked, so nothing. */
export function stateOf(code: FaultCode): VersionState | null {
  if (code === "backup_missing") return "missing"
  if (code === "backup_corrupt") return "damaged"
  return code === "backup_key_unavailable" ? "locked" : null
}

/** Whether `version` is exactly what stands at `path` (left out: wherever it was): bytes, mode and owner. */
export function standsFor(version: Version | null, standing: Standing, path = version?.path): boolean {
  return (
    version !== null &&
    version.state === "ok" &&
    version.path === path &&
    version.digest === standing.digest &&
    version.mode === standing.mode &&
    version.uid === standing.uid &&
    version.gid === standing.gid
  )
}

/** A file that was read, as something a version can be made of. */
export function standingOf(file: {
  readonly bytes: Buffer
  readonly mode: number
  readonly uid: number
  readonly gid: number
}): Standing {
  return { bytes: file.bytes, digest: digestOf(file.bytes), mode: file.mode, uid: file.uid, gid: file.gid }
}

function headerOf(row: NewVersion, standing: Standing): BlobHeader {
  return {
    backup_id: row.backupId,
    vm_id: row.vmId,
    type: row.type,
    path: row.path,
    created_at: row.validFrom,
    plain_len: standing.bytes.length,
    mode: standing.mode,
    uid: standing.uid,
    gid: standing.gid,
    operation_id: row.operationId,
    trigger: row.trigger,
    reason: row.reason,
    actor: row.actor,
  }
}
