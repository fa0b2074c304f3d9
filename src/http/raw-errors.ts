import { randomUUID } from "node:crypto"
import type { Socket } from "node:net"
import { Fault } from "../domain/fault.ts"
import { faultToProblem, problemHeaders } from "./problem.ts"

/** Answers, and closes, a connection on which no request could be read: Fastify never sees one. */
export function answerRawError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return
  if (socket.writable) socket.write(rawProblem(faultOf(error)))
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
