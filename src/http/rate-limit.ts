import type { FastifyInstance } from "fastify"
import { Fault } from "../domain/fault.ts"

/** A minute of one client, which began with its first request. */
interface Window {
  count: number
  readonly endsAt: number
}

/** What is left of a client's minute. */
interface Allowance {
  /** Negative: the request is one too many. */
  readonly remaining: number
  readonly resetSeconds: number
}

const windowMs = 60_000
/** Beyond this the oldest windows are forgotten: a flood of addresses costs half a megabyte, not all there is. */
const mostClients = 5_000

/** Counts the requests of each client. */
export class RateLimit {
  readonly #now: () => number
  /** Oldest first: a window that begins anew is put at the end. */
  readonly #windows = new Map<string, Window>()

  /** @param now a clock that never runs backwards, in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Counts one request of an address against `limit` a minute. */
  take(address: string, limit: number): Allowance {
    const client = clientOf(address)
    const now = this.#now()
    let window = this.#windows.get(client)
    if (!window || window.endsAt <= now) window = this.#begin(client, now)
    window.count += 1
    return { remaining: limit - window.count, resetSeconds: Math.max(1, Math.ceil((window.endsAt - now) / 1000)) }
  }

  #begin(client: string, now: number): Window {
    const window = { count: 0, endsAt: now + windowMs }
    this.#windows.delete(client)
    this.#windows.set(client, window)
    if (this.#windows.size > mostClients) {
      const [oldest] = this.#windows.keys()
      if (oldest !== undefined) this.#windows.delete(oldest)
    }
    return window
  }
}

/**
 * Limits the requests of each client; paths without a route count too, /healthz does not.
 * @param requestsPerMinute asked at each request; 0: no limit
 */
export function addRateLimit(app: FastifyInstance, requestsPerMinute: () => number): void {
  const limits = new RateLimit()
  app.addHook("onRequest", (request, reply, done) => {
    const limit = requestsPerMinute()
    if (limit === 0 || request.raw.url === "/healthz") return done()
    const { remaining, resetSeconds } = limits.take(request.ip, limit)
    reply.header("x-ratelimit-limit", limit)
    reply.header("x-ratelimit-remaining", Math.max(0, remaining))
    reply.header("x-ratelimit-reset", resetSeconds)
    if (remaining >= 0) return done()
    const sentence = `This address may send ${limit} requests a minute.`
    throw new Fault("rate_limited", sentence, { retryAfterSeconds: resetSeconds })
  })
}

/** Who an address belongs to: of IPv6 the network, whose 2^64 addresses are all one client's (RFC 6177). */
function clientOf(address: string): string {
  if (!address.includes(":")) return address
  if (address.startsWith("::ffff:") && address.includes(".")) return address.slice("::ffff:".length)
  const [front = "", back] = address.split("%", 1)[0]?.split("::") ?? []
  const first = groupsOf(front)
  const missing = back === undefined ? 0 : 8 - first.length - groupsOf(back).length
  return [...first, ...Array<string>(missing).fill("0")].slice(0, 4).join(":")
}

function groupsOf(part: string): readonly string[] {
  return part === "" ? [] : part.split(":")
}
