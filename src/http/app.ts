import type { Socket } from "node:net"
import { Server as TlsServer } from "node:tls"
import fastifyAccepts from "@fastify/accepts"
import fastifyCors from "@fastify/cors"
import {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  fastify,
  LogController,
} from "fastify"
import { Fault, isFault } from "../domain/fault.ts"
import { addBodyParsing } from "./body.ts"
import { addBrowserGuard, type BrowserRules, toOrigin } from "./browsers.ts"
import { addOpenapi } from "./openapi.ts"
import { addPipelining } from "./pipelining.ts"
import { sendProblem } from "./problem.ts"
import { addRateLimit } from "./rate-limit.ts"
import { addAnswerRecord, answerConnect, answerRawError } from "./raw-errors.ts"
import { requestIdOf } from "./request-id.ts"
import { addRequestRecord, type RequestObserver } from "./request-record.ts"
import { backupKeepingRoutes } from "./routes/backup-keeping.ts"
import { backupRunRoutes } from "./routes/backup-runs.ts"
import { backupRoutes } from "./routes/backups.ts"
import { configRoutes } from "./routes/configs.ts"
import { operationRoutes } from "./routes/operations.ts"
import { schemaRoutes } from "./routes/schemas.ts"
import { serviceRoutes } from "./routes/service.ts"
import { vmRoutes } from "./routes/vms.ts"
import { addRoutingFaults } from "./routing.ts"
import { addSecurityHeaders, dataHeaders } from "./security-headers.ts"
import type { Services } from "./services.ts"
import { compileValidator } from "./validators.ts"

export interface AppOptions extends BrowserRules {
  /** A pino instance, or false: no log. */
  readonly logger: FastifyBaseLogger | false
  /** Largest body, in bytes. Asked at each request, as the next. */
  readonly bodyBytes: () => number
  /** Per client address; 0: no limit. Asked at each request, so that a reload counts at once. */
  readonly requestsPerMinute: () => number
  /** Certificate and key as PEM; null: plain HTTP. */
  readonly tls: { readonly cert: string | Buffer; readonly key: string | Buffer } | null
  /** Of the service, as /docs shows it. */
  readonly version: string
  readonly timeouts: {
    /** How long headers, and a whole request, may take; and how often that is looked at. */
    readonly headersMs: number
    readonly requestMs: number
    readonly checkIntervalMs: number
    /** How long nothing may move on a connection: longer than any answer is waited for. Who does not read his is let go. */
    readonly idleMs: number
  }
  /** When a closing app lets go of connections that never asked anything, and of all. */
  readonly closing: { readonly silentMs: number; readonly allMs: number }
  /** How many may be open at once. */
  readonly connections: number
  readonly observeRequest?: RequestObserver
  /** Told of each fault that is answered. */
  readonly observeFault?: (fault: Fault) => void
}

/** Longest id in a path: a legacy backup's file name. Longer ones are 414. */
const maxParamLength = 256

/** The HTTP face of the service, ready to listen. */
export async function buildApp(services: Services, options: AppOptions): Promise<FastifyInstance> {
  const app = createApp(options)
  app.setErrorHandler((error, request, reply) => {
    if (isFault(error)) options.observeFault?.(error)
    return sendProblem(error, request, reply)
  })
  app.setValidatorCompiler(compileValidator)
  app.setSerializerCompiler(() => JSON.stringify)
  app.decorateRequest("actor", "anonymous")

  // Hooks are synchronous where they can be: each promise costs a request a turn of the microtask queue.
  addAnswerRecord(app)
  addRequestRecord(app, options.observeRequest)
  addSecurityHeaders(app, options.tls !== null)
  await addCors(app, options)
  addRateLimit(app, options.requestsPerMinute)
  addClosing(app, options.closing)
  addRoutingFaults(app)
  addBrowserGuard(app, options)
  addPipelining(app)
  addBodyParsing(app, options.bodyBytes)
  await app.register(fastifyAccepts)
  await addOpenapi(app, options.version)
  await app.register(vmRoutes, services)
  await app.register(configRoutes, services)
  await app.register(backupRunRoutes, services)
  await app.register(backupRoutes, services)
  await app.register(backupKeepingRoutes, services)
  await app.register(operationRoutes, services)
  await app.register(schemaRoutes, services)
  await app.register(serviceRoutes, services)
  await app.ready()
  return app
}

