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

/** Sends a list; its items are JSON already. `more` are members besides `items` and `nextCursor`. */
export function sendPage(
  request: FastifyRequest,
  reply: FastifyReply,
  page: JsonPage,
  more: Readonly<Record<string, number>> = {},
): FastifyReply {
  if (page.nextCursor !== null) reply.header("link", `<${nextUrl(request.url, page.nextCursor)}>; rel="next"`)
  const rest = JSON.stringify({ nextCursor: page.nextCursor, ...more })
  return sendJson(reply, `{"items":${page.items},${rest.slice(1)}`)
}

/** Sends a text that is JSON already. */
export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  // With the charset that Fastify would add: it takes a type apart and puts it together again for that.
  return reply.header("content-type", "application/json; charset=utf-8").send(text)
}

/** This list's URL with every parameter kept and the cursor moved on. A target may be a whole URL (RFC 9112, 3.2.2). */
function nextUrl(target: string, cursor: string): string {
  const url = target.replace(/^[^/?]+:\/\/[^/?]*/, "")
  const end = url.indexOf("?")
  const parameters = new URLSearchParams(end < 0 ? "" : url.slice(end))
  parameters.set("cursor", cursor)
  return `${end < 0 ? url : url.slice(0, end)}?${parameters}`
}
