import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { json, linkHeader } from "../answers.ts"
import { storageFaults } from "../fault-groups.ts"
import { pageOf, sendPage } from "../pages.ts"
import { NoQuery, OperationParams, OperationsQuery } from "../params.ts"
import type { OperationService } from "../services.ts"
import { listOf, shape } from "../shapes.ts"
import { utcFrom } from "./backups.ts"

/** Operations: what happened. */
export const operationRoutes: FastifyPluginAsyncTypebox<{ readonly operations: OperationService }> = async (
  app,
  { operations },
) => {
  app.get(
    "/operations",
    {
      config: { scope: "config:read", reveals: false, problems: storageFaults },
      schema: {
        operationId: "listOperations",
        summary: "List operations",
        description: "Pushes and backups, newest first; attempts that changed nothing are among them.",
        tags: ["operations"],
        querystring: OperationsQuery,
        response: { 200: json("Operations, newest first.", listOf("Operation"), linkHeader) },
      },
    },
    async (request, reply) => {
      const { vmId, type, kind, state, since } = request.query
      const filter = { vmId, type, kind, state, since: utcFrom(since) }
      return sendPage(request, reply, await operations.list(filter, pageOf(request.query)))
    },
  )

  app.get(
    "/operations/:operationId",
    {
      config: { scope: "config:read", reveals: false, problems: ["operation_not_found", ...storageFaults] },
      schema: {
        operationId: "getOperation",
        summary: "Show one operation",
        tags: ["operations"],
        params: OperationParams,
        querystring: NoQuery,
        response: { 200: json("The operation.", shape("Operation")) },
      },
    },
    async (request) => operations.get(request.params.operationId),
  )
}
