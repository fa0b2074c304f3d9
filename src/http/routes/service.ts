import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { Type } from "typebox"
import { Fault } from "../../domain/fault.ts"
import { json, text } from "../answers.ts"
import { openapiText } from "../openapi.ts"
import { sendJson } from "../pages.ts"
import { NoQuery, ProblemParams } from "../params.ts"
import { problemText } from "../problem-texts.ts"
import type { HealthService, MetricsService } from "../services.ts"
import { shape } from "../shapes.ts"

const healthy = JSON.stringify({ status: "ok" })
const open = { scope: "open", reveals: false, problems: [] } as const

/** The service itself: is it well, what do its problems mean, what can be asked of it. */
export const serviceRoutes: FastifyPluginAsyncTypebox<{
  readonly health: HealthService
  readonly metrics: MetricsService
}> = async (app, { health, metrics }) => {
  app.get("/", { config: open, schema: { hide: true } }, async (_request, reply) => reply.redirect("/docs"))

  app.get(
    "/healthz",
    {
      config: open,
      schema: {
        operationId: "getHealth",
        summary: "Whether the process lives",
        tags: ["service"],
        querystring: NoQuery,
        response: { 200: json("It does.", Type.Object({ status: Type.Literal("ok") })) },
      },
    },
    (_request, reply) => sendJson(reply, healthy),
  )

  app.get(
    "/readyz",
    {
      config: open,
      schema: {
        operationId: "getReadiness",
        summary: "Whether the service can do its work",
        tags: ["service"],
        querystring: NoQuery,
        response: {
          200: json("Ready; `degraded` where something needs a look.", shape("Readiness")),
          503: json("Not ready; `checks` says why.", shape("Readiness")),
        },
      },
    },
    async (_request, reply) => {
      const readiness = await health.readiness()
      return reply
        .code(readiness.ready ? 200 : 503)
        .header("cache-control", "no-store")
        .send(readiness)
    },
  )

  app.get(
    "/metrics",
    {
      config: open,
      schema: {
        operationId: "getMetrics",
        summary: "What the service counts and measures, for Prometheus",
        tags: ["service"],
        querystring: NoQuery,
        response: { 200: text("The Prometheus text format; docs/metrics.md lists the metrics.", "text/plain") },
      },
    },
    async (_request, reply) =>
      reply
        .type(metrics.contentType)
        .header("cache-control", "no-store")
        .send(await metrics.text()),
  )

  app.get(
    "/problems/:code",
    {
      config: { ...open, problems: ["not_found"] },
      schema: {
        operationId: "getProblem",
        summary: "What a problem means, and what to do",
        tags: ["service"],
        params: ProblemParams,
        querystring: NoQuery,
        response: { 200: text("A short text.", "text/plain") },
      },
    },
    async (request, reply) => {
      const page = problemText(request.params.code)
      if (page === null) throw new Fault("not_found", "No problem has this code.")
      return reply.type("text/plain; charset=utf-8").send(page)
    },
  )

  app.get(
    "/openapi.json",
    {
      config: open,
      schema: {
        operationId: "getOpenapiJson",
        summary: "This description as JSON",
        tags: ["service"],
        querystring: NoQuery,
        response: { 200: json("OpenAPI 3.1.", Type.Unknown()) },
      },
    },
    async () => app.swagger(),
  )

  app.get(
    "/openapi.yaml",
    {
      config: open,
      schema: {
        operationId: "getOpenapiYaml",
        summary: "This description as YAML",
        tags: ["service"],
        querystring: NoQuery,
        response: { 200: text("OpenAPI 3.1.", "application/yaml") },
      },
    },
    async (_request, reply) => reply.type("application/yaml").send(openapiText(app)),
  )
}
