import type { Catalog, OperationChange, VersionChanges } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { digestOf } from "../domain/digest.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import { Fault, type FileState } from "../domain/fault.ts"
import type { OpenOperation, Operation, Phase, Stage } from "../domain/operation.ts"
import type { Seen, Session, SwapReport } from "../domain/transport.ts"
import { problemOf, type StatusOf } from "./attempt.ts"
import { edited, neither, notApplied, notDone, takenBack } from "./settlement-faults.ts"
import { isWanted, judge, look, lookAt, see } from "./verdict.ts"
import { type Standing, standingOf, standsFor, type VersionKeeper } from "./version-keeper.ts"

/** How a push ended: its bytes stand there, or they do not and this is why. */
export type Settled = { readonly applied: true } | { readonly applied: false; readonly fault: Fault }

/** Told of each operation that ends. */
export type OperationObserver = (operation: Operation, fault: Fault | null) => void

/** What the process that began the push still knows of it. */
export interface Known {
  /** What stood on the VM before; null: nothing, or a later process asks, which opens the version instead. */
  readonly before: Standing | null
  readonly stages: readonly Stage[]
  /** Why it ended before the rename was sent. */
  readonly fault?: Fault
  /** Opens the config to others again, the moment its end is durable. */
  readonly release?: () => void
  /** A message on a lost connection may still make the names of this push on the VM: its journal stays open for LateLooks. */
  readonly late?: boolean
  /** An earlier process began it, and nobody knows what it saw and told before it ended: the catalog may be an older copy. */
  readonly earlier?: boolean
}

interface Parts {
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly clock: Clock
  readonly statusOf: StatusOf
  readonly observe: OperationObserver
  readonly failpoint: Failpoint
}

/**
 * The last steps of a push, from what is seen on the VM after the rename may have been sent (DESIGN 3.2, steps 9 and 11,
 * rollback, unknown outcome). The push itself and the recovery of a lost one take the same road.
 */
export class Settlement {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Looks at what stands on the VM and brings the operation to its end.
   * @param seen what the swap itself read back; null: find out
   * @throws {Fault} when the VM does not answer, the rollback fails or the end cannot be kept: the journal stays open
   */
  async settle(session: Session, open: OpenOperation, seen: SwapReport | null, known: Known): Promise<Settled> {
    if (seen === null && open.journal.phase === "rolling_back") {
      await this.#keepReplaced(session, open)
      const found = await lookAt(session, open.journal)
      // The staging file of an earlier try is needed once more; whatever else is found, it goes before that counts.
      if (judge(open, found) === "wrong_attributes") return this.#rollBack(session, open, found, known)
    }
    // A VM that says it has done the rename, and shows what stood there before, is asked once more: the staging file may stand.
    const isPlain = seen !== null && judge(open, seen) !== "not_applied"
    const found = isPlain ? seen : await look(session, open.journal)
    const verdict = judge(open, found)
    if (verdict === "edited_before") return this.#giveBackTheEdit(session, open, found, known)
    if (verdict === "wrong_attributes") return this.#rollBack(session, open, found, known)
    // Bytes that stand at the live path need no version of their own.
    const isKnown = verdict === "applied" && isWanted(open, found.old)
    await this.#removeOld(session, open, isKnown ? null : found.old)
    if (verdict === "applied") return this.#succeed(open, known)
    const rollingBack = open.journal.phase === "rolling_back"
    if (verdict === "not_applied") {
      return rollingBack
        ? this.fail(open, "rolled_back", takenBack(), known)
        : this.fail(open, "unchanged", seen === null ? notApplied() : notDone(), known)
    }
    // The second name is gone, so the answer to giving the edit back was lost: it stands there now.
    if (rollingBack && found.old === null && found.live !== null) return this.fail(open, "rolled_back", edited(), known)
    return this.fail(open, "unknown", neither(), known)
  }

  /** Ends an operation whose bytes do not stand on the VM: the version made for them goes, row before blob. */
  async fail(open: OpenOperation, fileState: FileState, fault: Fault, known: Known): Promise<Settled> {
    const { operation, journal } = open
    const { madeFoundId, madeWrittenId } = journal
    // Bytes that stood before and now stand nowhere are kept even where the caller wanted no version.
    const isSafe = journal.phase !== "prepared" && operation.backupId === madeFoundId
    const keepsFound = journal.keepVersions ? await this.#isKept(madeFoundId) : fileState === "unknown" && isSafe
    const show = !journal.keepVersions && keepsFound && madeFoundId !== null ? [madeFoundId] : []
    const gone = [madeWrittenId, keepsFound ? null : madeFoundId].filter((id) => id !== null)
    const backupId = gone.includes(operation.backupId ?? "") ? null : operation.backupId
    const told = fault.with({ fileState, operationId: operation.operationId, backupId })
    const state = fileState === "rolled_back" ? "rolled_back" : "failed"
    const problem = problemOf(told, this.#parts.statusOf)
    const change = { state, fileState, problem, backupId, versionId: null } as const
    await this.#end(open, change, { show, remove: gone }, told, known)
    return { applied: false, fault: told }
  }

  async #succeed(open: OpenOperation, known: Known): Promise<Settled> {
    const { operation, journal } = open
    const gone = journal.keepVersions || journal.madeFoundId === null ? [] : [journal.madeFoundId]
    const show = journal.madeWrittenId === null ? [] : [journal.madeWrittenId]
    const backupId = journal.keepVersions ? operation.backupId : null
    const versionId = journal.madeWrittenId
    const change = { state: "succeeded", fileState: "written", problem: null, backupId, versionId } as const
    // The new bytes stand there, so all that was sent has arrived: nothing can come late.
    await this.#end(open, change, { show, remove: gone }, null, { ...known, late: false })
    return { applied: true }
  }

