import { setTimeout as sleep } from "node:timers/promises"
import { isDeepStrictEqual } from "node:util"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { Fault, type FileState, isFault } from "../domain/fault.ts"
import { addressOf, type OpenOperation, type Operation, type OperationState } from "../domain/operation.ts"
import type { Session } from "../domain/transport.ts"
import type { Vm } from "../domain/vm.ts"
import { problemOf, type StatusOf } from "./attempt.ts"
import { type LateLookParts, LateLooks } from "./late-looks.ts"
import { requireEnabled } from "./push-conditions.ts"
import { isRefusedRemoval } from "./replaced-files.ts"
import { rightsFor } from "./rights.ts"
import type { Known, Settled } from "./settlement.ts"
import { foreign } from "./settlement-faults.ts"
import { isEarly, isInPlace } from "./verdict.ts"

/** Waits between tries to reach a VM whose push has an open outcome, then the last one for ever (DESIGN 3.2). */
const backoffMs = [200, 500, 1000, 2000, 5000, 30_000]

interface Parts extends LateLookParts {
  readonly catalog: Catalog
  readonly clock: Clock
  readonly statusOf: StatusOf
  /** Told of errors that end nothing: the try failed, the next one follows. */
  readonly onRetry?: (operationId: string, error: unknown) => void
}

/** What the tries to find out of one operation know of each other. */
interface Memory {
  /** The staging file stood when the VM was first asked; no later try will find it. */
  wasStaged: boolean
  /** How many have failed. */
  failed: number
}

/** Finds out how pushes ended whose outcome is open, and brings them to their end. Goes on in the background until it knows. */
export class Resolver {
  readonly #parts: Parts
  readonly #stopping = new AbortController()
  readonly #running = new Set<Promise<unknown>>()
  readonly #lateLooks: LateLooks

  constructor(parts: Parts) {
    this.#parts = parts
    this.#lateLooks = new LateLooks(parts, this.#stopping.signal)
  }

  /**
   * Takes up every operation that an earlier process left open.
   * @returns how many have not ended, once the affected configs are closed to others
   */
  async takeUp(): Promise<number> {
    const all = await this.#parts.catalog.openOperations()
    const open = all.filter(({ journal }) => journal.phase !== "tidying")
    for (const each of open) {
      // The answer comes with the operation's end; a fault of the resolver itself is told by onRetry.
      this.resolve(each, { before: null, stages: each.operation.stages, earlier: true }).catch(() => {})
    }
    for (const each of all) {
      const { finishedAt } = each.operation
      if (each.journal.phase === "tidying" && finishedAt !== null) {
        this.#follow(each, this.#parts.clock().getTime() - Date.parse(finishedAt), { earlier: true })
      }
    }
    return open.length
  }

  /**
   * Resolves one operation; its config stays closed (409 `operation_in_doubt`) until then.
   * @returns how it ended; rejects with the reason of `stop` only
   */
  resolve(open: OpenOperation, known: Known): Promise<Settled> {
    this.#parts.locks.doubt(open.operation, open.operation.operationId)
    const work = this.#tryUntilKnown(open, known)
    return this.#track(work)
  }

  /** As `LateLooks.clear`. */
  clear(session: Session, ref: ConfigRef): Promise<void> {
    return this.#lateLooks.clear(session, ref)
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work)
    return work.finally(() => this.#running.delete(work))
  }

