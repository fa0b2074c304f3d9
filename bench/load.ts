import { connect, type Socket } from "node:net"

/** One kept-alive HTTP/1.1 connection that does next to nothing itself, so that what is measured is the server. */
export class Lane {
  readonly #socket: Socket
  #received: Buffer = Buffer.alloc(0)
  #waiting: { readonly resolve: (answer: Answer) => void; readonly reject: (error: Error) => void } | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on("data", (chunk) => this.#take(chunk))
    socket.on("error", (error) => this.#fail(error))
    socket.on("close", () => this.#fail(new Error("the server closed the connection")))
  }

  static open(url: string): Promise<Lane> {
    const { hostname, port } = new URL(url)
    return new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true })
      socket.once("error", reject)
      socket.once("connect", () => resolve(new Lane(socket)))
    })
  }

  /** @param request all of it, as `requestOf` makes it */
  send(request: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject }
      this.#socket.write(request)
    })
  }

  close(): void {
    this.#socket.removeAllListeners("close")
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    const bodyAt = this.#received.indexOf("\r\n\r\n") + 4
    if (bodyAt < 4) return
    const head = this.#received.toString("latin1", 0, bodyAt)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1])
    if (Number.isNaN(length)) this.#fail(new Error(`an answer without Content-Length: ${head}`))
    // NaN too.
    if (!(this.#received.length >= bodyAt + length)) return
    const body = this.#received.subarray(bodyAt)
    this.#received = Buffer.alloc(0)
    const waiting = this.#waiting
    this.#waiting = null
    waiting?.resolve({ status: Number(head.slice(9, 12)), body })
  }

  #fail(error: Error): void {
    this.#waiting?.reject(error)
    this.#waiting = null
  }
}

export interface Answer {
  readonly status: number
  readonly body: Buffer
}

/** The bytes of a request. The same few headers for every server that is compared. */
export function requestOf(method: "GET" | "PUT", path: string, accept: string, body: Body | null = null): Buffer {
  const head = `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: ${accept}\r\n`
  if (!body) return Buffer.from(`${head}\r\n`)
  const about = `Content-Type: ${body.mediaType}\r\nContent-Length: ${Buffer.byteLength(body.text)}\r\n`
  return Buffer.from(`${head}${about}\r\n${body.text}`)
}

interface Body {
  readonly mediaType: string
  readonly text: string
}

/** Opens `count` lanes to a server. */
export function openLanes(url: string, count: number): Promise<readonly Lane[]> {
  return Promise.all(Array.from({ length: count }, () => Lane.open(url)))
}

/**
 * Requests per second, every lane sending one after the other.
 * @throws {Error} when any answer is not 200
 */
export async function rateOf(lanes: readonly Lane[], runs: number, requests: readonly Buffer[]): Promise<number> {
  let next = 0
  const begin = performance.now()
  await Promise.all(
    lanes.map(async (lane) => {
      while (next < runs) {
        const request = requests[next % requests.length]
        next += 1
        if (!request) throw new Error("no request to send")
        const { status, body } = await lane.send(request)
        if (status !== 200) throw new Error(`${status}: ${body}`)
      }
    }),
  )
  return (runs * 1000) / (performance.now() - begin)
}

/**
 * Keeps this process from sleeping. To wake a sleeping client costs a server as much as a small request; a server that is quick
 * enough keeps its client awake and never pays, so that the others would look slower than they are.
 * @returns what ends it
 */
export function stayAwake(): () => void {
  let awake = true
  const turn = (): void => {
    if (awake) setImmediate(turn)
  }
  turn()
  return () => {
    awake = false
  }
}
