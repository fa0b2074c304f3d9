import { once } from "node:events"
import { connect, createServer, type Server } from "node:net"
import { type Lane, longestMarker, Pair } from "./proxy-pair.ts"

/** `up`: from the client to the target. */
export type Direction = "up" | "down"

/** What happens at a trigger; a word is the method of the same name. `hold` and `slice` meet the trigger's direction only. */
export type Action = "hold" | "slice" | "blackhole" | "reset" | "fin" | (() => void)

export interface Target {
  readonly host: string
  readonly port: number
}

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
  /**
   * The same for the connections that are open now; those made later pass. A reset that was held comes a moment after the
   * bytes before it, so that they are acted on.
   */
  holdOpen(direction?: Direction): void
  /** From now on bytes travel one by one, each in a segment of its own, until `release`. */
  slice(direction?: Direction): void
  /** From now on no connection gets on faster than this, each way, until `release`. */
  throttle(bytesPerSecond: number): void
  /** Connections made from now on lead to another target. */
  moveTo(target: Target): void
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
  /** Right after the last byte of `marker`, the first time that a connection says it from now on. */
  onMarker(direction: Direction, marker: string, action: Action): void
  /** Repeatable. */
  close(): Promise<void>
}

/** A TCP proxy on loopback. It has no back pressure: not for large amounts of bytes. */
export async function startProxy(target: Target, options: ProxyOptions = {}): Promise<FaultyNetwork> {
  const server = createServer({ allowHalfOpen: true, noDelay: true })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  if (typeof address !== "object" || address === null) throw new Error("the proxy has no port")
  return new TcpProxy(server, address.port, target, options.delayMs ?? 0)
}

interface Trigger {
  readonly direction: Direction
  readonly unit: "bytes" | "chunks"
  readonly at: number
  readonly action: Action
}

interface MarkerTrigger {
  readonly direction: Direction
  readonly marker: Buffer
  readonly action: Action
}

/** How often a throttled lane may hand on some bytes. */
const throttleTickMs = 20
const resetDelayMs = 50

class TcpProxy implements FaultyNetwork {
  readonly host = "127.0.0.1"
  readonly port: number
  connections = 0
  readonly #counts = { bytes: { up: 0, down: 0 }, chunks: { up: 0, down: 0 } }
  readonly #held = { up: false, down: false }
  readonly #sliced = { up: false, down: false }
  #bytesPerSecond = Number.POSITIVE_INFINITY
  #swallowing = false
  #triggers: readonly Trigger[] = []
  #markers: readonly MarkerTrigger[] = []
  readonly #pairs = new Set<Pair>()
  readonly #server: Server
  #target: Target

