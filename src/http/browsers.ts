import type { FastifyInstance, FastifyRequest } from "fastify"
import { Fault } from "../domain/fault.ts"

export interface BrowserRules {
  /** Exact origins; `http://localhost:*` stands for any port. */
  readonly corsOrigins: readonly string[]
  /** Names that Host may give, in lower case and without a port, an IPv6 address in brackets; null: any. */
  readonly allowedHosts: readonly string[] | null
}

const changing: ReadonlySet<string> = new Set(["PUT", "POST", "PATCH", "DELETE"])

/**
 * Keeps pages of other sites out: nobody is asked for a token, so a browser on this machine could be made to act for them.
 * By Host, for a page whose name was pointed at this machine (DNS rebinding); by Sec-Fetch-Site, for a form sent from elsewhere.
 */
export function addBrowserGuard(app: FastifyInstance, { corsOrigins, allowedHosts }: BrowserRules): void {
  const allowed = corsOrigins.map(toOrigin)
  // Callers say the same Host again and again.
  let lastGood: string | null = null
  app.addHook("onRequest", (request, _reply, done) => {
    const { host } = request.headers
    // Without Host it is HTTP/1.0, which no browser speaks.
    if (allowedHosts !== null && host !== undefined && host !== lastGood) {
      if (!allowedHosts.includes(nameIn(host))) {
        throw new Fault("forbidden", `Host may name ${allowedHosts.join(", ")} here and nothing else.`)
      }
      lastGood = host
    }
    if (isCrossSiteChange(request) && !allowed.some((origin) => isOf(origin, request.headers.origin ?? ""))) {
      throw new Fault("forbidden", "A page of an origin that server.cors_origins does not name may change nothing.")
    }
    done()
  })
}

/** `http://localhost:*` as a pattern of any port; other origins stay as they are. */
export function toOrigin(origin: string): string | RegExp {
  if (!origin.endsWith(":*")) return origin
  const start = origin.slice(0, -2).replaceAll(/[^A-Za-z0-9]/g, "\\$&")
  return new RegExp(`^${start}(?::\\d{1,5})?$`)
}

function isOf(allowed: string | RegExp, origin: string): boolean {
  return typeof allowed === "string" ? allowed === origin : allowed.test(origin)
}

/** Browsers say themselves where a request comes from; pages cannot set this header. */
function isCrossSiteChange({ method, headers }: FastifyRequest): boolean {
  return changing.has(method) && headers["sec-fetch-site"] === "cross-site"
}

function nameIn(host: string): string {
  return host.replace(/:\d{1,5}$/, "").toLowerCase()
}
