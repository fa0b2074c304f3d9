import { randomUUID } from "node:crypto"
import type { IncomingMessage } from "node:http"

const printable = /^[\x20-\x7e]{1,64}$/

/** The caller's own X-Request-Id where it can be kept, else a new one: a bad id is not worth refusing a request for. */
export function requestIdOf(raw: IncomingMessage): string {
  const given = raw.headers["x-request-id"]
  if (given === undefined) return randomUUID()
  const once = raw.headersDistinct["x-request-id"]?.length === 1
  return once && typeof given === "string" && printable.test(given) ? given : randomUUID()
}