function createApp(options: AppOptions): FastifyInstance {
  const { logger, timeouts, tls, connections } = options
  const browserRules = dataHeaders(tls !== null)
  // All three time limits, or slow requests are not cut.
  const limits = {
    headersTimeout: timeouts.headersMs,
    connectionsCheckingInterval: timeouts.checkIntervalMs,
    maxHeaderSize: 16_384,
    // Node would answer without a problem; `addRequestRecord` looks at it.
    requireHostHeader: false,
    // A request without a body gets no stream for it (Node 24.12): a tenth of what a small one costs.
    optimizeEmptyRequests: true,
  }
  const common = {
    ...(logger ? { loggerInstance: sharedLogger(logger) } : { logger: false }),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: "requestId" }),
    requestTimeout: timeouts.requestMs,
    connectionTimeout: timeouts.idleMs,
    genReqId: requestIdOf,
    routerOptions: { maxParamLength },
    return503OnClosing: false,
    // No hook sees these.
    frameworkErrors: (error: unknown, request: FastifyRequest, reply: FastifyReply) =>
      sendProblem(error, request, reply.headers(browserRules)),
    clientErrorHandler: answerRawError,
  }
  const app: FastifyInstance = tls
    ? fastify({ ...common, https: { ...limits, handshakeTimeout: timeouts.headersMs, ...tls } })
    : fastify({ ...common, http: limits })
  app.server.maxConnections = connections
  app.server.on("connect", answerConnect)
  // RFC 9110, 10.1.1: an expectation that is not known may be ignored; Node would answer without a problem.
  app.server.on("checkExpectation", (request, response) => app.server.emit("request", request, response))
  return app
}

/**
 * A logger of its own for each request costs as much as its route: the few lines that a request writes name its id. No
 * `childLoggerFactory` says so, for Fastify checks at each request what that makes.
 */
function sharedLogger(logger: FastifyBaseLogger): FastifyBaseLogger {
  const shared: FastifyBaseLogger = Object.assign(Object.create(logger), { child: () => shared })
  return shared
}

async function addCors(app: FastifyInstance, { corsOrigins }: AppOptions): Promise<void> {
  if (corsOrigins.length === 0) return
  await app.register(fastifyCors, {
    origin: corsOrigins.map(toOrigin),
    methods: ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"],
    strictPreflight: false,
    exposedHeaders: [
      ...["ETag", "Location", "Link", "Last-Modified", "Retry-After", "X-Request-Id"],
      ...["X-Config-Path", "X-Config-Mode", "X-Config-Owner"],
    ],
  })
}

/**
 * Refuses what comes while the service ends, and lets go of connections: of those whose answer was under way once it has left,
 * of those that asked nothing and of those that never end their request after a while.
 */
function addClosing(app: FastifyInstance, { silentMs, allMs }: AppOptions["closing"]): void {
  let closing = false
  /** Connections that asked nothing so far: for Node they are not idle. */
  const silent = new Set<Socket>()
  app.server.on(app.server instanceof TlsServer ? "secureConnection" : "connection", (socket: Socket) => {
    silent.add(socket)
    socket.once("close", () => silent.delete(socket))
  })
  app.addHook("preClose", async () => {
    closing = true
    if (!app.server.listening) return
    const timers = [
      // Node looks for idle connections once; one whose body was still arriving then would hold the end up for 72 s.
      setInterval(() => app.server.closeIdleConnections(), 100),
      setTimeout(() => {
        for (const socket of silent) socket.destroy()
      }, silentMs),
      setTimeout(() => app.server.closeAllConnections(), allMs),
    ]
    app.server.once("close", () => {
      for (const timer of timers) clearTimeout(timer)
    })
  })
  app.addHook("onSend", (_request, reply, payload, done) => {
    if (closing) reply.header("connection", "close")
    done(null, payload)
  })
  app.addHook("onRequest", (request, _reply, done) => {
    if (silent.size > 0) silent.delete(request.raw.socket)
    if (closing) throw new Fault("shutting_down", "Config Manager is ending; nothing was tried.")
    done()
  })
}
