import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { Type } from "typebox"
import { json, locationHeader } from "../answers.ts"
import { callerOf } from "../caller.ts"
import { objectFaults, readFaults, storageFaults } from "../fault-groups.ts"
import { sendJson } from "../pages.ts"
import { CreateBackupsOrOneBody, NoQuery, RunParams, reasonHeader } from "../params.ts"
import type { BackupRunService, BackupService } from "../services.ts"
import { shape } from "../shapes.ts"

interface Parts {
  readonly backups: BackupService
  readonly backupRuns: BackupRunService
}

/** Making backups: one at once, or many as a run. */
export const backupRunRoutes: FastifyPluginAsyncTypebox<Parts> = async (app, { backups, backupRuns }) => {
  app.post(
    "/backups",
    {
      config: {
        scope: "backup:write",
        reveals: false,
        body: "members",
        problems: [...objectFaults, ...readFaults, ...storageFaults, "config_not_found", "operation_in_doubt"],
      },
      schema: {
        operationId: "createBackup",
        summary: "Keep a version of what stands on a VM, or on many",
        description:
          "With `vmId` and `type`: of that one config, at once. With `select`: of all configs that it names, as a run " +
          "in the background that goes on over a restart of the service.",
        tags: ["backups"],
        querystring: NoQuery,
        headers: Type.Object(reasonHeader),
        body: CreateBackupsOrOneBody,
        response: {
          200: json("Nothing changed since the newest version, which is this.", shape("Backup")),
          201: json("The new version.", shape("Backup"), locationHeader),
          202: json("The run that was begun.", shape("BackupRun"), locationHeader),
        },
      },
    },
    async (request, reply) => {
      const order = request.body
      const caller = callerOf(request, reply, order.reason)
      if ("select" in order) {
        const run = await backupRuns.start({ select: order.select, types: order.types ?? null }, caller)
        return reply.code(202).header("location", `/backups/runs/${run.runId}`).send(run)
      }
      const { made, backupId, json: version } = await backups.create({ vmId: order.vmId, type: order.type }, caller)
      if (made) reply.code(201).header("location", `/backups/${backupId}`)
      return sendJson(reply, version)
    },
  )

  app.get(
    "/backups/runs/:runId",
    {
      config: { scope: "backup:read", reveals: false, problems: ["run_not_found", ...storageFaults] },
      schema: {
        operationId: "getBackupRun",
        summary: "Show how a run of backups goes",
        description: "A run is kept for 90 days after its end, the last 1000 of them.",
        tags: ["backups"],
        params: RunParams,
        querystring: NoQuery,
        response: { 200: json("The run.", shape("BackupRun")) },
      },
    },
    async (request) => backupRuns.get(request.params.runId),
  )
}
