import type { Catalog } from "../domain/catalog.ts"
import { digestOf } from "../domain/digest.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { OpenOperation, Operation } from "../domain/operation.ts"
import type { RemoteFile, Seen, Session } from "../domain/transport.ts"
import type { Known } from "./settlement.ts"
import { isEarly, see } from "./verdict.ts"
import { type Standing, standingOf, standsFor, type VersionKeeper } from "./version-keeper.ts"

type Memory = Pick<Known, "before" | "deadline">

const nothing: Memory = { before: null }

interface Parts {
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly failpoint: Failpoint
}

/** What stands under the two names of a push, and may stand nowhere else: it becomes a version before its name goes. */
export class ReplacedFiles {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Removes the second name of an operation that has ended, if it came late. The config's lock is held. @throws {Fault} */
  async removeLate(session: Session, open: OpenOperation): Promise<void> {
    await this.removeOld(session, open, await see(session, open.journal, open.journal.oldPath), nothing)
  }

  /** Removes what a rollback that came late has replaced, as `removeLate` does. @throws {Fault} */
  async clearLate(session: Session, open: OpenOperation): Promise<void> {
    await this.clearStaging(session, open, nothing)
  }

  /**
   * Before the names of a push go whose rename was refused: what stands under the second may stand nowhere else. @throws {Fault}
   * @returns the names that may go
   */
  async keepOld(session: Session, open: OpenOperation, known: Memory): Promise<readonly string[]> {
    const { stagingPath, oldPath } = open.journal
    const old = await see(session, open.journal, oldPath)
    // Something odd is left: that something odd stands at the live path as well does not show that it is the same.
    if (old === "odd") return [stagingPath]
    if (old !== null) await this.#keepEdit(open, old, known)
    return [stagingPath, oldPath]
  }

  /**
   * The rename that took a created file away again came late, a second time: what it took away is somebody else's. It goes back,
   * or, where something stands there by now, becomes a version. The config's lock is held. @throws {Fault}
   */
  async giveBackLate(session: Session, open: OpenOperation): Promise<void> {
    const { path, stagingPath, oldPath, maxBytes } = open.journal
    const taken = await see(session, open.journal, stagingPath)
    if (taken === null) return
    try {
      // A file that somebody creates in this moment is not replaced.
      const paths = { path, stagingPath, oldPath, replaces: false }
      await session.swap(paths, { maxBytes, followSymlinks: false })
      return
    } catch (error) {
      if (session.dead || !(await session.exists(path))) throw error
    }
    if (taken === "odd") return
    await this.#keepFound(open, standingOf(taken), nothing)
    await session.remove([stagingPath])
  }

  /**
   * Removes the second name. What stands under it is what stood before, and kept; where it is an edit that somebody made in
   * the last moment, it may stand nowhere else, so it becomes a version first. Something odd is left where it is.
   */
  async removeOld(session: Session, open: OpenOperation, old: Seen, known: Memory): Promise<void> {
    if (old !== null && old !== "odd") {
      await this.#keepEdit(open, old, known)
      if (await this.#isLastCopy(session, open, old)) await this.#tryToKeep(open, old, known)
    }
    await this.dropOld(session, open, old)
  }

  /** The same where nothing of it is to be kept. What was not seen there is not removed: it may be what came meanwhile. */
  async dropOld(session: Session, open: OpenOperation, old: Seen): Promise<void> {
    if (old !== null && old !== "odd") await session.remove([open.journal.oldPath])
    await this.#parts.failpoint("old_removed")
  }

  /** A change that asked for no version does not wait for a store that still does not work. */
  async #tryToKeep(open: OpenOperation, old: RemoteFile, known: Memory): Promise<void> {
    try {
      await this.#keepFound(open, standingOf(old), known)
    } catch (error) {
      if (!isFault(error, "storage_full", "backup_storage_unavailable")) throw error
    }
  }

