import type { FastifyReply, FastifyRequest } from "fastify"
import type { Caller } from "../domain/caller.ts"
import { Fault } from "../domain/fault.ts"

/** Longest reason, in characters. */
export const maxReasonLength = 200

/** Who asks; a `reason` of the body wins over the header's. @throws {Fault} `invalid_header` */
export function callerOf(request: FastifyRequest, reply: FastifyReply, bodyReason?: string): Caller {
  const headerReason = reasonOf(request)
  return {
    actor: request.actor,
    requestId: request.id,
    reason: bodyReason ?? headerReason,
    signal: signalOf(reply),
  }
}

/** Aborts when the connection ends before the answer was written: `close` alone comes after every answer too. */
function signalOf(reply: FastifyReply): AbortSignal {
  const controller = new AbortController()
  reply.raw.once("close", () => {
    if (!reply.raw.writableEnded) controller.abort()
  })
  return controller.signal
}

function reasonOf(request: FastifyRequest): string | null {
  const given = singleHeader(request, "x-change-reason")
  if (given === null || given === "") return null
  const text = decodeUtf8(given)
  if (text === null)
    throw new Fault("invalid_header", "X-Change-Reason is not UTF-8: send the text as its UTF-8 bytes, not as latin1.")
  if ([...text].length > maxReasonLength) {
    throw new Fault("invalid_header", `X-Change-Reason is longer than ${maxReasonLength} characters.`)
  }
  if (/\p{Cc}/u.test(text)) throw new Fault("invalid_header", "X-Change-Reason holds a control character.")
  return text
}

/** A header that may stand once only; null: it does not stand. @throws {Fault} `invalid_header` */
export function singleHeader(request: FastifyRequest, name: string): string | null {
  const values = request.raw.headersDistinct[name]
  if (!values) return null
  if (values.length > 1) throw new Fault("invalid_header", `The header ${name} stands more than once.`)
  return values[0] ?? null
}

/** Node hands headers over as latin1: one character per byte. */
function decodeUtf8(latin1: string): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(latin1, "latin1"))
  } catch {
    return null
  }
}
