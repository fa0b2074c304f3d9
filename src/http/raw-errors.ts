import { randomUUID } from "node:crypto"
import type { ServerResponse } from "node:http"
import type { Socket } from "node:net"
import type { FastifyInstance } from "fastify"
import { Fault } from "../domain/fault.ts"
import { faultToProblem, problemHeaders } from "./problem.ts"

/** What is still to leave on a connection. Requests may come together, and answers leave in their order (RFC 9112, 9.3.2). */
interface Answers {
  last: ServerResponse
  /** The answer before the last one; null: it had left when the last request came. */
  before: ServerResponse | null
  /** A refusal waits for them. */
  refusing: boolean
}

const answersOf = new WeakMap<Socket, Answers>()

/** Lets `answerRawError` know what is still to be answered. */
export function addAnswerRecord(app: FastifyInstance): void {
  app.addHook("onRequest", (request, reply, done) => {
    const answers = answersOf.get(request.raw.socket)
    if (answers) {
      answers.before = answers.last.writableFinished ? null : answers.last
      answers.last = reply.raw
    } else answersOf.set(request.raw.socket, { last: reply.raw, before: null, refusing: false })
    done()
  })
}

/**
 * Answers, and closes, a connection on which no request could be read: Fastify never sees one. Answers are told apart by their
 * order only, so those that are under way leave first: who changed a config would take this refusal for the answer.
 */
export function answerRawError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return
  const answers = answersOf.get(socket)
  // Each further byte is an error once more.
  if (answers?.refusing) return
  // Where the last request has not arrived whole, it is the one that cannot be read.
  const awaited = answers?.last.req.complete ? answers.last : answers?.before
  // Finished, not ended: what has ended may still wait behind another.
  if (!answers || !awaited || awaited.writableFinished) refuse(socket, faultOf(error))
  else {
    answers.refusing = true
    awaited.once("finish", () => refuse(socket, faultOf(error)))
  }
}

/** Answers CONNECT, for which Node would close the connection without a word. */
export function answerConnect(_request: unknown, socket: Socket): void {
  refuse(socket, new Fault("method_not_allowed", "Config Manager is no proxy.", { allow: [] }))
}

function refuse(socket: Socket, fault: Fault): void {
  if (socket.writable) socket.write(rawProblem(fault))
  socket.destroySoon()
}

function faultOf(error: NodeJS.ErrnoException): Fault {
  if (error.code === "HPE_HEADER_OVERFLOW") {
    return new Fault("headers_too_large", "The request line and headers are larger than 16 KiB.")
  }
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return new Fault("request_timeout", "The request did not arrive in time.")
  }
  if (error.code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") {
    return new Fault("body_too_large", "The chunk extensions are too large.")
  }
  return new Fault("malformed_request", "What arrived is not an HTTP/1.1 request.")
}

function rawProblem(fault: Fault): string {
  const requestId = randomUUID()
  const problem = faultToProblem(fault, requestId)
  const body = JSON.stringify(problem)
  const headers = {
    ...problemHeaders(fault),
    "content-length": String(Buffer.byteLength(body)),
    "x-request-id": requestId,
    connection: "close",
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return `HTTP/1.1 ${problem.status} ${problem.title}\r\n${lines.join("")}\r\n${body}`
}
