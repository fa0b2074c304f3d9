import { Fault } from "../domain/fault.ts"
import { Gate, Gates, type Release } from "./gate.ts"

/** Sessions that may wait for a slot, per slot. */
const waitingPerSlot = 64

/**
 * How many sessions there may be at once: over all VMs, and on one of them a quarter of that (but 2 at least, and never
 * all). A VM that has frozen keeps its sessions until their time is up; the others go on with the rest.
 */
export class Slots {
  readonly #all: Gate
  readonly #ofVms: Gates
  readonly #waitMs: number

  /** @param waitMs how long one waits before it is told that we are busy */
  constructor(poolSize: number, waitMs: number) {
    const perVm = Math.max(1, Math.min(poolSize - 1, Math.max(2, Math.floor(poolSize / 4))))
    this.#all = new Gate(poolSize, poolSize * waitingPerSlot)
    this.#ofVms = new Gates(perVm, perVm * waitingPerSlot)
    this.#waitMs = waitMs
  }

  /** Sessions that are held. */
  get taken(): number {
    return this.#all.inside
  }

  /** Those who wait for one. */
  get waiting(): number {
    return this.#all.waiting + this.#ofVms.waiting
  }

  /** A slot of the VM first: those who wait for that keep nobody else waiting. @throws {Fault} `config_busy` */
  async enter(vmId: string, signal: AbortSignal): Promise<Release> {
    const startedAt = performance.now()
    const leaveVm = await this.#ofVms.enter(vmId, { waitMs: this.#waitMs, signal, refusal: () => vmBusy(vmId) })
    try {
      const waitMs = Math.max(0, this.#waitMs - (performance.now() - startedAt))
      const leaveAll = await this.#all.enter({ waitMs, signal, refusal: allBusy })
      return () => {
        leaveAll()
        leaveVm()
      }
    } catch (error) {
      leaveVm()
      throw error
    }
  }
}

function vmBusy(vmId: string): Fault {
  const sentence = `Too many operations are under way on VM "${vmId}", or it is slow to answer; try again shortly.`
  return new Fault("config_busy", sentence, { retryAfterSeconds: 1 })
}

function allBusy(): Fault {
  const sentence = "Too many operations are under way (remote_execution.connection_pool_size); try again shortly."
  return new Fault("config_busy", sentence, { retryAfterSeconds: 1 })
}
