import fastifyAccepts from "@fastify/accepts"
import fastifyCors from "@fastify/cors"
import fastifyHelmet from "@fastify/helmet"
import fastifyRateLimit from "@fastify/rate-limit"
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from "fastify"
import { Fault } from "../domain/fault.ts"
import { addBodyParsing } from "./body.ts"
import { addBrowserGuard, type BrowserRules, toOrigin } from "./browsers.ts"
import { addOpenapi } from "./openapi.ts"
import { sendProblem } from "./problem.ts"
import { answerRawError } from "./raw-errors.ts"
import { requestIdOf } from "./request-id.ts"
import { backupRoutes } from "./routes/backups.ts"
import { configRoutes } from "./routes/configs.ts"
import { operationRoutes } from "./routes/operations.ts"
import { schemaRoutes } from "./routes/schemas.ts"
import { serviceRoutes } from "./routes/service.ts"
import { vmRoutes } from "./routes/vms.ts"
import { addRoutingFaults } from "./routing.ts"
import type { Services } from "./services.ts"
import { compileValidator } from "./validators.ts"

export interface AppOptions extends BrowserRules {
  /** A pino instance, or false: no log. */
  readonly logger: FastifyBaseLogger | false
  /** Largest body, in bytes. */
  readonly bodyBytes: number
  /** Per client address; 0: no limit. Asked at each request, so that a reload counts at once. */
  readonly requestsPerMinute: () => number
  /** Certificate and key as PEM; null: plain HTTP. */
  readonly tls: { readonly cert: string | Buffer; readonly key: string | Buffer } | null
  /** Of the service, as /docs shows it. */
  readonly version: string
  /** How long headers, and a whole request, may take; and how often that is looked at. */
  readonly timeouts: { readonly headersMs: number; readonly requestMs: number; readonly checkIntervalMs: number }
  /** How many may be open at once. */
  readonly connections: number
}

/** Longest id in a path: a legacy backup's file name. Longer ones are 414. */
const maxParamLength = 256

/** The HTTP face of the service, ready to listen. */
export async function buildApp(services: Services, options: AppOptions): Promise<FastifyInstance> {
  const app = createApp(options)
  app.setErrorHandler(sendProblem)
  app.setValidatorCompiler(compileValidator)
  app.setSerializerCompiler(() => JSON.stringify)
  app.decorateRequest("actor", "anonymous")

  addRequestRecord(app)
  await addProtection(app, options)
  addClosing(app)
  addRoutingFaults(app)
  addBrowserGuard(app, options)
  addBodyParsing(app)
  await app.register(fastifyAccepts)
  await addOpenapi(app, options.version)
  await app.register(vmRoutes, services)
  await app.register(configRoutes, services)
  await app.register(backupRoutes, services)
  await app.register(operationRoutes, services)
  await app.register(schemaRoutes, services)
  await app.register(serviceRoutes, services)
  await app.ready()
  return app
}

function createApp(options: AppOptions): FastifyInstance {
  const { logger, timeouts, tls, connections } = options
  // All three time limits, or slow requests are not cut.
  const limits = {
    headersTimeout: timeouts.headersMs,
    connectionsCheckingInterval: timeouts.checkIntervalMs,
    maxHeaderSize: 16_384,
    // Node would answer without a problem; `addRequestRecord` looks at it.
    requireHostHeader: false,
  }
  const common = {
    ...(logger ? { loggerInstance: logger } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "requestId" }),
    requestTimeout: timeouts.requestMs,
    genReqId: requestIdOf,
    bodyLimit: options.bodyBytes,
    routerOptions: { maxParamLength },
    return503OnClosing: false,
    frameworkErrors: sendProblem,
    clientErrorHandler: answerRawError,
  }
  const app: FastifyInstance = tls
    ? fastify({ ...common, https: { ...limits, ...tls } })
    : fastify({ ...common, http: limits })
  app.server.maxConnections = connections
  // RFC 9110, 10.1.1: an expectation that is not known may be ignored; Node would answer without a problem.
  app.server.on("checkExpectation", (request, response) => app.server.emit("request", request, response))
  return app
}

/** The request id in every answer, a Host as HTTP/1.1 asks, and one line in the log. */
function addRequestRecord(app: FastifyInstance): void {
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id)
    if (request.raw.httpVersion === "1.1" && request.headers.host === undefined) {
      throw new Fault("malformed_request", "An HTTP/1.1 request needs a Host header.")
    }
  })
  app.addHook("onResponse", async (request, reply) => {
    request.log.info(requestRecord(request, reply), "request")
  })
}

function requestRecord(request: FastifyRequest, reply: FastifyReply): object {
  const { vmId, type } = (request.params ?? {}) as { vmId?: string; type?: string }
  return {
    method: request.method,
    route: request.routeOptions.url ?? null,
    vmId,
    type,
    status: reply.statusCode,
    ms: Math.round(reply.elapsedTime),
    actor: request.actor,
    // The caller hung up before it had the whole answer.
    ...(!reply.raw.writableFinished && { aborted: true }),
  }
}

async function addProtection(app: FastifyInstance, options: AppOptions): Promise<void> {
  await app.register(fastifyHelmet, {
    // Of this host only: what else runs under its name is not ours to decide.
    strictTransportSecurity: options.tls ? { includeSubDomains: false } : false,
    contentSecurityPolicy: {
      // Without TLS this directive would turn the links of /docs into https.
      directives: options.tls ? {} : { upgradeInsecureRequests: null },
    },
  })
  if (options.corsOrigins.length > 0) {
    await app.register(fastifyCors, {
      origin: options.corsOrigins.map(toOrigin),
      methods: ["GET", "HEAD", "PUT", "POST"],
      strictPreflight: false,
      exposedHeaders: [
        ...["ETag", "Location", "Link", "Last-Modified", "Retry-After", "X-Request-Id"],
        ...["X-Config-Path", "X-Config-Mode", "X-Config-Owner"],
      ],
    })
  }
  await addRateLimit(app, options.requestsPerMinute)
}

async function addRateLimit(app: FastifyInstance, requestsPerMinute: () => number): Promise<void> {
  await app.register(fastifyRateLimit, {
    global: false,
    max: () => requestsPerMinute(),
    timeWindow: 60_000,
    allowList: (request) => requestsPerMinute() === 0 || request.routeOptions.url === "/healthz",
    errorResponseBuilder: (_request, { ttl }) =>
      new Fault("rate_limited", `This address may send ${requestsPerMinute()} requests a minute.`, {
        retryAfterSeconds: Math.max(1, Math.ceil(ttl / 1000)),
      }),
  })
  // A hook of the whole app, so that paths without a route count too.
  app.addHook("onRequest", app.rateLimit())
}

/** Refuses what comes while the service ends, and lets go of connections whose answer was under way. */
function addClosing(app: FastifyInstance): void {
  let closing = false
  app.addHook("preClose", async () => {
    closing = true
    if (!app.server.listening) return
    // Node looks for idle connections once; one whose body was still arriving then would hold the end up for 72 s.
    const reaping = setInterval(() => app.server.closeIdleConnections(), 100)
    app.server.once("close", () => clearInterval(reaping))
  })
  app.addHook("onSend", async (_request, reply) => {
    if (closing) reply.header("connection", "close")
  })
  app.addHook("onRequest", async () => {
    if (closing) throw new Fault("shutting_down", "Config Manager is ending; nothing was tried.")
  })
}
