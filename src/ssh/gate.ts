import type { Fault } from "../domain/fault.ts"

export type Release = () => void

export interface Turn {
  readonly waitMs: number
  readonly signal?: AbortSignal | undefined
  /** The fault of one who had to wait too long, or whom the queue has no room for. */
  readonly refusal: () => Fault
}

interface Waiter {
  readonly admit: () => void
}

/** Lets `limit` through at a time; the others wait in order, `maxWaiting` of them at most. */
export class Gate {
  readonly #limit: number
  readonly #maxWaiting: number
  readonly #queue = new Set<Waiter>()
  #inside = 0

  constructor(limit: number, maxWaiting: number) {
    this.#limit = limit
    this.#maxWaiting = maxWaiting
  }

  get inside(): number {
    return this.#inside
  }

  get waiting(): number {
    return this.#queue.size
  }

  get idle(): boolean {
    return this.#inside === 0 && this.#queue.size === 0
  }

  /** @returns what must be called to let the next one in; calling it again does nothing */
  enter(turn: Turn): Promise<Release> {
    if (turn.signal?.aborted) return Promise.reject(turn.signal.reason)
    if (this.#inside < this.#limit) return Promise.resolve(this.#admit())
    if (this.#queue.size >= this.#maxWaiting) return Promise.reject(turn.refusal())
    return this.#wait(turn)
  }

  #wait(turn: Turn): Promise<Release> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#queue.delete(waiter)
        clearTimeout(timer)
        turn.signal?.removeEventListener("abort", onAbort)
      }
      const waiter: Waiter = {
        admit: () => {
          leave()
          resolve(this.#admit())
        },
      }
      const onAbort = () => {
        leave()
        reject(turn.signal?.reason)
      }
      const timer = setTimeout(() => {
        leave()
        reject(turn.refusal())
      }, turn.waitMs)
      turn.signal?.addEventListener("abort", onAbort, { once: true })
      this.#queue.add(waiter)
    })
  }

  #admit(): Release {
    this.#inside++
    let released = false
    return () => {
      if (released) return
      released = true
      this.#inside--
      const [next] = this.#queue
      next?.admit()
    }
  }
}

/** A gate per key, there as long as somebody is in it or before it. */
export class Gates {
  readonly #limit: number
  readonly #maxWaiting: number
  readonly #gates = new Map<string, Gate>()

  constructor(limit: number, maxWaiting: number) {
    this.#limit = limit
    this.#maxWaiting = maxWaiting
  }

  get waiting(): number {
    return [...this.#gates.values()].reduce((sum, gate) => sum + gate.waiting, 0)
  }

  async enter(key: string, turn: Turn): Promise<Release> {
    const gate = this.#gates.get(key) ?? new Gate(this.#limit, this.#maxWaiting)
    this.#gates.set(key, gate)
    const forget = () => {
      if (gate.idle && this.#gates.get(key) === gate) this.#gates.delete(key)
    }
    try {
      const release = await gate.enter(turn)
      return () => {
        release()
        forget()
      }
    } catch (error) {
      forget()
      throw error
    }
  }
}
