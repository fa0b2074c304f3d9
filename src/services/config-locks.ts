import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"

const maxWaiting = 16

interface Waiter {
  readonly admit: () => void
  readonly refuse: (fault: unknown) => void
}

interface Queue {
  readonly waiters: Waiter[]
  /** Who holds the lock; a release by anybody else does nothing. */
  holder: symbol
  /** The operation whose outcome is open: nobody gets in until it is settled. */
  inDoubt: string | null
}

/** One change at a time per config: first come, first served, at most 16 waiting, each for a limited time. */
export class ConfigLocks {
  readonly #queues = new Map<string, Queue>()
  readonly #waitMs: number

  constructor(waitMs: number) {
    this.#waitMs = waitMs
  }

  /**
   * Waits for the config's turn.
   * @returns the release: repeatable, and without effect once the lock has passed on
   * @throws {Fault} `config_busy`, `operation_in_doubt`; the signal's reason when it aborts
   */
  async acquire(ref: ConfigRef, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const key = keyOf(ref)
    const queue = this.#queues.get(key)
    if (!queue) return this.#take(key)
    if (queue.inDoubt !== null) throw inDoubt(ref, queue.inDoubt)
    if (queue.waiters.length >= maxWaiting) throw busy(ref, `${maxWaiting} changes are waiting for it already`)
    await this.#wait(ref, queue, signal)
    return this.#releaseOf(key, queue)
  }

  /** Keeps the lock, whoever holds it, until `settle`: the outcome of this operation is open. */
  doubt(ref: ConfigRef, operationId: string): void {
    const key = keyOf(ref)
    if (!this.#queues.has(key)) this.#take(key)
    const queue = this.#queues.get(key)
    if (!queue) return
    queue.inDoubt = operationId
    for (const waiter of queue.waiters.splice(0)) waiter.refuse(inDoubt(ref, operationId))
  }

  /** Ends the doubt, and frees the config. */
  settle(ref: ConfigRef): void {
    const key = keyOf(ref)
    const queue = this.#queues.get(key)
    if (queue?.inDoubt == null) return
    queue.inDoubt = null
    this.#passOn(key, queue)
  }

  /** @throws {Fault} `operation_in_doubt` */
  refuseDoubt(ref: ConfigRef): void {
    const operationId = this.#queues.get(keyOf(ref))?.inDoubt
    if (operationId) throw inDoubt(ref, operationId)
  }

  #take(key: string): () => void {
    const queue: Queue = { waiters: [], holder: Symbol(key), inDoubt: null }
    this.#queues.set(key, queue)
    return this.#releaseOf(key, queue)
  }

  #releaseOf(key: string, queue: Queue): () => void {
    const holder = Symbol(key)
    queue.holder = holder
    return () => {
      if (queue.holder === holder && queue.inDoubt === null) this.#passOn(key, queue)
    }
  }

  #passOn(key: string, queue: Queue): void {
    queue.holder = Symbol(key)
    const next = queue.waiters.shift()
    if (next) next.admit()
    else this.#queues.delete(key)
  }

  #wait(ref: ConfigRef, queue: Queue, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer)
        signal.removeEventListener("abort", abort)
        const place = queue.waiters.indexOf(waiter)
        if (place >= 0) queue.waiters.splice(place, 1)
      }
      const refuse = (reason: unknown): void => {
        end()
        reject(reason)
      }
      const abort = (): void => refuse(signal.reason)
      const waiter: Waiter = {
        admit: () => {
          end()
          resolve()
        },
        refuse,
      }
      const timer = setTimeout(() => refuse(busy(ref, "its turn did not come in time")), this.#waitMs)
      signal.addEventListener("abort", abort, { once: true })
      queue.waiters.push(waiter)
    })
  }
}

function busy(ref: ConfigRef, why: string): Fault {
  return new Fault("config_busy", `The config ${keyOf(ref)} is being changed by others: ${why}. Try again.`, {
    retryAfterSeconds: 1,
    fileState: "unchanged",
  })
}

function inDoubt(ref: ConfigRef, operationId: string): Fault {
  return new Fault(
    "operation_in_doubt",
    `The outcome of operation ${operationId} on ${keyOf(ref)} is not known yet and is being found out; see GET /operations/${operationId}.`,
    { operationId, fileState: "unchanged", retryAfterSeconds: 5 },
  )
}