  /** The old bytes, where no version of them could be kept, and something else stands there by now. */
  async #isLastCopy(session: Session, { operation, journal }: OpenOperation, { bytes }: RemoteFile): Promise<boolean> {
    const { backupId, previousDigest } = operation
    if (backupId !== null || digestOf(bytes) !== previousDigest) return false
    const live = await see(session, journal, journal.path)
    return live === null || live === "odd" || digestOf(live.bytes) !== previousDigest
  }

  /**
   * What a rollback replaced stands under the name of the staging file: the new bytes, or what somebody made of them after our
   * last look. The latter may stand nowhere else, so it becomes a version before that name goes. Something odd, which
   * cannot be kept, gets the second name, where it is left.
   * @returns whether it shows that something was put back
   */
  async keepReplaced(session: Session, open: OpenOperation, known: Memory): Promise<boolean> {
    const { digest, previousDigest } = open.operation
    const { stagingPath, oldPath } = open.journal
    const replaced = await see(session, open.journal, stagingPath)
    if (replaced === null) return false
    if (replaced === "odd") {
      // What was to replace it may be still there; it need not stand at the live path any more for all that.
      const isTaken = await session.exists(oldPath)
      await session.rename(stagingPath, isTaken ? `${oldPath}.odd` : oldPath)
      return !isTaken
    }
    const standing = standingOf(replaced)
    // The old bytes on their way back, where no second name holds them.
    if (standing.digest === previousDigest) {
      await this.#keepOldBytes(session, open, standing, known)
      return false
    }
    if (standing.digest === digest) return true
    if (await this.#isHalfStaged(session, open, standing, known)) return false
    await this.#keepFound(open, standing, known)
    return true
  }

  /** Where no version of them stays, somebody may have put the old bytes there over which an edit was given back. */
  async #keepOldBytes(session: Session, open: OpenOperation, standing: Standing, known: Memory): Promise<void> {
    const { operation, journal } = open
    if (journal.keepVersions) return
    const live = await see(session, journal, journal.path)
    const digest = live === null || live === "odd" ? null : digestOf(live.bytes)
    if (digest === operation.digest || digest === operation.previousDigest) return
    await this.#keepFound(open, standing, known)
  }

  /** Frees the name of the staging file, once what a rollback may have replaced is kept. @returns as `keepReplaced` */
  async clearStaging(session: Session, open: OpenOperation, known: Memory): Promise<boolean> {
    const wasPutBack = await this.keepReplaced(session, open, known)
    await session.remove([open.journal.stagingPath])
    return wasPutBack
  }

  /**
   * The old bytes on their way back, as far as they came before the connection was lost: a file has 0600 until all are there, and
   * until then the new bytes stand; what comes late is empty. Any other beginning of the old bytes is somebody's.
   */
  async #isHalfStaged(
    session: Session,
    open: OpenOperation,
    { bytes, mode }: Standing,
    known: Memory,
  ): Promise<boolean> {
    const { operation, journal } = open
    if (mode !== 0o600) return false
    if (isEarly(open)) return this.#isHalfNew(open, bytes)
    if (operation.previousDigest === null) return false
    const live = await see(session, journal, journal.path)
    const standsNew = live !== null && live !== "odd" && digestOf(live.bytes) === operation.digest
    if (bytes.length > 0 && !standsNew) return false
    return this.#begins(bytes, async () => known.before ?? (await this.openVersion(operation)), false)
  }

  /** The new bytes, as far as they came before the process was killed: without their version nothing can have followed them. */
  async #isHalfNew({ operation, journal }: OpenOperation, bytes: Buffer): Promise<boolean> {
    return this.#begins(bytes, () => this.openVersion({ ...operation, backupId: journal.madeWrittenId }), true)
  }

  async #begins(bytes: Buffer, open: () => Promise<Standing>, otherwise: boolean): Promise<boolean> {
    try {
      return (await open()).bytes.subarray(0, bytes.length).equals(bytes)
    } catch (error) {
      if (isFault(error, "backup_missing", "backup_corrupt")) return otherwise
      throw error
    }
  }

  /** The bytes that stood there before, out of their version. @throws {Fault} as BlobStore.open */
  async openVersion(operation: Operation): Promise<Standing> {
    if (operation.backupId === null) throw new Fault("backup_missing", "No version of the old bytes was kept.")
    const { header, bytes } = await this.#parts.keeper.blobs.open({ ...operation, backupId: operation.backupId })
    return standingOf({ bytes, mode: header.mode, uid: header.uid, gid: header.gid })
  }

  /** What stands at the live path and is about to be replaced becomes a version, with its mode and owner. */
  async keepLive(open: OpenOperation, live: Seen, known: Memory): Promise<void> {
    if (live !== null && live !== "odd") await this.#keepFound(open, standingOf(live), known)
  }

  async #keepEdit(open: OpenOperation, old: RemoteFile, known: Memory): Promise<void> {
    if (digestOf(old.bytes) !== open.operation.previousDigest) await this.#keepFound(open, standingOf(old), known)
  }

  async #keepFound({ operation, journal }: OpenOperation, standing: Standing, known: Memory): Promise<void> {
    const { keeper, catalog } = this.#parts
    const newest = await keeper.newest(operation)
    // The journal names where a symlink led, a version the path of the settings.
    if (standsFor(newest, standing)) return
    const { operationId, vmId, type, actor, reason } = operation
    const origin = { ref: { vmId, type }, path: journal.path, operationId, actor, reason }
    const found = keeper.planFound(origin, standing, newest, false)
    await (known.deadline ? keeper.putWithin(known.deadline.remainingMs, [found]) : keeper.put([found]))
    await catalog.changeOperation(operationId, {}, { add: [found.row] })
  }
}

/**
 * Whether a VM refuses to remove a name, as where its file system has become read-only or has no space for it, or a directory is
 * only to be added to: it will go on so for long, and LateLooks goes on trying.
 */
export function isRefusedRemoval(session: Session, error: unknown): boolean {
  return !session.dead && isFault(error, "vm_permission_denied", "write_failed", "vm_disk_full")
}
