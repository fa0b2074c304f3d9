import type { ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { FastifyInstance } from "fastify"
import { Fault } from "../domain/fault.ts"

/** The requests of one connection that came before the answers to those in front of them had left. */
interface Turns {
  last: ServerResponse
  /** The last one that may change something. */
  lastUnsafe: ServerResponse | null
  waiting: number
}

const safe: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"])
const mostWaiting = 100

const turnsOf = new WeakMap<Socket, Turns>()

/**
 * Only requests that change nothing run beside others of their connection (RFC 9112, 9.3.2): what is sent last is done last, and
 * what is read behind a change is read after it. Who hangs up meanwhile has its waiting requests left undone.
 */
export function addPipelining(app: FastifyInstance): void {
  app.addHook("onRequest", (request, { raw }, done) => {
    const { socket } = request.raw
    const isSafe = safe.has(request.method)
    const turns = turnsOf.get(socket)
    if (!turns) {
      turnsOf.set(socket, { last: raw, lastUnsafe: isSafe ? null : raw, waiting: 0 })
      return done()
    }
    const awaited = isSafe ? turns.lastUnsafe : turns.last
    turns.last = raw
    if (!isSafe) turns.lastUnsafe = raw
    // Answers leave in their order: with this one all in front of it have left.
    if (!awaited || awaited.writableFinished) return done()
    if (turns.waiting >= mostWaiting) {
      const sentence = `No more than ${mostWaiting} requests of a connection may wait for those in front of them.`
      throw new Fault("rate_limited", sentence, { retryAfterSeconds: 1 })
    }
    turns.waiting += 1
    awaited.setMaxListeners(0)
    awaited.once("close", () => {
      turns.waiting -= 1
      // Not where the connection has ended, or ends with that answer.
      if (socket.writable) done()
    })
  })
}
