import { setTimeout as sleep } from "node:timers/promises"
import type { Catalog } from "../domain/catalog.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { OpenOperation } from "../domain/operation.ts"
import type { Session, Transport } from "../domain/transport.ts"
import type { Vm } from "../domain/vm.ts"
import type { ConfigLocks } from "./config-locks.ts"
import { requireEnabled } from "./push-conditions.ts"
import { type Rights, rightsFor } from "./rights.ts"
import type { Known, Settlement } from "./settlement.ts"
import { isEarly } from "./verdict.ts"

/**
 * ms after an operation's end. Held by a stalled network, or by the buffers of a jump host, a segment of a connection that we
 * have long given up can arrive as long as the host before the stall sends it again: some two minutes on Linux.
 */
const defaultLooksMs: readonly number[] = [1_000, 10_000, 60_000, 600_000]
export interface LateLookParts {
  readonly inventory: () => Inventory
  readonly catalog: Pick<Catalog, "getOperation">
  readonly transport: Transport
  readonly settlement: Settlement
  readonly locks: ConfigLocks
  /** When to look; given by tests. Empty: never. */
  readonly lateLooksMs?: readonly number[]
}

/** Does `work` in a session on the VM. */
type InSession = <T>(work: (session: Session) => Promise<T>) => Promise<T>

/**
 * What a push that lost its connection may leave after its end: an `open` of the staging file, or the second name of the live
 * one, that was under way all the time and arrives when nobody waits for it any more. Its names are nobody else's, so they
 * are looked for a few times and removed. The journal is open until the last look was had, so that a restart goes on, also with a VM
 * that comes back to the settings after years.
 */
export class LateLooks {
  readonly #parts: LateLookParts
  readonly #looksMs: readonly number[]
  readonly #stopping: AbortSignal
  readonly #followed = new Set<OpenOperation>()

  constructor(parts: LateLookParts, stopping: AbortSignal) {
    this.#parts = parts
    this.#looksMs = parts.lateLooksMs ?? defaultLooksMs
    this.#stopping = stopping
  }

  /** Whether anything of `open` can come late: a backup writes nothing on its VM. */
  concerns({ journal }: OpenOperation): boolean {
    return journal.stagingPath !== "" && this.#looksMs.length > 0
  }

  /** Takes up an operation that has ended. Rejects with the reason of the service's stop only. */
  async follow(open: OpenOperation, endedMsAgo: number, { earlier = false }: Pick<Known, "earlier">): Promise<void> {
    this.#followed.add(open)
    try {
      if (this.concerns(open)) await this.#look(open, endedMsAgo)
    } finally {
      this.#followed.delete(open)
    }
    const dropped = await this.#parts.settlement.dropUnkept(open, earlier).catch(() => false)
    if (dropped) await this.#parts.settlement.close(open.operation).catch(() => {})
  }

  /**
   * Before a change of a config whose lock is held: a VM that left the settings was not asked how an earlier one ended, and a rename
   * that is still under way would undo this one. It is to find nothing. @throws {Fault}
   */
  async clear(session: Session, { vmId, type }: ConfigRef): Promise<void> {
    for (const open of this.#followed) {
      const { operation } = open
      if (operation.vmId !== vmId || operation.type !== type) continue
      const ended = await this.#parts.catalog.getOperation(operation.operationId)
      if (ended?.problem?.code === "outcome_unknown") await this.#parts.settlement.replaced.clearLate(session, open)
    }
  }

  async #look(open: OpenOperation, endedMsAgo: number): Promise<void> {
    // What fell due while nobody could look is one look; a clock that ran backwards puts nothing off.
    const passedMs = Math.max(0, endedMsAgo)
    const waits = [...new Set(this.#looksMs.map((ms) => Math.max(0, ms - passedMs)))]
    const startedAt = performance.now()
    let isQuiet = false
    for (const wait of waits) {
      await this.#sleep(wait - (performance.now() - startedAt))
      isQuiet = await this.#tryOnce(open)
    }
    // A VM that could not be reached at the last look, or is not in the settings, is tried again, each time after as long as that
    // took to come.
    while (!isQuiet) {
      await this.#sleep(this.#looksMs.at(-1) ?? 0)
      isQuiet = await this.#tryOnce(open)
    }
  }

  #sleep(ms: number): Promise<void> {
    return sleep(Math.max(0, ms), undefined, { signal: this.#stopping, ref: false })
  }

  /** @returns whether the names are known to be gone: on a VM that has left the settings nobody can tell until it is back */
  async #tryOnce(open: OpenOperation): Promise<boolean> {
    const inventory = this.#parts.inventory()
    const vm = inventory.vms.find(({ vmId }) => vmId === open.operation.vmId)
    if (!vm) return false
    for (const rights of rightsFor(open, inventory)) {
      try {
        requireEnabled(vm)
        await this.#clean(open, (work) => this.#withSession(vm, rights, work))
        return true
      } catch {
        // The next look follows; who goes on meanwhile is not in its way.
        this.#stopping.throwIfAborted()
      }
    }
    return false
  }

  async #clean(open: OpenOperation, inSession: InSession): Promise<void> {
    const { stagingPath, oldPath } = open.journal
    const work = await this.#workOnStaging(open)
    const left = await inSession(async (session) => {
      if (work === null) await session.remove([stagingPath])
      const isStaged = work !== null && (await session.exists(stagingPath))
      return { isStaged, hasOld: await session.exists(oldPath) }
    })
    if (work !== null && left.isStaged) await this.#alone(open, work, inSession)
    if (left.hasOld) await this.#alone(open, "removeLate", inSession)
  }

  /**
   * What to do with what stands under the name of the staging file. null: it is ours, and goes. Once a rollback may have begun, it
   * can be what that replaced; and the rename that took a created file away again takes, late, what stands there then.
   */
  async #workOnStaging(open: OpenOperation): Promise<"clearLate" | "giveBackLate" | null> {
    const { operation } = open
    if (isEarly(open)) return null
    const ended = await this.#parts.catalog.getOperation(operation.operationId)
    if (ended?.fileState === "unchanged") return null
    return ended?.state === "rolled_back" && operation.previousDigest === null ? "giveBackLate" : "clearLate"
  }

  /**
   * What stands under a late name may have to become a version, or go back: nobody else changes the config meanwhile. The lock
   * comes before the session, as for a push: with few sessions at once each would wait for the other otherwise.
   */
  async #alone(
    open: OpenOperation,
    work: "removeLate" | "clearLate" | "giveBackLate",
    inSession: InSession,
  ): Promise<void> {
    const release = await this.#parts.locks.acquire(open.operation, this.#stopping)
    try {
      await inSession((session) => this.#parts.settlement.replaced[work](session, open))
    } finally {
      release()
    }
  }

  async #withSession<T>(vm: Vm, rights: Rights, work: (session: Session) => Promise<T>): Promise<T> {
    const session = await this.#parts.transport.open(vm, { ...rights, signal: this.#stopping })
    try {
      return await work(session)
    } finally {
      session.close()
    }
  }
}
