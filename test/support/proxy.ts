import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"

/** `up`: from the client to the target. */
export type Direction = "up" | "down"

/** What happens at a trigger; a word is the method of the same name. `hold` holds the trigger's direction only. */
export type Action = "hold" | "blackhole" | "reset" | "fin" | (() => void)

export interface ProxyOptions {
  /** How long bytes are under way, each way. Order is kept and chunks travel side by side, as on a long cable. */
  readonly delayMs?: number
}

/** A network between a client and a server which fails when it is told to. Faults meet all connections that are open. */
export interface FaultyNetwork {
  readonly host: string
  readonly port: number
  /** Connections that were accepted so far. */
  readonly connections: number
  /** Bytes that were handed on so far, over all connections; what is held or swallowed does not count. */
  readonly bytesUp: number
  readonly bytesDown: number
  /** Keeps bytes, ends and resets back, in one direction or both, also of new connections, until `release`. */
  hold(direction?: Direction): void
  /** Swallows everything, also of new connections. What was open then stays silent for ever, even after `release`. */
  blackhole(): void
  /** RST to both sides. Bytes that are held or under way are lost. */
  reset(): void
  /** FIN to both sides. Bytes that are held or under way are lost. */
  fin(): void
  /** Back to passing; what was held goes on, in order, to wherever the other side still listens. */
  release(): void
  /** When `bytesUp` or `bytesDown` is `n`, to the byte; at once where it is past that. Fires once. */
  onBytes(direction: Direction, n: number, action: Action): void
  /** Right after the `n`-th chunk from now that is handed on. Fires once. */
  onChunks(direction: Direction, n: number, action: Action): void
  /** Repeatable. */
  close(): Promise<void>
}

/** A TCP proxy on loopback. It has no back pressure: not for large amounts of bytes. */
export async function startProxy(
  target: { readonly host: string; readonly port: number },
  options: ProxyOptions = {},
): Promise<FaultyNetwork> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  if (typeof address !== "object" || address === null) throw new Error("the proxy has no port")
  return new TcpProxy(server, address.port, target, options.delayMs ?? 0)
}

/** What travels: bytes, the end of the stream, or a reset. */
type Cargo = Buffer | "end" | "reset"

interface Trigger {
  readonly direction: Direction
  readonly unit: "bytes" | "chunks"
  readonly at: number
  readonly action: Action
}

class TcpProxy implements FaultyNetwork {
  readonly host = "127.0.0.1"
  readonly port: number
  connections = 0
  readonly #counts = { bytes: { up: 0, down: 0 }, chunks: { up: 0, down: 0 } }
  readonly #held = { up: false, down: false }
  #swallowing = false
  #triggers: readonly Trigger[] = []
  readonly #pairs = new Set<Pair>()
  readonly #server: Server

  constructor(server: Server, port: number, target: { readonly host: string; readonly port: number }, delayMs: number) {
    this.#server = server
    this.port = port
    server.on("connection", (client) => {
      this.connections++
      const upstream = connect({ ...target, allowHalfOpen: true, noDelay: true })
      const pair = new Pair(client, upstream, delayMs, (lane) => this.#pump(lane))
      if (this.#swallowing) pair.lost = true
      this.#pairs.add(pair)
      pair.whenClosed(() => this.#pairs.delete(pair))
    })
  }

  get bytesUp(): number {
    return this.#counts.bytes.up
  }

  get bytesDown(): number {
    return this.#counts.bytes.down
  }

  hold(direction?: Direction): void {
    if (direction !== "down") this.#held.up = true
    if (direction !== "up") this.#held.down = true
  }

  blackhole(): void {
    this.#swallowing = true
    for (const pair of this.#pairs) pair.lost = true
  }

  reset(): void {
    for (const pair of this.#pairs) pair.cut((socket) => socket.resetAndDestroy())
  }

  fin(): void {
    for (const pair of this.#pairs) pair.cut((socket) => socket.end())
  }

  release(): void {
    this.#swallowing = false
    this.#held.up = false
    this.#held.down = false
    for (const pair of this.#pairs) for (const lane of pair.lanes) this.#pump(lane)
  }

  onBytes(direction: Direction, n: number, action: Action): void {
    this.#addTrigger({ direction, unit: "bytes", at: n, action })
  }

  onChunks(direction: Direction, n: number, action: Action): void {
    this.#addTrigger({ direction, unit: "chunks", at: this.#counts.chunks[direction] + n, action })
  }

  async close(): Promise<void> {
    for (const pair of this.#pairs) pair.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, "close")
  }

  /** Hands on what has arrived, up to the next trigger at a time. */
  #pump(lane: Lane): void {
    while (lane.queue.length > 0 && !this.#held[lane.direction]) {
      const cargo = lane.queue.shift()
      if (lane.pair.lost || cargo === undefined) continue
      if (cargo === "end") lane.to.end()
      else if (cargo === "reset") lane.to.resetAndDestroy()
      else this.#handOn(lane, cargo)
    }
  }

  #handOn(lane: Lane, chunk: Buffer): void {
    const { bytes, chunks } = this.#counts
    const stops = this.#triggers.filter(({ direction, unit }) => direction === lane.direction && unit === "bytes")
    const room = Math.min(chunk.length, ...stops.map(({ at }) => at - bytes[lane.direction]))
    lane.to.write(chunk.subarray(0, room))
    if (room < chunk.length) lane.queue.unshift(chunk.subarray(room))
    bytes[lane.direction] += room
    if (room === chunk.length) chunks[lane.direction]++
    this.#fire()
  }

  #addTrigger(trigger: Trigger): void {
    this.#triggers = [...this.#triggers, trigger]
    this.#fire()
  }

  #fire(): void {
    const due = this.#triggers.filter(({ direction, unit, at }) => this.#counts[unit][direction] >= at)
    this.#triggers = this.#triggers.filter((trigger) => !due.includes(trigger))
    for (const { action, direction } of due) {
      if (typeof action === "function") action()
      else if (action === "hold") this.hold(direction)
      else this[action]()
    }
  }
}

interface Lane {
  readonly direction: Direction
  readonly pair: Pair
  readonly to: Socket
  readonly queue: Cargo[]
}

/** One connection: the client's socket, and ours to the target. */
class Pair {
  /** Whether bytes of it were swallowed, or it was cut: nothing of it is handed on any more. */
  lost = false
  readonly lanes: readonly [Lane, Lane]
  readonly #sockets: readonly [Socket, Socket]
  readonly #delayMs: number
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor(client: Socket, upstream: Socket, delayMs: number, pump: (lane: Lane) => void) {
    this.#sockets = [client, upstream]
    this.#delayMs = delayMs
    const lane = (direction: Direction, from: Socket, to: Socket): Lane => {
      const made: Lane = { direction, pair: this, to, queue: [] }
      const arrive = (cargo: Cargo) => {
        made.queue.push(cargo)
        pump(made)
      }
      from.on("data", (chunk) => this.#later(() => arrive(chunk)))
      from.on("end", () => this.#later(() => arrive("end")))
      from.on("error", () => this.#later(() => arrive("reset")))
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

  #later(callback: () => void): void {
    if (this.#delayMs === 0) {
      callback()
      return
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      callback()
    }, this.#delayMs)
    this.#timers.add(timer)
  }
}
