import type { FastifyReply, FastifyRequest } from "fastify"
import type { JsonPage, PageRequest } from "../domain/catalog.ts"

/** Query members of every list. */
export interface PageQuery {
  readonly limit?: number
  readonly cursor?: string
}

export const defaultLimit = 50

export function pageOf(query: PageQuery): PageRequest {
  return { limit: query.limit ?? defaultLimit, cursor: query.cursor ?? null }
}

/** Sends a list that is JSON already. */
export function sendPage(request: FastifyRequest, reply: FastifyReply, { json, nextCursor }: JsonPage): FastifyReply {
  if (nextCursor !== null) reply.header("link", `<${nextUrl(request.url, nextCursor)}>; rel="next"`)
  return sendJson(reply, json)
}

/** Sends what is JSON already. */
export function sendJson(reply: FastifyReply, json: string | Buffer): FastifyReply {
  // With the charset that Fastify would add: it takes a type apart and puts it together again for that.
  return reply.header("content-type", "application/json; charset=utf-8").send(json)
}

/** This list's URL with every parameter kept and the cursor moved on. A target may be a whole URL (RFC 9112, 3.2.2). */
function nextUrl(target: string, cursor: string): string {
  const url = target.replace(/^[^/?]+:\/\/[^/?]*/, "")
  const end = url.indexOf("?")
  const parameters = new URLSearchParams(end < 0 ? "" : url.slice(end))
  parameters.set("cursor", cursor)
  return `${end < 0 ? url : url.slice(0, end)}?${parameters}`
}
