import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { json } from "../answers.ts"
import { callerOf } from "../caller.ts"
import { storageFaults } from "../fault-groups.ts"
import { sendJson } from "../pages.ts"
import { AnnotateBody, BackupParams, NoQuery, PurgeQuery, RemovedBackupParams } from "../params.ts"
import type { BackupService, RetentionService, VersionNoteService } from "../services.ts"
import { shape } from "../shapes.ts"

interface Parts {
  readonly backups: BackupService
  readonly retention: RetentionService
  readonly versionNotes: VersionNoteService
}

/** Keeping backups: pins and notes, and letting go. */
export const backupKeepingRoutes: FastifyPluginAsyncTypebox<Parts> = async (
  app,
  { backups, retention, versionNotes },
) => {
  app.patch(
    "/backups/:backupId",
    {
      config: {
        scope: "backup:write",
        reveals: false,
        body: "members",
        problems: ["backup_not_found", ...storageFaults],
      },
      schema: {
        operationId: "annotateBackup",
        summary: "Pin one backup, or change its note",
        description: "Members that are left out stay as they are.",
        tags: ["backups"],
        params: BackupParams,
        querystring: NoQuery,
        body: AnnotateBody,
        response: { 200: json("The backup as it is now.", shape("Backup")) },
      },
    },
    async (request, reply) => {
      const { backupId } = request.params
      await versionNotes.annotate(backupId, request.body)
      return sendJson(reply, await backups.getJson(backupId))
    },
  )

  app.delete(
    "/backups/:backupId",
    {
      config: {
        scope: "backup:write",
        reveals: false,
        body: "none",
        problems: ["backup_not_found", "backup_protected", "operation_in_doubt", "config_busy", ...storageFaults],
      },
      schema: {
        operationId: "removeBackup",
        summary: "Remove one backup",
        description:
          "For good. Refused for a pinned one, the newest of its config, and one that was superseded less than 90 days ago. " +
          "503 or 507 may come after it has left the list: its file could not be removed then, and where that stands at the next " +
          "start it is listed again; `detail` says so.",
        tags: ["backups"],
        params: RemovedBackupParams,
        querystring: NoQuery,
        response: { 204: { description: "It is gone.", type: "null" } },
      },
    },
    async (request, reply) => {
      await retention.remove(request.params.backupId, callerOf(request, reply).signal)
      return reply.code(204).send(null)
    },
  )

  app.post(
    "/backups/purge",
    {
      config: { scope: "backup:write", reveals: false, body: "none", problems: ["purge_guard", ...storageFaults] },
      schema: {
        operationId: "purgeBackups",
        summary: "Remove all backups whose time is over",
        description:
          "Those superseded more than `backup_retention_days` ago. It happens by itself, after a backup was made and daily. " +
          "One call removes 10000 at most; the next goes on.",
        tags: ["backups"],
        querystring: PurgeQuery,
        response: { 200: json("What went, or would go.", shape("PurgeReport")) },
      },
    },
    async (request) => {
      const { dryRun = false, force = false } = request.query
      return retention.purge({ dryRun, force })
    },
  )
}
