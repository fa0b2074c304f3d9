import { setTimeout as sleep } from "node:timers/promises"
import { v7 as uuidv7 } from "uuid"
import type { Catalog } from "../domain/catalog.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import { Fault, isFault } from "../domain/fault.ts"
import { addressOf, type Journal, type OpenOperation, type Operation, type Phase } from "../domain/operation.ts"
import type { PushReport } from "../domain/report.ts"
import type { Session, StageReport, SwapReport } from "../domain/transport.ts"
import type { Warning } from "../domain/warning.ts"
import type { Attempt } from "./attempt.ts"
import { asFault } from "./attempt.ts"
import type { Deadline } from "./deadline.ts"
import { standsAsSeen } from "./live-look.ts"
import { type Comparison, type PushPlan, readOptions, refOf, reportOf, stagingPathOf } from "./push-plan.ts"
import type { Resolver } from "./resolver.ts"
import type { Known, Settled, Settlement } from "./settlement.ts"
import { mayHaveReplaced } from "./verdict.ts"
import { type PlannedVersion, standsFor, type VersionKeeper, type VersionOrigin } from "./version-keeper.ts"
import { bothEnd, inTime } from "./waiting.ts"

/** A push under way, its turn come and the live file seen. */
export interface Push {
  readonly plan: PushPlan
  readonly attempt: Attempt
  readonly session: Session
  readonly deadline: Deadline
  readonly seen: Comparison
}

interface Parts {
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly settlement: Settlement
  readonly resolver: Resolver
  readonly failpoint: Failpoint
}

/** The writing steps of a push, 3 to 11 of DESIGN 3.2. */
export class PushWriter {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** @throws {Fault} with `fileState`, `operationId`, `backupId` */
  async write(push: Push): Promise<PushReport> {
    const { plan, attempt, seen } = push
    const found = this.#planSafety(push)
    let open = await attempt.stage("prepare", () => this.#prepare(push, found))
    let kept: Kept
    try {
      kept = await this.#keepAndStage(push, open, found)
      open = { operation: { ...open.operation, ...kept.operation }, journal: { ...open.journal, phase: "kept" } }
      await attempt.stage("look", () => this.#lookAgain(push))
      await this.#parts.failpoint("looked")
      open = atPhase(open, "swapping")
    } catch (error) {
      return this.#abandon(push, open, error)
    }
    const settled = await this.#swap(push, open)
    if (!settled.applied) throw settled.fault
    return reportOf(plan, seen, {
      backupId: plan.keepVersions ? open.operation.backupId : null,
      versionId: open.journal.madeWrittenId,
      operationId: attempt.operationId,
      warnings: kept.warnings,
    })
  }

  /** The version of the old bytes; null where none stood, or the newest is they already. */
  #planSafety({ plan, attempt, seen }: Push): PlannedVersion | null {
    const { live, newest } = seen
    if (!live || standsFor(newest, live, plan.located.path)) return null
    return this.#parts.keeper.planFound(originOf(plan, attempt), live, newest, !plan.keepVersions)
  }

  /** Step 3: from here on a restart knows of the push. */
  async #prepare({ plan, attempt, seen }: Push, found: PlannedVersion | null): Promise<OpenOperation> {
    const path = seen.realPath
    const operation = attempt.row({
      digest: seen.digest,
      previousDigest: seen.live?.digest ?? null,
      backupId: found?.row.backupId ?? (seen.live ? (seen.newest?.backupId ?? null) : null),
    })
    const owner = plan.located.type.keepOwner ? seen.owner : null
    const journal: Journal = {
      phase: "prepared",
      path,
      stagingPath: stagingPathOf(path, attempt.operationId),
      oldPath: `${path}.${attempt.operationId}.old`,
      mode: seen.mode,
      uid: owner?.uid ?? null,
      gid: owner?.gid ?? null,
      madeFoundId: found?.row.backupId ?? null,
      madeWrittenId: plan.keepVersions ? uuidv7() : null,
      keepVersions: plan.keepVersions,
      become: plan.located.type.become,
      sftpServer: plan.located.type.sftpServer,
      maxBytes: plan.located.type.maxBytes,
      before: seen.live && { mode: seen.live.mode, uid: seen.live.uid, gid: seen.live.gid },
      address: addressOf(plan.located.vm),
    }
    await this.#parts.catalog.addOperation(operation, journal)
    await this.#parts.failpoint("prepared")
    return { operation, journal }
  }

