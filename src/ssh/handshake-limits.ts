import { Fault } from "../domain/fault.ts"
import { Gate, Gates, type Release } from "./gate.ts"

/** sshd drops connections at random once 10 are unauthenticated (MaxStartups 10:30:100). */
const perAddress = 4
const maxWaiting = 10_000

/**
 * How many connections may be in the making: few per address, because sshd refuses more at random, and few over all,
 * because 100 handshakes at once make the event loop 279 ms late, 8 only 13 ms, for the same throughput.
 */
export class HandshakeLimits {
  readonly #all: Gate
  readonly #waitMs: number
  readonly #addresses = new Gates(perAddress, maxWaiting)

  /** @param waitMs how long one waits for its turn before it is told that we are busy */
  constructor(maxHandshakes: number, waitMs: number) {
    this.#all = new Gate(maxHandshakes, maxWaiting)
    this.#waitMs = waitMs
  }

  /** A turn at one address: held from before TCP until the connection is authenticated, or given up. */
  enterAddress(host: string, port: number): Promise<Release> {
    const address = `${host}:${port}`
    return this.#addresses.enter(address, { waitMs: this.#waitMs, refusal: () => busy(`to ${address}`) })
  }

  /** A turn at the arithmetic of a handshake: for a host that has begun to talk, until its key is agreed on. */
  enterHandshake(): Promise<Release> {
    return this.#all.enter({ waitMs: this.#waitMs, refusal: () => busy("at once") })
  }
}

function busy(where: string): Fault {
  return new Fault("config_busy", `Too many SSH connections are being made ${where}; try again shortly.`, {
    retryAfterSeconds: 1,
  })
}