  /** Rows before blobs, and the journal open in between: a blob without a row would be taken for a lost version. */
  async #end(
    open: OpenOperation,
    change: Omit<OperationChange, "phase">,
    versions: VersionChanges & { readonly remove: readonly string[] },
    fault: Fault | null,
    known: Known,
  ): Promise<void> {
    const { operation } = open
    const { keeper, catalog } = this.#parts
    const ended = { ...change, stages: known.stages, finishedAt: this.#parts.clock().toISOString() }
    const phase = known.late || versions.remove.length > 0 ? "tidying" : "done"
    await catalog.changeOperation(operation.operationId, { ...ended, phase }, versions)
    await this.#parts.failpoint("done")
    known.release?.()
    this.#parts.observe({ ...operation, ...ended }, fault)
    const how = change.state === "failed" && known.earlier ? "putAside" : "remove"
    const dropped = await keeper.dropBlobs(operation, versions.remove, how)
    // Nobody waits for this: what cannot be done or noted now is done by the next start.
    if (phase === "tidying" && dropped && !known.late) await this.close(operation).catch(() => {})
  }

  /** Nothing is left of an operation that has ended. */
  async close({ operationId }: Operation): Promise<void> {
    await this.#parts.catalog.changeOperation(operationId, { phase: "done" })
  }

  /** Removes what an operation that has ended may have left in the store. @returns whether all of it is gone */
  async dropUnkept({ operation, journal }: OpenOperation): Promise<boolean> {
    const made = [journal.madeFoundId, journal.madeWrittenId].filter((id) => id !== null)
    const kept = await Promise.all(made.map((id) => this.#isKept(id)))
    const unkept = made.filter((_, index) => !kept[index])
    return this.#parts.keeper.dropBlobs(operation, unkept, operation.fileState === "unknown" ? "putAside" : "remove")
  }

  /** Removes the second name of an operation that has ended, if it came late. The config's lock is held. @throws {Fault} */
  async removeLate(session: Session, open: OpenOperation): Promise<void> {
    await this.#removeOld(session, open, await see(session, open.journal, open.journal.oldPath))
  }

  /**
   * The rename that took a created file away again came late, a second time: what it took away is somebody else's. It goes back,
   * or, where something stands there by now, becomes a version. The config's lock is held. @throws {Fault}
   */
  async giveBackLate(session: Session, open: OpenOperation): Promise<void> {
    const { path, stagingPath } = open.journal
    const taken = await see(session, open.journal, stagingPath)
    if (taken === null) return
    if (!(await session.exists(path))) return session.rename(stagingPath, path)
    if (taken === "odd") return
    await this.#keepFound(open, standingOf(taken))
    await session.remove([stagingPath])
  }

  /** Whether the row of a version was entered: between its blob and its row lies a moment in which a process can end. */
  async #isKept(backupId: string | null): Promise<boolean> {
    return backupId !== null && (await this.#parts.catalog.getVersion(backupId)) !== null
  }

  /**
   * Removes the second name. What stands under it is what stood before, and kept; where it is an edit that somebody made in
   * the last moment, it may stand nowhere else, so it becomes a version first. Something odd is left where it is.
   */
  async #removeOld(session: Session, open: OpenOperation, old: Seen): Promise<void> {
    if (old === "odd") return
    if (old !== null && digestOf(old.bytes) !== open.operation.previousDigest)
      await this.#keepFound(open, standingOf(old))
    await session.remove([open.journal.oldPath])
    await this.#parts.failpoint("old_removed")
  }

  async #keepFound({ operation, journal }: OpenOperation, standing: Standing): Promise<void> {
    const { keeper, catalog } = this.#parts
    const newest = await catalog.newestVersion(operation)
    if (standsFor(newest, standing)) return
    const { operationId, vmId, type, actor, reason } = operation
    const origin = { ref: { vmId, type }, path: journal.path, operationId, actor, reason }
    const found = keeper.planFound(origin, standing, newest, false)
    await keeper.put([found])
    await catalog.changeOperation(operationId, {}, { add: [found.row] })
  }

  /**
   * What a rollback replaced stands under the name of the staging file: the new bytes, or what somebody made of them after our
   * last look. The latter may stand nowhere else, so it becomes a version before that name goes.
   */
  async #keepReplaced(session: Session, open: OpenOperation): Promise<void> {
    const { digest, previousDigest } = open.operation
    const replaced = await see(session, open.journal, open.journal.stagingPath)
    if (replaced === null || replaced === "odd") return
    const standing = standingOf(replaced)
    if (![digest, previousDigest].includes(standing.digest)) await this.#keepFound(open, standing)
  }

  /** Somebody edited the file between our last look and the rename: their file, now under the second name, goes back. */
  async #giveBackTheEdit(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<Settled> {
    const rollingBack = await this.#enter(open, "rolling_back")
    const { journal } = rollingBack
    if (!(await stillStands(session, rollingBack, found))) return this.#leave(session, rollingBack, found, known)
    await session.rename(journal.oldPath, journal.path, journal.stagingPath)
    await this.#parts.failpoint("put_back")
    await this.#keepReplaced(session, rollingBack)
    const { live } = await look(session, journal)
    if (isSame(live, found.old)) return this.fail(open, "rolled_back", edited(), known)
    return this.fail(open, "unknown", neither(), known)
  }

  async #rollBack(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<Settled> {
    const rollingBack = await this.#enter(open, "rolling_back")
    if (!(await stillStands(session, rollingBack, found))) return this.#leave(session, rollingBack, found, known)
    try {
      await this.#putBack(session, rollingBack, found.old, known.before)
      await this.#parts.failpoint("put_back")
      await this.#keepReplaced(session, rollingBack)
      const again = await look(session, open.journal)
      if (judge(rollingBack, again) !== "not_applied") throw new Error("the old bytes were not read back")
      await this.#removeOld(session, rollingBack, again.old)
    } catch (cause) {
      if (session.dead) throw cause
      throw new Fault(
        "rollback_failed",
        "The new file could not be given its mode and owner, and the old one could not be put back; this is tried again until it works.",
        { cause, fileState: "written" },
      )
    }
    return this.fail(rollingBack, "rolled_back", takenBack(), known)
  }

  /** Somebody has written to what was to be taken back: that stays. */
  async #leave(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<Settled> {
    await session.remove([open.journal.stagingPath])
    await this.#removeOld(session, open, found.old)
    return this.fail(open, "unknown", neither(), known)
  }

  async #putBack(session: Session, { operation, journal }: OpenOperation, old: Seen, before: Standing | null) {
    if (operation.previousDigest === null) {
      return session.rename(journal.path, journal.stagingPath)
    }
    if (old) return session.rename(journal.oldPath, journal.path, journal.stagingPath)
    const standing = before ?? (await this.#openVersion(operation))
    const staged = await see(session, journal, journal.stagingPath)
    // A rename of an earlier try may still be under way, and would put in place what it finds: only a file that was whole was
    // ever renamed, so a whole one is used as it stands, and one that is not has no rename on its way.
    if (staged === null || staged === "odd" || !isStanding(standing, standingOf(staged))) {
      const { bytes, mode, uid, gid } = standing
      await session.remove([journal.stagingPath])
      await session.stage(journal.stagingPath, { bytes, mode, owner: { uid, gid }, keepOwner: true })
    }
    return session.rename(journal.stagingPath, journal.path)
  }

  async #openVersion(operation: Operation): Promise<Standing> {
    if (operation.backupId === null) throw new Fault("backup_missing", "No version of the old bytes was kept.")
    const { header, bytes } = await this.#parts.keeper.blobs.open({ ...operation, backupId: operation.backupId })
    return standingOf({ bytes, mode: header.mode, uid: header.uid, gid: header.gid })
  }

  async #enter(open: OpenOperation, phase: Phase): Promise<OpenOperation> {
    await this.#parts.catalog.changeOperation(open.operation.operationId, { phase })
    await this.#parts.failpoint("rolling_back")
    return { operation: open.operation, journal: { ...open.journal, phase } }
  }
}

/** Looked at right before anything is put back over it: what somebody writes meanwhile may stand nowhere else. */
async function stillStands(session: Session, { journal }: OpenOperation, found: SwapReport): Promise<boolean> {
  return isSame(await see(session, journal, journal.path), found.live)
}

function isStanding(a: Standing, b: Standing): boolean {
  return a.digest === b.digest && a.mode === b.mode && a.uid === b.uid && a.gid === b.gid
}

function isSame(a: Seen, b: Seen): boolean {
  if (a === null || b === null || a === "odd" || b === "odd") return a === b
  return a.bytes.equals(b.bytes)
}
