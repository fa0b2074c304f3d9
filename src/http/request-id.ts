import type { IncomingMessage } from "node:http"
import { v7 as uuidv7 } from "uuid"

const printable = /^[\x20-\x7e]{1,64}$/

/** The caller's own X-Request-Id where it can be kept, else a new one: a bad id is not worth refusing a request for. */
export function requestIdOf(raw: IncomingMessage): string {
  const given = raw.headersDistinct["x-request-id"]
  const [id] = given ?? []
  return given?.length === 1 && id !== undefined && printable.test(id) ? id : uuidv7()
}