  /**
   * Steps 4 and 5. Neither touches the live file, so they run side by side, unless the new version must wait for the
   * staging file to tell its owner.
   */
  async #keepAndStage(push: Push, open: OpenOperation, found: PlannedVersion | null): Promise<Kept> {
    const { attempt, session, seen, plan, deadline } = push
    const { keepOwner } = plan.located.type
    const { bytes, mode, owner } = seen
    const stage = () =>
      attempt.stage("stage", async () => {
        const staged = await session.stage(open.journal.stagingPath, { bytes, mode, owner, keepOwner }, deadline.signal)
        await this.#parts.failpoint("staged")
        return staged
      })
    const keep = (attributes: { readonly uid: number; readonly gid: number }) =>
      attempt.stage("keep", () => this.#keep(push, open, found, attributes))
    if (owner && keepOwner) {
      const [staged, kept] = await bothEnd(stage(), keep(owner))
      return { ...kept, warnings: [...kept.warnings, ...ownerWarnings(staged)] }
    }
    const staged = await stage()
    const kept = await keep(staged)
    return { ...kept, warnings: [...kept.warnings, ...ownerWarnings(staged)] }
  }

  async #keep(
    push: Push,
    open: OpenOperation,
    found: PlannedVersion | null,
    owner: { readonly uid: number; readonly gid: number },
  ): Promise<Kept> {
    const { plan, attempt, seen, deadline } = push
    const { keeper, catalog } = this.#parts
    const { madeWrittenId } = open.journal
    const standing = { ...seen, ...owner }
    const after = found?.row.validFrom ?? seen.newest?.validFrom ?? null
    const written = madeWrittenId
      ? keeper.plan(originOf(plan, attempt), "written", standing, {
          backupId: madeWrittenId,
          at: keeper.nextTime(after),
          provisional: true,
        })
      : null
    const planned = [found, written].filter((each) => each !== null)
    try {
      await keeper.putWithin(deadline.remainingMs, planned)
    } catch (error) {
      if (plan.keepVersions) throw error
      await catalog.changeOperation(attempt.operationId, { phase: "kept", backupId: null })
      return { operation: { backupId: null }, warnings: [notKept(asFault(error))] }
    }
    await catalog.changeOperation(attempt.operationId, { phase: "kept" }, { add: planned.map(({ row }) => row) })
    await this.#parts.failpoint("kept")
    return { operation: {}, warnings: [] }
  }

  /** Step 7, and the journal of step 8 beside it: nothing is sent before both are done. */
  async #lookAgain({ plan, session, seen, attempt, deadline }: Push): Promise<void> {
    const looking = standsAsSeen(session, plan.located, seen, deadline.signal)
    const swapping = this.#parts.catalog.changeOperation(attempt.operationId, { phase: "swapping" })
    const [stands] = await bothEnd(looking, swapping)
    deadline.signal.throwIfAborted()
    if (stands) return
    throw new Fault(
      "concurrent_modification",
      "Somebody else changed the file on the VM while this change was being prepared; what they wrote is untouched.",
    )
  }

  /** Steps 8 to 11. From here on no caller can cancel. */
  async #swap(push: Push, open: OpenOperation): Promise<Settled> {
    const { attempt, session, plan, seen } = push
    const { path, stagingPath, oldPath } = open.journal
    const options = { ...readOptions(plan.located), followSymlinks: false }
    const paths = { path, stagingPath, oldPath, replaces: seen.live !== null }
    // Nobody can cancel it, but its caller is answered in time: what is still open then is found out behind them.
    const timer = setTimeout(() => session.abandon(), push.deadline.remainingMs)
    try {
      let report: SwapReport | null = null
      try {
        report = await attempt.stage("swap", () => session.swap(paths, options))
        await this.#parts.failpoint("swapped")
      } catch (error) {
        // A fault on a live session is the VM's refusal; anything else says nothing about the rename. A VM whose files are another
        // host's may refuse what was done: that host's answer was lost, and asked again it has nothing to rename.
        const mayBeDone = session.dead || (await mayHaveReplaced(session, open).catch(() => true))
        if (session.dead || !isFault(error)) return await this.#findOut(push, open, error)
        if (!mayBeDone) return await this.#refuse(push, open, error)
      }
      const known = { before: seen.live, stages: attempt.stages, deadline: push.deadline }
      return await this.#parts.settlement
        .settle(session, open, report, known)
        .catch((error: unknown) => this.#findOut(push, open, error))
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whatever a VM says that refuses a rename: an edit of the last moment may stand under the second name alone. */
  async #refuse(push: Push, open: OpenOperation, error: unknown): Promise<Settled> {
    let names: readonly string[]
    try {
      names = await this.#parts.settlement.replaced.keepOld(push.session, open, {
        before: null,
        deadline: push.deadline,
      })
    } catch {
      return this.#findOut(push, open, error)
    }
    return this.#abandon(push, open, error, names)
  }

  /** The rename was not sent, or refused: the live file is as it was, and all that was made for the push goes. */
  async #abandon(
    push: Push,
    open: OpenOperation,
    error: unknown,
    names: readonly string[] = [open.journal.stagingPath, open.journal.oldPath],
  ): Promise<never> {
    const { session, attempt, seen, deadline } = push
    const { operationId } = attempt
    const fault = asFault(error)
    const known: Known = { before: seen.live, stages: attempt.stages, fault }
    const told = fault.with({ fileState: "unchanged", operationId, backupId: open.operation.backupId })
    let settled: Settled
    try {
      const removing = session.remove(names)
      await inTime(removing, deadline.remainingMs + deadline.graceMs)
      settled = await this.#parts.settlement.fail(open, "unchanged", fault, known)
    } catch {
      // The staging file may still be there, or the journal still be open: the resolver goes on, and the config stays closed
      // until then. The caller need not wait for that.
      session.close()
      // A later process finds the row at `swapping` otherwise, and may take for ours what somebody puts there by hand.
      await this.#parts.settlement.note(open.operation, told).catch(() => {})
      this.#parts.resolver.resolve(atPhase(open, "kept"), known).catch(() => {})
      throw told
    }
    throw settled.applied ? told : settled.fault
  }

  /** The answer to the rename was lost, or the rollback failed: asks the VM until it knows, the caller only for as long as they may wait. */
  async #findOut(push: Push, open: OpenOperation, error: unknown): Promise<Settled> {
    const { attempt, deadline, seen, session } = push
    const { operationId } = attempt
    // Its place among the sessions is needed to ask.
    session.close()
    const resolution = this.#parts.resolver.resolve(open, { before: seen.live, stages: attempt.stages })
    // When the service stops first, the journal keeps the question for the next start.
    resolution.catch(() => {})
    const details = { operationId, backupId: open.operation.backupId }
    if (isFault(error, "rollback_failed")) throw error.with(details)
    const waiting = new AbortController()
    const patience = sleep(deadline.remainingMs, null, { signal: waiting.signal }).catch(() => null)
    const settled = await Promise.race([resolution.catch(() => null), patience])
    waiting.abort()
    if (settled) return settled
    throw new Fault(
      "outcome_unknown",
      `The VM did not answer to the swap and cannot be asked now; it is being found out, see GET /operations/${operationId}.`,
      { ...details, fileState: "unknown", cause: error },
    )
  }
}

/** What step 4 changed in the operation, and what the caller should know. */
interface Kept {
  readonly operation: Partial<Operation>
  readonly warnings: readonly Warning[]
}

/** What the versions of a push share. */
export function originOf(plan: PushPlan, attempt: Attempt): VersionOrigin {
  const { actor, reason } = plan.caller
  return { ref: refOf(plan.located), path: plan.located.path, operationId: attempt.operationId, actor, reason }
}

function atPhase(open: OpenOperation, phase: Phase): OpenOperation {
  return { ...open, journal: { ...open.journal, phase } }
}

function ownerWarnings(staged: StageReport): readonly Warning[] {
  if (staged.ownerKept) return []
  const message = `The file's owner could not be kept (keep_owner: false): it now belongs to ${staged.uid}:${staged.gid}.`
  return [{ code: "owner_changed", message }]
}

function notKept(fault: Fault): Warning {
  return { code: "version_not_kept", message: `The old bytes were not kept, not even for a rollback: ${fault.message}` }
}
