import type { FastifyReply, FastifyRequest } from "fastify"
import type { JsonPage, PageRequest } from "../domain/catalog.ts"
import { Fault } from "../domain/fault.ts"
import { idPattern } from "../domain/vm.ts"

/** Query members of every list. */
export interface PageQuery {
  readonly limit?: number
  readonly cursor?: string
}

export const defaultLimit = 50

export function pageOf(query: PageQuery): PageRequest {
  return { limit: query.limit ?? defaultLimit, cursor: query.cursor ?? null }
}

/** A page of a list that is held whole, by its names, which are ids. @throws {Fault} `invalid_parameter` */
export function pageByName<Item>(
  all: readonly Item[],
  nameOf: (item: Item) => string,
  query: PageQuery,
): { readonly items: readonly Item[]; readonly nextCursor: string | null } {
  const { limit, cursor } = pageOf(query)
  const after = cursor === null ? "" : nameIn(cursor)
  const rest = all.filter((item) => nameOf(item) > after)
  const items = rest.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: last && rest.length > limit ? Buffer.from(nameOf(last)).toString("base64url") : null }
}

/** The id that a cursor of ours names. @throws {Fault} `invalid_parameter` */
function nameIn(cursor: string): string {
  const name = Buffer.from(cursor, "base64url").toString("latin1")
  if (idPattern.test(name) && Buffer.from(name).toString("base64url") === cursor) return name
  throw new Fault("invalid_parameter", "The cursor is not one of this list.", {
    errors: [{ pointer: "/cursor", message: "is not one of this list" }],
  })
}

/** Sends a list that is JSON already. */
export function sendPage(request: FastifyRequest, reply: FastifyReply, { json, nextCursor }: JsonPage): FastifyReply {
  if (nextCursor !== null) reply.header("link", `<${nextUrl(request.url, nextCursor)}>; rel="next"`)
  return sendJson(reply, json)
}

/** Sends a page, with what else its list tells. */
export function sendItems(
  request: FastifyRequest,
  reply: FastifyReply,
  page: { readonly items: readonly unknown[]; readonly nextCursor: string | null; readonly total?: number },
): FastifyReply {
  return sendPage(request, reply, { json: Buffer.from(JSON.stringify(page)), nextCursor: page.nextCursor })
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
