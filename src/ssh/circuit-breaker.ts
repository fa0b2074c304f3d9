import { Fault } from "../domain/fault.ts"

const firstPauseMs = 1_000
const longestPauseMs = 30_000

interface Circuit {
  readonly failures: number
  /** On the breaker's clock. */
  readonly openUntil: number
  readonly sentence: string
}

/** Remembers which VMs could not be reached, so that nobody waits for them again at once: for 1, 2, 4 .. 30 s. */
export class CircuitBreaker {
  readonly #now: () => number
  readonly #circuits = new Map<string, Circuit>()

  /** @param now a clock that never runs backwards, in ms */
  constructor(now: () => number) {
    this.#now = now
  }

  /** How many VMs are given their pause now. */
  get open(): number {
    const now = this.#now()
    return [...this.#circuits.values()].filter(({ openUntil }) => openUntil > now).length
  }

  /** @throws {Fault} `vm_unreachable` while the VM is given its pause */
  admit(key: string): void {
    const circuit = this.#circuits.get(key)
    if (!circuit) return
    const leftMs = circuit.openUntil - this.#now()
    if (leftMs <= 0) return
    const retryAfterSeconds = Math.ceil(leftMs / 1000)
    const again = `It was not asked again; the next attempt is made in ${retryAfterSeconds} s.`
    throw new Fault("vm_unreachable", `${circuit.sentence} ${again}`, { retryAfterSeconds })
  }

  /** @param sentence what went wrong, told again to those who come during the pause */
  unreachable(key: string, sentence: string): void {
    const failures = (this.#circuits.get(key)?.failures ?? 0) + 1
    const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(failures - 1, 10))
    this.#circuits.set(key, { failures, openUntil: this.#now() + pauseMs, sentence })
  }

  /** The VM answered, whatever it said. */
  reachable(key: string): void {
    this.#circuits.delete(key)
  }
}
