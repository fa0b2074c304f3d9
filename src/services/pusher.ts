import { posix } from "node:path"
import type { Caller } from "../domain/caller.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { PushReport } from "../domain/report.ts"
import type { Session, Transport } from "../domain/transport.ts"
import { Attempt, asFault, problemOf, type StatusOf } from "./attempt.ts"
import type { ConfigLocks } from "./config-locks.ts"
import { withDeadline } from "./deadline.ts"
import { lookAtLive } from "./live-look.ts"
import { type Comparison, compare, type PushPlan, refOf, reportOf, stagingPathOf } from "./push-plan.ts"
import { originOf, type Push, type PushWriter } from "./push-writer.ts"
import type { Resolver } from "./resolver.ts"
import type { OperationObserver } from "./settlement.ts"
import type { StandingKeeper } from "./standing-keeper.ts"
import { standsFor, type VersionKeeper } from "./version-keeper.ts"

interface Parts {
  readonly transport: Transport
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly locks: ConfigLocks
  readonly writer: PushWriter
  readonly resolver: Resolver
  readonly standing: StandingKeeper
  readonly clock: Clock
  readonly statusOf: StatusOf
  readonly observe: OperationObserver
  /** Aborts when the service ends: what has written nothing yet is given up. */
  readonly stopping: AbortSignal
  /** One change's limit of time on a VM. */
  readonly timeoutMs: number
}

