import type { Catalog } from "../domain/catalog.ts"
import type { Journal, OpenOperation, Operation, OperationState } from "../domain/operation.ts"
import type { Trigger, Version } from "../domain/version.ts"
import { type Attempt, asFault } from "./attempt.ts"
import type { Resolver } from "./resolver.ts"
import type { OperationObserver, Settlement } from "./settlement.ts"
import {
  type PlannedVersion,
  type Standing,
  standsFor,
  type VersionKeeper,
  type VersionOrigin,
} from "./version-keeper.ts"

interface Parts {
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly settlement: Settlement
  readonly resolver: Resolver
  readonly observe: OperationObserver
}

/** What is to be kept, and how the attempt ends once it is. */
export interface StandingPlan {
  readonly origin: VersionOrigin
  readonly standing: Standing
  readonly newest: Version | null
  readonly trigger: Trigger
  /** State of the operation when a version was made; `unchanged` otherwise. */
  readonly state: OperationState
}

/** Keeps what stands on a VM where nothing is to be written there. */
export class StandingKeeper {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Ends the attempt with a version of what stands there: the newest, where it is that already, else a new one.
   * @param limitMs how long its caller waits for the store
   * @throws {Fault} `storage_full`, `backup_storage_unavailable`, `storage_busy`: nothing is left
   */
  async keep(
    attempt: Attempt,
    plan: StandingPlan,
    limitMs?: number,
  ): Promise<{ readonly made: boolean; readonly backupId: string }> {
    const { standing, newest } = plan
    if (newest && standsFor(newest, standing, plan.origin.path)) {
      await this.end(attempt, standing, newest.backupId)
      return { made: false, backupId: newest.backupId }
    }
    const { keeper, catalog, observe } = this.#parts
    const at = keeper.nextTime(newest?.validFrom ?? null)
    const made = keeper.plan(plan.origin, plan.trigger, standing, { at, provisional: false })
    const open = await this.#prepare(attempt, plan, made)
    const { backupId } = made.row
    try {
      await attempt.stage("keep", () =>
        limitMs === undefined ? keeper.put([made]) : keeper.putWithin(limitMs, [made]),
      )
      const row = attempt.ended(members(standing, plan.state, backupId))
      const { state, fileState, finishedAt, stages } = row
      const change = { state, fileState, finishedAt: finishedAt ?? undefined, stages, versionId: backupId }
      await catalog.changeOperation(row.operationId, { ...change, phase: "done" }, { add: [made.row] })
      observe(row, null)
    } catch (error) {
      await this.#drop(attempt, open, error)
    }
    return { made: true, backupId }
  }

  /** Ends the attempt as `unchanged`, without a version of its own. */
  async end(attempt: Attempt, standing: Standing, backupId: string | null): Promise<Operation> {
    const row = attempt.ended(members(standing, "unchanged", backupId))
    await this.#parts.catalog.addOperation(row, null)
    this.#parts.observe(row, null)
    return row
  }

  /** From here on a restart knows of the blob that is about to come. */
  async #prepare(attempt: Attempt, { origin, standing }: StandingPlan, made: PlannedVersion): Promise<OpenOperation> {
    const operation = attempt.row({
      ...members(standing, "running", made.row.backupId),
      fileState: null,
      versionId: null,
    })
    const { mode, uid, gid } = standing
    const journal: Journal = {
      phase: "prepared",
      path: origin.path,
      stagingPath: "",
      oldPath: "",
      mode,
      uid,
      gid,
      madeFoundId: made.row.backupId,
      madeWrittenId: null,
      keepVersions: true,
      become: false,
      sftpServer: null,
      maxBytes: standing.bytes.length,
      before: { mode, uid, gid },
    }
    await this.#parts.catalog.addOperation(operation, journal)
    return { operation, journal }
  }

  async #drop(attempt: Attempt, open: OpenOperation, error: unknown): Promise<never> {
    const fault = asFault(error)
    const known = { before: null, stages: attempt.stages, fault }
    let told = fault.with({ fileState: "unchanged", operationId: attempt.operationId, backupId: null })
    try {
      const settled = await this.#parts.settlement.fail(open, "unchanged", fault, known)
      if (!settled.applied) told = settled.fault
    } catch {
      // The journal is still open: nobody else may change the config until its end is kept.
      this.#parts.resolver.resolve(open, known).catch(() => {})
    }
    throw told
  }
}

function members(standing: Standing, state: OperationState, backupId: string | null): Partial<Operation> {
  const { digest } = standing
  return { state, fileState: "unchanged", digest, previousDigest: digest, backupId, versionId: backupId }
}
