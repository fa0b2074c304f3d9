import type { FastifyReply, FastifyRequest } from "fastify"
import type { FormatName } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { Content } from "../services/configs.ts"
import { rawMediaTypes } from "./body.ts"
import { etagOf, isFresh } from "./preconditions.ts"

/** How a content is shown: its value as JSON, or its bytes under the name that was asked for. */
export interface View {
  readonly json: boolean
  readonly mediaType: string
}

/** What is told of a file in headers; a member that is null is not known. */
export interface FileFacts {
  readonly path: string
  readonly mode: number | null
  readonly uid: number | null
  readonly gid: number | null
  readonly modifiedAt: Date
}

/** @throws {Fault} `not_acceptable` */
export function viewOf(request: FastifyRequest, format: FormatName): View {
  const raw = format === "text" ? ["text/plain", ...rawMediaTypes] : rawMediaTypes
  const mediaType = chooseMediaType(request, format === "text" ? raw : ["application/json", ...raw])
  return { json: mediaType === "application/json", mediaType }
}

/** The one of `offers` that the caller likes best; the first where it does not say. @throws {Fault} `not_acceptable` */
export function chooseMediaType(request: FastifyRequest, offers: readonly string[]): string {
  // Negotiation compares parameters too: an Accept that names the charset would otherwise match nothing.
  const chosen = request.type(offers.flatMap((offer) => [offer, `${offer};charset=utf-8`]))
  if (typeof chosen === "string") return chosen.split(";")[0] ?? chosen
  throw new Fault("not_acceptable", `Here is ${[...new Set(offers)].join(", ")}; Accept names none of them.`)
}

/** Sends a content in one view, or 304 when the caller has it. */
export function sendContent(
  request: FastifyRequest,
  reply: FastifyReply,
  content: Content,
  view: View,
  about: { readonly facts: FileFacts; readonly secret: boolean },
): FastifyReply {
  const etag = etagOf(content.digest, view.json ? content.type : null)
  reply.headers({ ...factHeaders(about.facts), etag, "cache-control": about.secret ? "no-store" : "private, no-cache" })
  addVary(reply, "Accept", "Authorization")
  const fresh = isFresh(request, etag)
  // Before any 304, which stands for a 200: a file that cannot be parsed has no JSON view that anyone could have.
  const text = view.json ? JSON.stringify(content.document().value) : content.bytes
  if (fresh) return reply.code(304).send()
  return reply.type(contentTypeOf(view)).send(text)
}

function contentTypeOf(view: View): string {
  if (view.json) return "application/json"
  return view.mediaType.startsWith("text/") ? `${view.mediaType}; charset=utf-8` : view.mediaType
}

/** Adds to Vary what other plugins have put there already. */
function addVary(reply: FastifyReply, ...names: readonly string[]): void {
  const before = reply.getHeader("vary")
  reply.header("vary", [...(before ? [String(before)] : []), ...names].join(", "))
}

function factHeaders(facts: FileFacts): Record<string, string> {
  return {
    "last-modified": facts.modifiedAt.toUTCString(),
    "x-config-path": facts.path.replace(/[^\x20-\x24\x26-\x7e]+/gu, (text) => percentEncode(text)),
    ...(facts.mode !== null && { "x-config-mode": facts.mode.toString(8).padStart(4, "0") }),
    ...(facts.uid !== null && facts.gid !== null && { "x-config-owner": `${facts.uid}:${facts.gid}` }),
  }
}

/** Every byte of the text: also a lone surrogate and a percent sign, so that decoding gives the path back. */
function percentEncode(text: string): string {
  return [...Buffer.from(text)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("")
}
