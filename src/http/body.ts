import type { IncomingMessage } from "node:http"
import { MIMEType } from "node:util"
import type { FastifyInstance, FastifyRequest, preParsingHookHandler } from "fastify"
import { parseJson } from "../documents/json.ts"
import { Fault } from "../domain/fault.ts"
import type { Body } from "../services/configs.ts"

/** Media types of a config's own bytes. */
export const rawMediaTypes = [
  "application/yaml",
  "text/yaml",
  "application/x-yaml",
  "text/plain",
  "application/octet-stream",
] as const

/**
 * Reads bodies as bytes and turns them into what their route takes (`config.body`).
 * @param maxBytes asked at each request: Fastify's own limit is fixed when a route is added, and a reload could not change it
 */
export function addBodyParsing(app: FastifyInstance, maxBytes: () => number): void {
  app.removeAllContentTypeParsers()
  // Parsing waits for preValidation: a parser that throws makes Fastify close a connection that is in order.
  app.addContentTypeParser("*", (_request: FastifyRequest, payload: IncomingMessage) => readWhole(payload, maxBytes()))

  app.addHook("preParsing", (request, _reply, payload, done) => {
    refuseEncodings(request)
    done(null, payload)
  })

  app.addHook("onRoute", (route) => {
    const body = route.config?.body
    if (body === undefined) return
    route.preParsing = body === "config" ? refuseMediaType : leaveMediaType
    route.preValidation = (request, _reply, done) => {
      const bytes = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
      request.body = body === "config" ? configBody(request, bytes) : members(request, bytes)
      if (body === "none") refuseMembers(request.body)
      done()
    }
  })
}

/** Before the body has arrived. */
const refuseMediaType: preParsingHookHandler = (request, _reply, payload, done) => {
  configMediaType(request)
  refusePart(request)
  done(null, payload)
}

/** Fastify would refuse what it cannot read, also where nothing is sent under it; `members` looks at what was sent. */
const leaveMediaType: preParsingHookHandler = (request, _reply, payload, done) => {
  if (request.headers["content-type"] !== undefined) request.headers["content-type"] = "application/octet-stream"
  done(null, payload)
}

/** @throws {Fault} `body_too_large` before a byte is read where that much is declared, else at the first byte too many */
async function readWhole(payload: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const tooLarge = (): Fault =>
    new Fault("body_too_large", `The body is larger than ${maxBytes} bytes (limits.body_bytes).`)
  if (Number(payload.headers["content-length"] ?? 0) > maxBytes) throw tooLarge()
  const chunks: Buffer[] = []
  let length = 0
  // The answer to a body that is not read on goes out over the same socket, which the end of the loop must leave open.
  for await (const chunk of payload.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > maxBytes) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length)
}

/** The config in a request's body, after addBodyParsing has read it. */
export function bodyOf(request: FastifyRequest): Body {
  return request.body as Body
}

function configBody(request: FastifyRequest, bytes: Buffer): Body {
  if (configMediaType(request) !== "application/json") return { bytes }
  const { value, ordered } = parseJson(bytes)
  return ordered === undefined ? { value } : { value, ordered }
}

/** What would be put in place of a config and is none: not a part of one (RFC 9110, 14.5), nor nothing at all. @throws {Fault} */
function refusePart({ headers }: FastifyRequest): void {
  if (headers["content-range"] !== undefined) {
    throw new Fault("invalid_header", "Content-Range: a config is sent whole. With curl: -T FILE without -C.")
  }
  if (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined) {
    const sentence = "No body was sent; an empty config says so by Content-Length: 0. With curl: -T FILE."
    throw new Fault("invalid_header", sentence)
  }
}

/** null: none was said, so the bytes are kept as they are. @throws {Fault} `unsupported_media_type` */
function configMediaType(request: FastifyRequest): string | null {
  const type = mediaTypeOf(request)
  if (type === null || type === "application/json" || rawMediaTypes.some((raw) => raw === type)) return type
  throw new Fault(
    "unsupported_media_type",
    `A config is sent as application/json (a value), as ${rawMediaTypes.join(", ")}, or without Content-Type (its bytes). ` +
      "With curl: -T FILE, or --data-binary @FILE -H 'Content-Type: application/yaml'.",
  )
}

function members(request: FastifyRequest, bytes: Buffer): unknown {
  if (bytes.length === 0) return {}
  if (mediaTypeOf(request) === "application/json") return parseJson(bytes).value
  throw new Fault(
    "unsupported_media_type",
    "The body of this call is application/json. With curl: -H 'Content-Type: application/json'.",
  )
}

function refuseMembers(value: unknown): void {
  const empty = typeof value === "object" && value !== null && !Array.isArray(value) && Object.keys(value).length === 0
  if (!empty) throw new Fault("invalid_body", "This call takes no members: send no body, or {}.")
}

/** Lower-case type/subtype. @throws {Fault} `unsupported_media_type` also for any charset but UTF-8 */
function mediaTypeOf(request: FastifyRequest): string | null {
  const values = request.raw.headersDistinct["content-type"]
  if (!values) return null
  const type = values.length === 1 ? parseMediaType(values[0] ?? "") : null
  if (!type) throw new Fault("unsupported_media_type", "The Content-Type cannot be read.")
  const charset = type.params.get("charset")?.toLowerCase()
  if (charset !== undefined && charset !== "utf-8" && charset !== "utf8") {
    throw new Fault("unsupported_media_type", "Bodies are UTF-8; no other charset is taken.")
  }
  return type.essence
}

function parseMediaType(text: string): MIMEType | null {
  try {
    return new MIMEType(text)
  } catch {
    return null
  }
}

function refuseEncodings(request: FastifyRequest): void {
  const content = request.headers["content-encoding"]?.toLowerCase() ?? "identity"
  const transfer = request.headers["transfer-encoding"]?.toLowerCase() ?? "chunked"
  if (content !== "identity" || transfer !== "chunked") {
    throw new Fault("unsupported_media_type", "Bodies are taken as they are: no Content-Encoding, no compression.")
  }
}
