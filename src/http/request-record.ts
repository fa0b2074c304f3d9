import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import { Fault } from "../domain/fault.ts"

/** Told of each answer once it has ended; `route` is the pattern, undefined where no route has the path. */
export type RequestObserver = (route: string | undefined, method: string, status: number, ms: number) => void

/** The request id in every answer, a Host as HTTP/1.1 asks, and one line in the log. */
export function addRequestRecord(app: FastifyInstance, observe: RequestObserver | undefined): void {
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id)
    if (request.headers.host === undefined && request.raw.httpVersion === "1.1") {
      throw new Fault("malformed_request", "An HTTP/1.1 request needs a Host header.")
    }
    done()
  })
  app.addHook("onResponse", (request, reply, done) => {
    const route = request.routeOptions.url
    // Probes that are well would be most of the log.
    const level = route === "/healthz" && reply.statusCode < 400 ? "debug" : "info"
    if (level === "info" || app.log.level === "debug" || app.log.level === "trace") {
      app.log[level](requestRecord(request, reply, route), "request")
    }
    observe?.(route, request.method, reply.statusCode, reply.elapsedTime)
    done()
  })
}

function requestRecord(request: FastifyRequest, reply: FastifyReply, route: string | undefined): object {
  const { vmId, type } = (request.params ?? {}) as { vmId?: string; type?: string }
  return {
    requestId: request.id,
    method: request.method,
    route: route ?? null,
    vmId,
    type,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime),
    actor: request.actor,
    // The caller hung up before it had the whole answer.
    aborted: reply.raw.writableFinished ? undefined : true,
  }
}
