import { randomFillSync } from "node:crypto"
import type { IncomingMessage } from "node:http"
import { v7 as uuidv7 } from "uuid"

const printable = /^[\x20-\x7e]{1,64}$/
const bytesPerId = 16
/** Random bytes are fetched for many ids at once: to fetch them costs more than all the rest of an id. */
const pool = new Uint8Array(256 * bytesPerId)
let used = pool.length

/** The caller's own X-Request-Id where it can be kept, else a new one: a bad id is not worth refusing a request for. */
export function requestIdOf(raw: IncomingMessage): string {
  const given = raw.headers["x-request-id"]
  if (given === undefined) return newRequestId()
  const once = raw.headersDistinct["x-request-id"]?.length === 1
  return once && typeof given === "string" && printable.test(given) ? given : newRequestId()
}

function newRequestId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const random = pool.subarray(used, used + bytesPerId)
  used += bytesPerId
  return uuidv7({ random })
}
