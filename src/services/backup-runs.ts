import { setTimeout as sleep } from "node:timers/promises"
import { v7 as uuidv7 } from "uuid"
import type { Caller } from "../domain/caller.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import { cutoffOf, leastRetentionDays } from "../domain/retention.ts"
import type { NewRun, Run, RunItem } from "../domain/run.ts"
import type { Trigger } from "../domain/version.ts"
import { asFault, problemOf, type StatusOf } from "./attempt.ts"
import type { Backups } from "./backups.ts"
import { type Selection, selectConfigs } from "./selection.ts"

/** What to make backups of. */
export interface BackupOrder {
  readonly select: Selection
  /** null: every type that a VM has a path for. */
  readonly types: readonly string[] | null
}

interface Parts {
  readonly inventory: () => Inventory
  readonly backups: Pick<Backups, "create">
  readonly catalog: Catalog
  readonly clock: Clock
  readonly statusOf: StatusOf
  /** Configs that are read at the same time, over all runs. */
  readonly parallel: number
  /** Aborts when the service ends and what is under way is given up. */
  readonly stopping: AbortSignal
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
}

/** Runs under way at once. */
const mostRuns = 8
/** Of one VM, so that a VM that answers slowly does not hold up the others. */
const mostPerVm = 2
/** Failures that a run names. */
const mostFailures = 1000
/** Finished runs that are kept. */
const mostKept = 1000
/** A config that is busy or in doubt is tried again so often. */
const mostTries = 3

/** A run under way: what is left of it, and of each VM how many configs are being read. */
interface Underway {
  readonly run: NewRun
  readonly left: ConfigRef[]
  readonly busy: Map<string, number>
}

/** Backups of many configs, as one run: on record from its first moment, and taken up again after a restart. */
export class BackupRuns {
  readonly #parts: Parts
  readonly #underway = new Set<Underway>()
  readonly #running = new Set<Promise<void>>()
  /** Aborts when no target is to be begun any more. */
  readonly #ending = new AbortController()
  #working = 0
  /** Runs that are being put on record. */
  #starting = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Begins a run. Resolves once it is on record; the work goes on behind.
   * @throws {Fault} `invalid_body` for a selection that is wrong or names nothing, `config_busy`, as Catalog
   */
  async start({ select, types }: BackupOrder, caller: Caller, trigger: Trigger = "manual"): Promise<Run> {
    const { inventory, catalog, clock } = this.#parts
    const targets = selectConfigs(select, types, inventory())
    this.#ending.signal.throwIfAborted()
    if (this.#underway.size + this.#starting >= mostRuns) {
      throw new Fault("config_busy", `${mostRuns} backup runs are under way already; try again when one has ended.`, {
        retryAfterSeconds: 5,
      })
    }
    const { actor, reason, requestId } = caller
    const startedAt = clock().toISOString()
    const run: NewRun = { runId: uuidv7(), kind: "backup", trigger, actor, reason, requestId, startedAt, targets }
    this.#starting += 1
    await catalog.addRun(run).finally(() => {
      this.#starting -= 1
    })
    const counts = { total: targets.length, made: 0, unchanged: 0, failed: 0, unreachable: 0 }
    this.#begin(run)
    return { runId: run.runId, state: "running", counts, failures: [], startedAt, finishedAt: null }
  }

  /** @throws {Fault} `run_not_found` */
  async get(runId: string): Promise<Run> {
    const run = await this.#parts.catalog.getRun(runId, mostFailures)
    if (!run) throw new Fault("run_not_found", `No run "${runId}" is in the catalog.`)
    return run
  }

  /** Takes up the runs that an earlier process left open. @returns how many */
  async resume(): Promise<number> {
    const open = await this.#parts.catalog.openRuns()
    for (const run of open) this.#begin(run)
    return open.length
  }

  /** Removes runs that ended long ago. @param now the time that retention goes by */
  prune(now: Date): Promise<void> {
    return this.#parts.catalog.pruneRuns(cutoffOf(now, leastRetentionDays), mostKept)
  }

