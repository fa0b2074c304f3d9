import type { Socket } from "node:net"
import type { Direction } from "./proxy.ts"

/** What travels: bytes, the end of the stream, or a reset. */
type Cargo = Buffer | "end" | "reset"

/** A marker is found across chunks as long as it is no longer than this. */
export const longestMarker = 64

/** One way of one connection. */
export interface Lane {
  readonly direction: Direction
  readonly pair: Pair
  readonly to: Socket
  readonly queue: Cargo[]
  /** Kept back by itself, whatever the others do. */
  held: boolean
  wasHeld: boolean
  /** Has handed on what it may for now. */
  waits: boolean
  /** The last bytes that were handed on. */
  tail: Buffer
}

/** One connection: the client's socket, and ours to the target. */
export class Pair {
  /** Whether bytes of it were swallowed, or it was cut: nothing of it is handed on any more. */
  lost = false
  readonly lanes: readonly [Lane, Lane]
  readonly #sockets: readonly [Socket, Socket]
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor(client: Socket, upstream: Socket, delayMs: number, pump: (lane: Lane) => void) {
    this.#sockets = [client, upstream]
    const lane = (direction: Direction, from: Socket, to: Socket): Lane => {
      const made: Lane = {
        direction,
        pair: this,
        to,
        queue: [],
        held: false,
        wasHeld: false,
        waits: false,
        tail: Buffer.alloc(0),
      }
      const arrive = (cargo: Cargo) => {
        made.queue.push(cargo)
        pump(made)
      }
      from.on("data", (chunk) => this.later(delayMs, () => arrive(chunk)))
      from.on("end", () => this.later(delayMs, () => arrive("end")))
      from.on("error", () => this.later(delayMs, () => arrive("reset")))
      return made
    }
    this.lanes = [lane("up", client, upstream), lane("down", upstream, client)]
  }

  /** Ends both sides in one way; nothing goes on from here. */
  cut(how: (socket: Socket) => void): void {
    this.lost = true
    for (const socket of this.#sockets) how(socket)
  }

  destroy(): void {
    this.cut((socket) => socket.destroy())
    for (const timer of this.#timers) clearTimeout(timer)
  }

  whenClosed(callback: () => void): void {
    const closed = () => {
      if (this.#sockets.every((socket) => socket.closed)) callback()
    }
    for (const socket of this.#sockets) socket.once("close", closed)
  }

  /** Does it after that time, unless the pair is destroyed before. */
  later(ms: number, callback: () => void): void {
    if (ms === 0) {
      callback()
      return
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      callback()
    }, ms)
    this.#timers.add(timer)
  }
}
