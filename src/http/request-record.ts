import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import { Fault } from "../domain/fault.ts"

/**
 * Told of each request once it has ended; `route` is the pattern, undefined where no route has the path; `status` null: its caller
 * hung up before it had the whole answer.
 */
export type RequestObserver = (route: string | undefined, method: string, status: number | null, ms: number) => void

/** The request id in every answer, a Host as HTTP/1.1 asks, and one line in the log. */
export function addRequestRecord(app: FastifyInstance, observe: RequestObserver | undefined): void {
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id)
    if (request.headers.host === undefined && request.raw.httpVersion === "1.1") {
      throw new Fault("malformed_request", "An HTTP/1.1 request needs a Host header.")
    }
    // Comes after every answer, and alone where the caller hangs up before it has left: of that Fastify tells no hook.
    reply.raw.on("close", () => {
      if (reply.raw.writableFinished) return
      app.log.info(requestRecord(request, reply, request.routeOptions.url), "request")
      observe?.(request.routeOptions.url, request.method, null, reply.elapsedTime)
    })
    done()
  })
  app.addHook("onResponse", (request, reply, done) => {
    // Told at its close.
    if (!reply.raw.writableFinished) return done()
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
    // null: the caller hung up before there was an answer.
    status: reply.raw.headersSent ? reply.statusCode : null,
    ms: Math.round(reply.elapsedTime),
    actor: request.actor,
    // It hung up before it had the whole of it.
    aborted: reply.raw.writableFinished ? undefined : true,
  }
}