  /** Begins nothing any more, and resolves once nothing is under way: what is left is for the next start. */
  async stop(): Promise<void> {
    this.#ending.abort(new Fault("shutting_down", "The service is stopping; no run is begun."))
    await Promise.all(this.#running)
  }

  #begin(run: NewRun): void {
    const underway = { run, left: [...run.targets], busy: new Map() }
    this.#underway.add(underway)
    // A run whose every target was done, but for the note that it was.
    if (underway.left.length === 0) this.#keep(this.#finish(underway))
    this.#fill()
  }

  /** Gives every free place to the next config, run by run in turn. */
  #fill(): void {
    if (this.#ending.signal.aborted) return
    for (let given = true; given; ) {
      given = false
      for (const underway of this.#underway) {
        if (this.#working >= this.#parts.parallel) return
        const target = nextOf(underway)
        if (!target) continue
        given = true
        this.#keep(this.#do(underway, target))
      }
    }
  }

  async #do(underway: Underway, target: ConfigRef): Promise<void> {
    const { run, busy, left } = underway
    this.#working += 1
    busy.set(target.vmId, (busy.get(target.vmId) ?? 0) + 1)
    const item = await this.#keepVersion(run, target)
    if (item) await this.#note(run, item)
    this.#working -= 1
    const still = (busy.get(target.vmId) ?? 1) - 1
    if (still > 0) busy.set(target.vmId, still)
    else busy.delete(target.vmId)
    if (left.length === 0 && busy.size === 0 && item) await this.#finish(underway)
    this.#fill()
  }

  /** @returns null where the service ended before it was done: the next start does it */
  async #keepVersion(run: NewRun, target: ConfigRef): Promise<RunItem | null> {
    const { actor, reason, requestId, runId, trigger } = run
    const caller = { actor, reason, requestId: requestId ?? runId, signal: this.#parts.stopping }
    for (let tried = 1; ; tried += 1) {
      try {
        const { made } = await this.#parts.backups.create(target, caller, trigger)
        return { ...target, outcome: made ? "made" : "unchanged", problem: null }
      } catch (error) {
        const fault = asFault(error)
        const mayPass = isFault(fault, "config_busy", "operation_in_doubt") && tried < mostTries
        if (mayPass && (await this.#wait(fault.details.retryAfterSeconds ?? 1))) continue
        if (mayPass || this.#parts.stopping.aborted || fault.code === "shutting_down") return null
        const outcome = fault.code === "vm_unreachable" ? "unreachable" : "failed"
        return { ...target, outcome, problem: problemOf(fault, this.#parts.statusOf) }
      }
    }
  }

  /** @returns false where the service ends meanwhile */
  #wait(seconds: number): Promise<boolean> {
    return sleep(seconds * 1000, true, { signal: this.#ending.signal, ref: false }).catch(() => false)
  }

  /** What cannot be noted is not known to be done: the run stays open, and the next start does it again. */
  async #note(run: NewRun, item: RunItem): Promise<void> {
    await this.#parts.catalog.noteRunItem(run.runId, item).catch((error: unknown) => {
      this.#parts.onProblem(`run ${run.runId} could not note how ${item.vmId}/${item.type} ended`, error)
    })
  }

  async #finish(underway: Underway): Promise<void> {
    const { catalog, clock, onProblem } = this.#parts
    const { runId } = underway.run
    this.#underway.delete(underway)
    try {
      const run = await catalog.getRun(runId, 0)
      const { total = 0, ...outcomes } = run?.counts ?? {}
      const noted = Object.values(outcomes).reduce((sum, each) => sum + each, 0)
      if (noted === total) await catalog.finishRun(runId, clock().toISOString())
    } catch (error) {
      onProblem(`run ${runId} could not note that it has ended; the next start does`, error)
    }
  }

  #keep(work: Promise<void>): void {
    const kept = work.finally(() => this.#running.delete(kept))
    this.#running.add(kept)
  }
}

/** The next config whose VM is not taken up by this run already. */
function nextOf({ left, busy }: Underway): ConfigRef | null {
  const index = left.findIndex(({ vmId }) => (busy.get(vmId) ?? 0) < mostPerVm)
  return index < 0 ? null : (left.splice(index, 1)[0] ?? null)
}
