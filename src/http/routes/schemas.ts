import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { Type } from "typebox"
import { etagHeader, json, linkHeader, notModified } from "../answers.ts"
import { pageByName, sendItems } from "../pages.ts"
import { cachedHeader, NoQuery, PageQuery, SchemaParams } from "../params.ts"
import { etagOf, isFresh } from "../preconditions.ts"
import type { SchemaService } from "../services.ts"
import { listOf } from "../shapes.ts"

/** Schemas: the JSON Schemas that configs keep. */
export const schemaRoutes: FastifyPluginAsyncTypebox<{ readonly schemas: SchemaService }> = async (
  app,
  { schemas },
) => {
  app.get(
    "/schemas",
    {
      config: { scope: "config:read", reveals: false, problems: [] },
      schema: {
        operationId: "listSchemas",
        summary: "List the schemas in force",
        tags: ["schemas"],
        querystring: PageQuery,
        response: { 200: json("Schemas by type.", listOf("Schema"), linkHeader) },
      },
    },
    async (request, reply) => {
      const all = schemas.list().map(({ type, file, digest, title }) => ({ type, file, digest, title }))
      return sendItems(
        request,
        reply,
        pageByName(all, ({ type }) => type, request.query),
      )
    },
  )

  app.get(
    "/schemas/:type",
    {
      config: { scope: "config:read", reveals: false, problems: ["config_type_not_found", "schema_not_found"] },
      schema: {
        operationId: "getSchema",
        summary: "Show the JSON Schema of one type",
        tags: ["schemas"],
        params: SchemaParams,
        querystring: NoQuery,
        headers: Type.Object(cachedHeader),
        response: {
          200: {
            description: "The schema's file, byte for byte.",
            headers: etagHeader,
            content: { "application/schema+json": { schema: Type.Unknown() } },
          },
          304: notModified,
        },
      },
    },
    async (request, reply) => {
      const { bytes, digest } = schemas.text(request.params.type)
      const etag = etagOf(digest)
      reply.headers({ etag, "cache-control": "private, no-cache" })
      if (isFresh(request, etag)) return reply.code(304).send(null)
      return reply.type("application/schema+json").send(bytes)
    },
  )
}