  #follow(ended: OpenOperation, endedMsAgo: number, known: Pick<Known, "earlier">): void {
    this.#track(this.#lateLooks.follow(ended, endedMsAgo, known)).catch(() => {})
  }

  /** Ends all tries; what is open stays in the journal for the next start. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Fault("shutting_down", "The service is stopping."))
    await Promise.allSettled(this.#running)
    await this.#parts.settlement.drained()
  }

  async #tryUntilKnown(open: OpenOperation, known: Known): Promise<Settled> {
    const { operationId } = open.operation
    const memory: Memory = { wasStaged: false, failed: 0 }
    let current = await this.#noteDoubt(open)
    for (; ; memory.failed += 1) {
      try {
        current = await this.#rollingBack(current)
        const late = this.#lateLooks.concerns(current)
        const release = () => this.#parts.locks.settle(open.operation)
        const settled = await this.#tryOnce(current, { ...known, release, late }, memory)
        if (late && (!settled.applied || settled.isLeft)) this.#follow(current, 0, known)
        return settled
      } catch (error) {
        this.#parts.onRetry?.(operationId, error)
        current = await this.#noteFailure(await this.#noteDoubt(current), error)
      }
      await sleep(backoffMs[Math.min(memory.failed, backoffMs.length - 1)], undefined, {
        signal: this.#stopping.signal,
        ref: false,
      })
    }
  }

  async #tryOnce(open: OpenOperation, known: Known, memory: Memory): Promise<Settled> {
    this.#stopping.signal.throwIfAborted()
    const { journal } = open
    // A version of what was found: nothing was to be written, so nobody need be asked.
    if (journal.stagingPath === "") return this.#parts.settlement.fail(open, "unchanged", interrupted(), known)
    // Its journal says all else: a type that left the settings meanwhile keeps nothing from being found out.
    const inventory = this.#parts.inventory()
    const vm = inventory.vms.find(({ vmId }) => vmId === open.operation.vmId)
    if (!vm) return this.#parts.settlement.fail(open, "unknown", leftTheSettings(), known)
    requireEnabled(vm)
    const rights = rightsFor(open, inventory)
    const turn = rights[memory.failed % rights.length] ?? rights[0]
    const session = await this.#parts.transport.open(vm, { ...turn, signal: this.#stopping.signal })
    try {
      // While the staging file stands, what it holds was never put in place, and nobody was told that it was.
      memory.wasStaged ||= journal.phase !== "rolling_back" && (await session.exists(journal.stagingPath))
      const { wasStaged } = memory
      const told = {
        ...known,
        earlier: known.earlier && !wasStaged,
        unsent: wasStaged || isEarly(open),
        left: known.earlier && wasStaged,
        elsewhere: hasMoved(vm, open),
      }
      if (told.left) await this.#keepLeft(session, open, told)
      if (isEarly(open)) {
        const fault = known.fault ?? toldFault(open.operation)
        const isThere = fault === null && (await isInPlace(session, open))
        if (!isThere) return await this.#tidy(session, open, told, "unchanged", fault ?? interrupted())
        if (!(await this.#mayBeSent(session, open)))
          return await this.#tidy(session, open, { ...told, stands: true }, "unknown", foreign())
      }
      return await this.#parts.settlement.settle(session, open, null, told)
    } finally {
      session.close()
    }
  }

  /**
   * Whether the new bytes that stand there may be by a rename of which the catalog does not know: one that lost its last writes, or is
   * an older copy of itself, says less than was done. The second name shows it; so does the version of the new bytes where the
   * catalog did not have it (OpenPushes). Without that version it cannot have been sent.
   */
  async #mayBeSent(session: Session, { journal: { phase, madeWrittenId, oldPath } }: OpenOperation): Promise<boolean> {
    if (madeWrittenId !== null && !(await this.#parts.settlement.isProvisional(madeWrittenId))) return false
    return (madeWrittenId !== null && phase === "prepared") || session.exists(oldPath)
  }

  /** In an older copy of the catalog, what stands under the name of the staging file may be what a rollback has replaced since. */
  async #keepLeft(session: Session, open: OpenOperation, known: Known): Promise<void> {
    try {
      await this.#parts.settlement.replaced.keepReplaced(session, open, known)
    } catch (error) {
      // One that was not whole yet may have a mode that keeps us out: it was to be refused for it.
      if (!isEarly(open) || !isFault(error, "vm_permission_denied")) throw error
    }
  }

  /** The rename was never sent, or refused: what the two names can be is ours alone. */
  async #tidy(
    session: Session,
    open: OpenOperation,
    known: Known,
    fileState: FileState,
    fault: Fault,
  ): Promise<Settled> {
    try {
      await session.remove(await this.#parts.settlement.replaced.keepOld(session, open, known))
    } catch (error) {
      // The live file is as it was, and nobody need wait.
      if (!known.late || !isRefusedRemoval(session, error)) throw error
    }
    return this.#parts.settlement.fail(open, fileState, fault, known)
  }

  /** A try that began to put the old bytes back has said so in the journal: what stands there then is read in that light. */
  async #rollingBack(open: OpenOperation): Promise<OpenOperation> {
    if (open.journal.phase !== "swapping") return open
    const all = await this.#parts.catalog.openOperations()
    const kept = all.find(({ operation }) => operation.operationId === open.operation.operationId)
    if (kept?.journal.phase !== "rolling_back") return open
    return { ...open, journal: { ...open.journal, phase: "rolling_back" } }
  }

  /** Shows in the operation that its outcome is open, before anybody is told so. Until the rename may have been sent it is not. */
  async #noteDoubt(open: OpenOperation): Promise<OpenOperation> {
    if (isEarly(open) || open.operation.state !== "running") return open
    return this.#note(open, "in_doubt", { fileState: "unknown", problem: null })
  }

  async #noteFailure(open: OpenOperation, error: unknown): Promise<OpenOperation> {
    if (!isFault(error, "rollback_failed")) return open
    const fileState = error.details.fileState ?? "unknown"
    return this.#note(open, "failed", { fileState, problem: problemOf(error, this.#parts.statusOf) })
  }

  /** A catalog that does not take it now takes it with the next change. */
  async #note(
    open: OpenOperation,
    state: OperationState,
    change: Pick<Operation, "fileState" | "problem">,
  ): Promise<OpenOperation> {
    if (open.operation.state === state) return open
    try {
      await this.#parts.catalog.changeOperation(open.operation.operationId, { state, ...change })
      return { ...open, operation: { ...open.operation, state, ...change } }
    } catch {
      return open
    }
  }
}

/**
 * Whether the VM may be another machine by now than the one that the push was sent to: behind another jump host an address names
 * another one, and another SSH user may have another root directory.
 */
function hasMoved(vm: Vm, { journal: { address } }: OpenOperation): boolean {
  return address !== undefined && !isDeepStrictEqual({ ...addressOf(vm), ...address }, addressOf(vm))
}

/** What an earlier process has told its caller; null: nothing, as far as it is known. */
function toldFault({ problem }: Operation): Fault | null {
  return problem && new Fault(problem.code, problem.detail)
}

function interrupted(): Fault {
  return new Fault(
    "connection_lost",
    "The change was interrupted before anything was put in place; the file is as it was.",
  )
}

function leftTheSettings(): Fault {
  return new Fault(
    "outcome_unknown",
    "The VM left the settings before the outcome was known; look at the file on the VM.",
  )
}