/** THE one road by which bytes reach a VM (DESIGN 3.2): one change at a time per config, each attempt on record. */
export class Pusher {
  readonly #parts: Parts
  /** Configs of which a foreign `<path>.new` was told already. */
  readonly #told = new Set<string>()
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Puts a config in place, or leaves all as it was. What it throws is put on record by `refused`.
   * @throws {Fault} with `fileState`, `operationId` and, where one was kept, `backupId`
   */
  async push(plan: PushPlan, attempt: Attempt): Promise<PushReport> {
    const report = await this.alone(refOf(plan.located), plan.caller, () =>
      this.#withSession(plan, attempt, async (push) => {
        await this.#parts.resolver.clear(push.session, refOf(plan.located))
        return push.seen.same ? this.#leave(push) : this.#parts.writer.write(push)
      }),
    )
    this.#told.add(keyOf(refOf(plan.located)))
    return report
  }

  /** What `push` would do, with the same faults: nothing is changed anywhere, no operation is left. */
  async rehearse(plan: PushPlan): Promise<Comparison> {
    this.#parts.locks.refuseDoubt(refOf(plan.located))
    const attempt = new Attempt("write", refOf(plan.located), plan.caller, this.#parts.clock)
    return this.#withSession(plan, attempt, async ({ seen }) => {
      const isKept = seen.same && seen.live !== null && standsFor(seen.newest, seen.live, plan.located.path)
      if (!plan.keepVersions || isKept) return seen
      const store = await this.#parts.keeper.blobs.health()
      if (!store.ok) throw new Fault(store.code, store.detail, { fileState: "unchanged" })
      return seen
    })
  }

  /** Refuses at once where the outcome of an earlier change is open. @throws {Fault} `operation_in_doubt` */
  requireSettled(plan: Pick<PushPlan, "located">): void {
    this.#parts.locks.refuseDoubt(refOf(plan.located))
  }

  /** Does `work` while no push changes the config, in its turn. @throws {Fault} `config_busy`, `operation_in_doubt` */
  alone<T>(ref: ConfigRef, caller: Caller, work: () => Promise<T>): Promise<T> {
    const ending = this.#inTurn(ref, caller, work)
    const forget = (): void => void this.#underWay.delete(ending)
    this.#underWay.add(ending)
    ending.then(forget, forget)
    return ending
  }

  /** Resolves when nothing is under way: what has begun to write goes on when its caller has left, and no request tells of it then. */
  async drained(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay)
  }

  async #inTurn<T>(ref: ConfigRef, caller: Caller, work: () => Promise<T>): Promise<T> {
    return withDeadline([caller.signal, this.#parts.stopping], 2 * this.#parts.timeoutMs, async ({ signal }) => {
      const release = await this.#parts.locks.acquire(ref, signal)
      try {
        return await work()
      } finally {
        release()
      }
    })
  }

  /** Leaves the row of an attempt that ended before anything was prepared; returns its fault with what a client needs. */
  async refused(attempt: Attempt, error: unknown): Promise<Fault> {
    const fault = asFault(error)
    if (fault.details.operationId === attempt.operationId) return fault
    const told = fault.with({
      fileState: fault.details.fileState ?? "unchanged",
      operationId: fault.details.operationId ?? attempt.operationId,
    })
    const problem = problemOf(told, this.#parts.statusOf)
    const row = attempt.ended({ state: "failed", fileState: "unchanged", problem })
    // A catalog that cannot take the row must not hide why the attempt failed.
    await this.#parts.catalog.addOperation(row, null).catch(() => {})
    this.#parts.observe(row, told)
    return told
  }

  #withSession<T>(plan: PushPlan, attempt: Attempt, work: (push: Push) => Promise<T>): Promise<T> {
    const { vm, type } = plan.located
    return withDeadline([plan.caller.signal, this.#parts.stopping], this.#parts.timeoutMs, async (deadline) => {
      const options = { become: type.become, sftpServer: type.sftpServer, signal: deadline.signal }
      const session = await attempt.stage("connect", () => this.#parts.transport.open(vm, options))
      try {
        const seen = await attempt.stage("read", () => this.#look(plan, attempt, session, deadline.signal))
        return await work({ plan, attempt, session, deadline, seen })
      } finally {
        session.close()
      }
    })
  }

  /** Steps 1 and 2: what stands there, and whether it may be replaced. */
  async #look(plan: PushPlan, attempt: Attempt, session: Session, signal: AbortSignal): Promise<Comparison> {
    const { path } = plan.located
    // Beside the look, so that it costs no round trip; what comes of it counts only where something is to be written.
    const place = (at: string) => session.requirePlace(stagingPathOf(at, attempt.operationId), signal)
    const placing = place(path)
    placing.catch(() => {})
    const [live, foreign, newest] = await Promise.all([
      lookAtLive(session, plan.located, signal),
      this.#told.has(keyOf(refOf(plan.located))) ? false : session.exists(`${path}.new`, signal),
      this.#parts.keeper.newest(refOf(plan.located)),
    ])
    const seen = compare(plan, live, newest, foreign)
    if (seen.same) return seen
    // Where a symlink is followed it is the name that it leads to that counts.
    const isNamed = posix.basename(seen.realPath) === posix.basename(path)
    await (isNamed ? placing : place(seen.realPath))
    return seen
  }

  /** Nothing to write. What stands there was acknowledged, so it is kept, unless a version is that already. */
  async #leave({ plan, attempt, seen, deadline }: Push): Promise<PushReport> {
    const { standing: standingKeeper } = this.#parts
    const { live: standing, newest } = seen
    if (standing === null) throw new Error("nothing stands there, so it cannot be unchanged")
    const { operationId } = attempt
    const ended = { backupId: null, versionId: null, operationId }
    if (!plan.keepVersions) {
      const versionId = standsFor(newest, standing, plan.located.path) ? (newest?.backupId ?? null) : null
      await standingKeeper.end(attempt, standing, versionId)
      return reportOf(plan, seen, { ...ended, backupId: versionId, versionId })
    }
    const origin = originOf(plan, attempt)
    const kept = { origin, standing, newest, trigger: "found", state: "unchanged" } as const
    const { backupId } = await standingKeeper.keep(attempt, kept, deadline.remainingMs)
    return reportOf(plan, seen, { ...ended, backupId, versionId: backupId })
  }
}
