import type { Catalog, OperationChange, VersionChanges } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import type { Fault, FileState } from "../domain/fault.ts"
import { isGuessed, type OpenOperation, type Operation, type Stage } from "../domain/operation.ts"
import type { Session, SwapReport } from "../domain/transport.ts"
import { problemOf, type StatusOf } from "./attempt.ts"
import type { Deadline } from "./deadline.ts"
import { isRefusedRemoval, ReplacedFiles } from "./replaced-files.ts"
import { edited, foreign, movedAway, neither, notApplied, notDone, takenBack } from "./settlement-faults.ts"
import { Rollback, type Undone } from "./settlement-rollback.ts"
import { isAlike, judge, look, lookAt } from "./verdict.ts"
import type { Standing, VersionKeeper } from "./version-keeper.ts"

/** How a push ended: its bytes stand there, or they do not and this is why. */
export type Settled =
  /** `isLeft`: the second name is still there, as the VM refuses to remove it. */
  { readonly applied: true; readonly isLeft: boolean } | { readonly applied: false; readonly fault: Fault }

/** Told of each operation that ends. */
export type OperationObserver = (operation: Operation, fault: Fault | null) => void

/** What the process that began the push still knows of it. */
export interface Known {
  /** What stood on the VM before; null: nothing, or a later process asks, which opens the version instead. */
  readonly before: Standing | null
  readonly stages: readonly Stage[]
  /** While a caller waits: for how long. */
  readonly deadline?: Pick<Deadline, "remainingMs">
  /** Why it ended before the rename was sent. */
  readonly fault?: Fault
  /** Opens the config to others again, the moment its end is durable. */
  readonly release?: () => void
  /** A message on a lost connection may still make the names of this push on the VM: its journal stays open for LateLooks. */
  readonly late?: boolean
  /** The staging file was still there when the VM was asked, or the journal does not say that its rename was sent. */
  readonly unsent?: boolean
  /** An earlier process began it, and its staging file was still there: where the new bytes stand, somebody else put them there. */
  readonly left?: boolean
  /** The new bytes stand on the VM, and nothing shows whose hand put them there. */
  readonly stands?: boolean
  /** The VM is not reached as it was when the push was sent: what stands there may be another machine's. */
  readonly elsewhere?: boolean
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
  readonly replaced: ReplacedFiles
  readonly #parts: Parts
  readonly #rollback: Rollback
  readonly #dropping = new Set<Promise<void>>()

  constructor(parts: Parts) {
    this.#parts = parts
    this.replaced = new ReplacedFiles(parts)
    this.#rollback = new Rollback({ ...parts, replaced: this.replaced })
  }

