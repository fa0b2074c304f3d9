import fastifySwagger from "@fastify/swagger"
import fastifySwaggerUi from "@fastify/swagger-ui"
import type { FastifyInstance, RouteOptions } from "fastify"
import { stringify } from "yaml"
import type { FaultCode } from "../domain/fault.ts"
import { faces } from "./problem.ts"
import type { BodyKind } from "./route-config.ts"
import { shapes } from "./shapes.ts"

const description = `Reads, checks, versions and safely writes the config files of a fleet of VMs over SSH.

Every error is \`application/problem+json\` (RFC 9457); its \`type\` is a page here that says what to do.`

const tags = [
  { name: "vms", description: "The machines of the fleet, as the settings name them." },
  { name: "configs", description: "The one file of a config type on a VM." },
  { name: "backups", description: "Sealed versions of what stood on a VM." },
  { name: "operations", description: "What happened: every push and backup, failed ones too." },
  { name: "schemas", description: "The JSON Schemas that configs keep." },
  { name: "service", description: "The service itself." },
]

/** Describes every route that is added after it, and serves the pages under /docs. */
export async function addOpenapi(app: FastifyInstance, version: string): Promise<void> {
  for (const [name, schema] of Object.entries(shapes)) app.addSchema({ $id: name, ...schema })
  app.addHook("onRoute", describeRoute)
  await app.register(fastifySwagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Config Manager",
        version,
        description,
        license: { name: "MIT", identifier: "MIT" },
      },
      servers: [{ url: "/", description: "Where this description was found." }],
      tags,
      components: {
        securitySchemes: {
          bearerAuth: {
            type: "http",
            scheme: "bearer",
            description: "A token of the settings, where any are configured; each call names the scope it needs.",
          },
        },
      },
    },
    convertConstToEnum: false,
    refResolver: { buildLocalReference: (json, _base, _fragment, index) => String(json.$id ?? `def-${index}`) },
    transformObject: (document) => {
      if (!("openapiObject" in document)) return document.swaggerObject
      const restore = document.openapiObject.paths?.["/backups/{backupId}/restore"]?.post?.requestBody
      // The plugin says "required" of every body; this one may be empty.
      if (restore && "content" in restore) restore.required = false
      return document.openapiObject
    },
  })
  await app.register(fastifySwaggerUi, {
    routePrefix: "/docs",
    uiConfig: { deepLinking: true, tryItOutEnabled: true, validatorUrl: null, layout: "BaseLayout" },
  })
}

/** The description as the project keeps it in openapi.yaml. */
export function openapiText(app: FastifyInstance): string {
  return stringify(app.swagger(), { lineWidth: 120, aliasDuplicateObjects: false })
}

/** Holds every route to saying who may call it, and adds that and its problems to its description. */
function describeRoute(route: RouteOptions): void {
  // The pages of the plugin describe nothing and are open.
  if (route.url.startsWith("/docs")) route.config = { ...route.config, scope: "open", reveals: false }
  const { schema, config } = route
  if (route.url === "*") return
  if (config?.scope === undefined || config.reveals === undefined) {
    throw new Error(`The route ${route.url} does not say who may call it: config.scope and config.reveals.`)
  }
  if (!schema || schema.hide === true) return
  route.schema = {
    ...schema,
    security: config.scope === "open" ? [] : [{ bearerAuth: [config.scope] }],
    ...(config.scope !== "open" && { "x-scope": config.scope }),
    response: { ...problemAnswers(problemsOf(route)), ...(schema.response as object) },
  }
}

const bodyProblems = {
  config: ["malformed_json", "unsupported_media_type", "body_too_large", "invalid_header"],
  members: ["malformed_json", "invalid_body", "unsupported_media_type", "body_too_large", "invalid_header"],
  none: ["malformed_json", "invalid_body", "unsupported_media_type", "body_too_large"],
} as const satisfies Record<BodyKind, readonly FaultCode[]>

function problemsOf({ schema, config }: RouteOptions): ReadonlySet<FaultCode> {
  const takesText = schema?.params !== undefined || schema?.querystring !== undefined
  return new Set<FaultCode>([
    ...(takesText ? (["invalid_parameter"] as const) : []),
    ...(schema?.headers !== undefined ? (["invalid_header"] as const) : []),
    ...(config?.body ? bodyProblems[config.body] : []),
    ...(config?.problems ?? []),
    "forbidden",
    "rate_limited",
    "internal_error",
    "shutting_down",
  ])
}

/** One documented answer per status, with an example per code. */
function problemAnswers(codes: ReadonlySet<FaultCode>): Record<number, object> {
  const answers: Record<number, { description: string; content: object }> = {}
  const statuses = [...new Set([...codes].map((code) => faces[code].status))].sort()
  for (const status of statuses) {
    const here = [...codes].filter((code) => faces[code].status === status)
    answers[status] = {
      description: here.map((code) => `\`${code}\`: ${faces[code].title}.`).join("\n"),
      content: { "application/problem+json": { schema: { $ref: "Problem#" } } },
    }
  }
  return answers
}