  constructor(server: Server, port: number, target: Target, delayMs: number) {
    this.#target = target
    this.#server = server
    this.port = port
    server.on("connection", (client) => {
      this.connections++
      const upstream = connect({ ...this.#target, allowHalfOpen: true, noDelay: true })
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

  holdOpen(direction?: Direction): void {
    for (const lane of this.#lanes()) {
      if (direction !== undefined && lane.direction !== direction) continue
      lane.held = true
      lane.wasHeld = true
    }
  }

  slice(direction?: Direction): void {
    if (direction !== "down") this.#sliced.up = true
    if (direction !== "up") this.#sliced.down = true
  }

  moveTo(target: Target): void {
    this.#target = target
  }

  throttle(bytesPerSecond: number): void {
    this.#bytesPerSecond = bytesPerSecond
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
    this.#sliced.up = false
    this.#sliced.down = false
    this.#bytesPerSecond = Number.POSITIVE_INFINITY
    for (const lane of this.#lanes()) {
      lane.held = false
      lane.waits = false
      this.#pump(lane)
    }
  }

  onBytes(direction: Direction, n: number, action: Action): void {
    this.#addTrigger({ direction, unit: "bytes", at: n, action })
  }

  onChunks(direction: Direction, n: number, action: Action): void {
    this.#addTrigger({ direction, unit: "chunks", at: this.#counts.chunks[direction] + n, action })
  }

  onMarker(direction: Direction, marker: string, action: Action): void {
    this.#markers = [...this.#markers, { direction, marker: Buffer.from(marker), action }]
  }

  async close(): Promise<void> {
    for (const pair of this.#pairs) pair.destroy()
    if (!this.#server.listening) return
    this.#server.close()
    await once(this.#server, "close")
  }

  /** Hands on what has arrived, up to the next trigger at a time. */
  #pump(lane: Lane): void {
    while (lane.queue.length > 0 && !this.#held[lane.direction] && !lane.held && !lane.waits) {
      const cargo = lane.queue.shift()
      if (lane.pair.lost || cargo === undefined) continue
      if (cargo === "end") lane.to.end()
      else if (cargo === "reset") lane.pair.later(lane.wasHeld ? resetDelayMs : 0, () => lane.to.resetAndDestroy())
      else this.#handOn(lane, cargo)
    }
  }

  #handOn(lane: Lane, chunk: Buffer): void {
    const { direction } = lane
    const { bytes, chunks } = this.#counts
    const stops = this.#triggers.filter((each) => each.direction === direction && each.unit === "bytes")
    const marked = this.#markers.map((each) => ({ ...each, end: endOfMarker(each, lane, chunk) }))
    const room = Math.min(
      chunk.length,
      ...stops.map(({ at }) => at - bytes[direction]),
      ...marked.map(({ end }) => end),
      this.#ration(lane),
    )
    const part = chunk.subarray(0, room)
    lane.to.write(part)
    if (room < chunk.length) lane.queue.unshift(chunk.subarray(room))
    lane.tail = Buffer.concat([lane.tail, part]).subarray(-longestMarker)
    bytes[direction] += room
    if (room === chunk.length) chunks[direction]++
    const said = marked.filter(({ end }) => end === room)
    this.#markers = this.#markers.filter((each) => !said.some(({ marker }) => marker === each.marker))
    for (const { action } of said) this.#act(action, direction)
    this.#fire()
  }

  /** How many bytes a lane may hand on now; where they are limited, it then waits for its next turn. */
  #ration(lane: Lane): number {
    const rate = this.#bytesPerSecond
    if (rate === Number.POSITIVE_INFINITY && !this.#sliced[lane.direction]) return rate
    lane.waits = true
    const goOn = () => {
      lane.waits = false
      this.#pump(lane)
    }
    const atOnce = Math.max(1, Math.floor((rate * throttleTickMs) / 1000))
    if (rate !== Number.POSITIVE_INFINITY) lane.pair.later((1000 * atOnce) / rate, goOn)
    // A turn of the event loop, so that the other side is not handed several at once.
    else setImmediate(goOn)
    return this.#sliced[lane.direction] ? 1 : atOnce
  }

  #lanes(): readonly Lane[] {
    return [...this.#pairs].flatMap(({ lanes }) => lanes)
  }

  #addTrigger(trigger: Trigger): void {
    this.#triggers = [...this.#triggers, trigger]
    this.#fire()
  }

  #fire(): void {
    const due = this.#triggers.filter(({ direction, unit, at }) => this.#counts[unit][direction] >= at)
    this.#triggers = this.#triggers.filter((trigger) => !due.includes(trigger))
    for (const { action, direction } of due) this.#act(action, direction)
  }

  #act(action: Action, direction: Direction): void {
    if (typeof action === "function") action()
    else if (action === "hold" || action === "slice") this[action](direction)
    else this[action]()
  }
}

/** @returns how many bytes of `chunk` there are up to the marker's end; no end in it: infinity */
function endOfMarker({ direction, marker }: MarkerTrigger, lane: Lane, chunk: Buffer): number {
  if (direction !== lane.direction) return Number.POSITIVE_INFINITY
  const before = lane.tail.subarray(Math.max(0, lane.tail.length - marker.length + 1))
  const at = Buffer.concat([before, chunk]).indexOf(marker)
  return at === -1 ? Number.POSITIVE_INFINITY : at + marker.length - before.length
}