  /**
   * Looks at what stands on the VM and brings the operation to its end.
   * @param seen what the swap itself read back; null: find out
   * @throws {Fault} when the VM does not answer, the rollback fails or the end cannot be kept: the journal stays open
   */
  async settle(session: Session, open: OpenOperation, seen: SwapReport | null, known: Known): Promise<Settled> {
    let wasPutBack = false
    if (seen === null && open.journal.phase === "rolling_back") {
      wasPutBack = await this.replaced.keepReplaced(session, open, known)
      // Of a created file it cannot be told; where a version was made for its bytes, that is put aside in the end.
      const isToBeTold = open.operation.previousDigest !== null || !open.journal.keepVersions
      const mayBeBack = wasPutBack || (isToBeTold && !(await session.exists(open.journal.stagingPath)))
      const found = await lookAt(session, open.journal)
      // The staging file of an earlier try is needed once more; whatever else is found, it goes before that counts.
      if (judge(open, found) === "wrong_attributes" && !known.elsewhere) {
        // An earlier try may have put the old ones back, and somebody the new ones since.
        if (found.old === null && mayBeBack) await this.replaced.keepLive(open, found.live, known)
        return this.#rollBack(session, open, found, known)
      }
      // Once more: a rename of that try may have come meanwhile.
      wasPutBack = (await this.replaced.clearStaging(session, open, known)) || wasPutBack
    }
    // A VM that says it has done the rename, and does not show the new bytes, is asked once more: the staging file may stand.
    const isRenamed = await hasLeftStaging(session, open, known)
    const isPlain = seen !== null && !["not_applied", "neither"].includes(judge(open, seen, isRenamed))
    const found = isPlain ? seen : await look(session, open.journal)
    const verdict = judge(open, found, isRenamed)
    if (known.elsewhere && verdict !== "applied") return this.#leave(session, open, found, movedAway(), known)
    if (isForeign(open, found, known)) return this.#leave(session, open, found, foreign(), known)
    if (verdict === "edited_before")
      return this.#undo(open, this.#rollback.giveBackTheEdit(session, open, found, known), known)
    if (verdict === "wrong_attributes") return this.#rollBack(session, open, found, known)
    // A swap syncs it itself, where its answer comes.
    if (!isPlain) await session.syncDirectory(open.journal.path)
    // What was replaced as it was to be is kept already, or was not to be kept; of an edit in its place the verdict tells.
    const removing =
      verdict === "applied"
        ? this.replaced.dropOld(session, open, found.old)
        : this.replaced.removeOld(session, open, found.old, known)
    const isLeft = !(await this.#isRemoved(session, removing, known))
    if (verdict === "applied") return this.#succeed(open, isLeft, known)
    const rollingBack = open.journal.phase === "rolling_back"
    if (verdict === "not_applied") {
      return rollingBack
        ? this.fail(open, "rolled_back", takenBack(), known)
        : this.fail(open, "unchanged", seen === null ? notApplied() : notDone(), known)
    }
    // The answer to giving back was lost: what that replaced stood under the name of the staging file. That the second name is
    // gone tells nothing: there may never have been one, or an earlier try has removed it.
    if (wasPutBack && found.old === null && found.live !== null) return this.fail(open, "rolled_back", edited(), known)
    return this.fail(open, "unknown", neither(), known)
  }

  /** Puts on record what a caller is told of a push whose rename was not sent, or refused, before its names on the VM are gone. */
  async note({ operationId }: Operation, fault: Fault): Promise<void> {
    const problem = problemOf(fault, this.#parts.statusOf)
    const change = { state: "failed", fileState: "unchanged", problem, phase: "kept" } as const
    await this.#parts.catalog.changeOperation(operationId, change)
  }

  /** Ends an operation whose bytes do not stand on the VM: the version made for them goes, row before blob. */
  async fail(open: OpenOperation, fileState: FileState, fault: Fault, known: Known): Promise<Settled> {
    const { operation, journal } = open
    const { madeFoundId, madeWrittenId } = journal
    // Bytes that stood before and now stand nowhere are kept even where the caller wanted no version.
    const isSafe = fileState === "unknown" && madeFoundId !== null && (await this.isProvisional(madeFoundId))
    const keepsFound = journal.keepVersions ? await this.#isKept(madeFoundId) : isSafe
    // Whoever put the new bytes there, their version is what stands on the VM, and may have been acknowledged.
    const versionId = known.stands && madeWrittenId && (await this.isProvisional(madeWrittenId)) ? madeWrittenId : null
    const shown = [!journal.keepVersions && keepsFound ? madeFoundId : null, versionId]
    const show = shown.filter((id) => id !== null)
    const gone = [versionId ? null : madeWrittenId, keepsFound ? null : madeFoundId].filter((id) => id !== null)
    const backupId = gone.includes(operation.backupId ?? "") ? null : operation.backupId
    const told = fault.with({ fileState, operationId: operation.operationId, backupId })
    const state = fileState === "rolled_back" ? "rolled_back" : "failed"
    const problem = problemOf(told, this.#parts.statusOf)
    const change = { state, fileState, problem, backupId, versionId } as const
    await this.#end(open, change, { show, remove: gone }, told, known)
    return { applied: false, fault: told }
  }

  async #succeed(open: OpenOperation, isLeft: boolean, known: Known): Promise<Settled> {
    const { operation, journal } = open
    const gone = journal.keepVersions || journal.madeFoundId === null ? [] : [journal.madeFoundId]
    const show = journal.madeWrittenId === null ? [] : [journal.madeWrittenId]
    const backupId = journal.keepVersions ? operation.backupId : null
    const versionId = journal.madeWrittenId
    const change = { state: "succeeded", fileState: "written", problem: null, backupId, versionId } as const
    // The new bytes stand there, so all that was sent has arrived: nothing can come late.
    await this.#end(open, change, { show, remove: gone }, null, { ...known, late: isLeft })
    return { applied: true, isLeft }
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
    const end = { ...change, stages: known.stages, finishedAt: this.#parts.clock().toISOString() }
    const phase = known.late || versions.remove.length > 0 ? "tidying" : "done"
    await catalog.changeOperation(operation.operationId, { ...end, phase }, versions)
    await this.#parts.failpoint("done")
    known.release?.()
    this.#parts.observe({ ...operation, ...end }, fault)
    const isGuessed = change.fileState === "unknown" || (change.state !== "succeeded" && known.earlier === true)
    // While its end was open, somebody may have put there by hand what is taken back.
    const wasOpen = change.state === "rolled_back" && known.release !== undefined
    const how = isGuessed || wasOpen ? "putAside" : "remove"
    if (phase === "done") return
    // Nobody waits for this: what cannot be done or noted now is done by the next start.
    const dropping = keeper.dropBlobs(operation, versions.remove, how).then(async (dropped) => {
      if (dropped && !known.late) await this.close(operation)
    })
    const ended = dropping.catch(() => {}).finally(() => this.#dropping.delete(ended))
    this.#dropping.add(ended)
  }

  /** Resolves when nothing that nobody waits for is under way. */
  async drained(): Promise<void> {
    while (this.#dropping.size > 0) await Promise.all(this.#dropping)
  }

  /** Nothing is left of an operation that has ended. */
  async close({ operationId }: Operation): Promise<void> {
    await this.#parts.catalog.changeOperation(operationId, { phase: "done" })
  }

  /**
   * Drops what an operation that has ended may have left in the store. @returns whether all of it is gone
   * @param earlier as `Known`: then its end may have been guessed, and nothing is removed by a guess
   */
  async dropUnkept({ operation, journal }: OpenOperation, earlier: boolean): Promise<boolean> {
    const made = [journal.madeFoundId, journal.madeWrittenId].filter((id) => id !== null)
    const kept = await Promise.all(made.map((id) => this.#isKept(id)))
    const unkept = made.filter((_, index) => !kept[index])
    const isUnsure = earlier || operation.fileState === "unknown" || isGuessed(operation)
    return this.#parts.keeper.dropBlobs(operation, unkept, isUnsure ? "putAside" : "remove")
  }

  /** Whether the row of a version waits for its operation's end. */
  async isProvisional(backupId: string): Promise<boolean> {
    return (await this.#parts.catalog.provisionalVersions()).some((version) => version.backupId === backupId)
  }

  /** Whether the row of a version was entered: between its blob and its row lies a moment in which a process can end. */
  async #isKept(backupId: string | null): Promise<boolean> {
    return backupId !== null && (await this.#parts.catalog.getVersion(backupId)) !== null
  }

  /** What stands there is left, for a reason that is told. */
  async #leave(session: Session, open: OpenOperation, found: SwapReport, fault: Fault, known: Known): Promise<Settled> {
    await this.#isRemoved(session, this.replaced.removeOld(session, open, found.old, known), known)
    return this.fail(open, "unknown", fault, known)
  }

  /** Nobody need wait for a VM that refuses to remove the second name. @returns whether it is gone */
  async #isRemoved(session: Session, removing: Promise<void>, known: Known): Promise<boolean> {
    try {
      await removing
      return true
    } catch (error) {
      if (!known.late || !isRefusedRemoval(session, error)) throw error
      return false
    }
  }

  async #rollBack(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<Settled> {
    // Its mode may have been changed long after the push, by somebody who wants the new bytes: a later process cannot tell.
    if (known.earlier) await this.replaced.keepLive(open, found.live, known)
    return this.#undo(open, this.#rollback.rollBack(session, open, found, known), known)
  }

  async #undo(open: OpenOperation, undoing: Promise<Undone>, known: Known): Promise<Settled> {
    const { fileState, fault } = await undoing
    const rollingBack: OpenOperation = { ...open, journal: { ...open.journal, phase: "rolling_back" } }
    return this.fail(rollingBack, fileState, fault, known)
  }
}

/** Asked only where nothing else tells. Of a staging file that an earlier look removed, or on another machine, it tells nothing. */
async function hasLeftStaging(session: Session, open: OpenOperation, known: Known): Promise<boolean> {
  if (known.unsent || known.elsewhere || !isAlike(open)) return false
  return !(await session.exists(open.journal.stagingPath))
}

/**
 * Whether the new bytes may be there by somebody else's hand: their rename was not sent, or, where they would have to be taken
 * back, its end may have come long ago, before an older copy of the catalog, and no second name shows that it did not.
 */
function isForeign(open: OpenOperation, found: SwapReport, { unsent, left, earlier }: Known): boolean {
  const verdict = judge(open, found)
  if (open.journal.phase === "rolling_back") return false
  if (verdict === "applied") return left === true
  if (verdict === "edited_before") return unsent === true
  return verdict === "wrong_attributes" && (unsent === true || (earlier === true && found.old === null))
}
