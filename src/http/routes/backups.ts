import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { type Static, Type } from "typebox"
import type { VersionFilter } from "../../domain/catalog.ts"
import { Fault } from "../../domain/fault.ts"
import { contentAnswer, diffAnswer, etagHeader, json, linkHeader, notModified } from "../answers.ts"
import { callerOf } from "../caller.ts"
import { contentFaults, objectFaults, pushFaults, readFaults, sealedFaults, storageFaults } from "../fault-groups.ts"
import { pageOf, sendJson, sendPage } from "../pages.ts"
import {
  BackupDiffQuery,
  BackupParams,
  BackupsQuery,
  cachedHeader,
  ifMatchHeader,
  NoQuery,
  RestoreBody,
  RestoreQuery,
  reasonHeader,
} from "../params.ts"
import { preconditionOf } from "../preconditions.ts"
import type { BackupService, ConfigService } from "../services.ts"
import { listOf, shape } from "../shapes.ts"
import { sendContent, viewOf } from "../views.ts"
import { diffMediaType, sendDiff, sendPushed } from "./configs.ts"

interface Parts {
  readonly backups: BackupService
  readonly configs: ConfigService
}

/** Backups: sealed versions of what stood on a VM. */
export const backupRoutes: FastifyPluginAsyncTypebox<Parts> = async (app, { backups, configs }) => {
  app.get(
    "/backups",
    {
      config: { scope: "backup:read", reveals: false, problems: storageFaults },
      schema: {
        operationId: "listBackups",
        summary: "List backups",
        description: "Newest first.",
        tags: ["backups"],
        querystring: BackupsQuery,
        response: { 200: json("Backups, newest first.", listOf("Backup"), linkHeader) },
      },
    },
    async (request, reply) =>
      sendPage(request, reply, await backups.list(filterOf(request.query), pageOf(request.query))),
  )

  app.get(
    "/backups/:backupId",
    {
      config: { scope: "backup:read", reveals: false, problems: ["backup_not_found", ...storageFaults] },
      schema: {
        operationId: "getBackup",
        summary: "Show one backup",
        tags: ["backups"],
        params: BackupParams,
        querystring: NoQuery,
        response: { 200: json("The backup, without its content.", shape("Backup")) },
      },
    },
    async (request, reply) => sendJson(reply, await backups.getJson(request.params.backupId)),
  )

  app.get(
    "/backups/:backupId/content",
    {
      config: {
        scope: "backup:read",
        reveals: true,
        problems: ["backup_not_found", ...sealedFaults, ...storageFaults, ...contentFaults, "not_acceptable"],
      },
      schema: {
        operationId: "getBackupContent",
        summary: "Open one backup",
        tags: ["backups"],
        params: BackupParams,
        querystring: NoQuery,
        headers: Type.Object(cachedHeader),
        response: { 200: contentAnswer, 304: notModified },
      },
    },
    async (request, reply) => {
      const content = await backups.content(request.params.backupId)
      const view = viewOf(request, content.type.format)
      const { path, mode, uid, gid, validFrom, type } = content.version
      const facts = { path, mode, uid, gid, modifiedAt: new Date(validFrom) }
      return sendContent(request, reply, content, view, { facts, secret: configs.hasSecrets(type) })
    },
  )

  app.get(
    "/backups/:backupId/diff",
    {
      config: {
        scope: "backup:read",
        reveals: true,
        problems: [
          "backup_not_found",
          "config_not_found",
          ...objectFaults,
          ...sealedFaults,
          ...storageFaults,
          ...readFaults,
          ...contentFaults,
          "not_acceptable",
        ],
      },
      schema: {
        operationId: "diffBackup",
        summary: "Compare one backup with the live file or another backup",
        tags: ["backups"],
        params: BackupParams,
        querystring: BackupDiffQuery,
        response: { 200: diffAnswer },
      },
    },
    async (request, reply) => {
      const { against = "live" } = request.query
      const caller = callerOf(request, reply)
      const mediaType = diffMediaType(request)
      return sendDiff(reply, mediaType, await backups.diff(request.params.backupId, against, caller))
    },
  )

  app.post(
    "/backups/:backupId/verify",
    {
      config: { scope: "backup:read", reveals: false, body: "none", problems: ["backup_not_found", ...storageFaults] },
      schema: {
        operationId: "verifyBackup",
        summary: "Check that one backup opens",
        description: "Opens it, compares digest and size, and parses it. Succeeds whatever it finds.",
        tags: ["backups"],
        params: BackupParams,
        querystring: NoQuery,
        response: { 200: json("What was found.", shape("CheckReport")) },
      },
    },
    async (request) => backups.verify(request.params.backupId),
  )

  app.post(
    "/backups/:backupId/restore",
    {
      config: {
        scope: "restore",
        reveals: true,
        body: "members",
        problems: ["backup_not_found", ...sealedFaults, ...pushFaults, ...contentFaults],
      },
      schema: {
        operationId: "restoreBackup",
        summary: "Put one backup back",
        description:
          "Exactly its bytes, mode and owner; what stands there becomes a version first. The body may be empty.",
        tags: ["backups"],
        params: BackupParams,
        querystring: RestoreQuery,
        headers: Type.Object({ ...ifMatchHeader, ...reasonHeader }),
        body: RestoreBody,
        response: {
          200: json("Restored, unchanged, or what a dry run found.", shape("RestoreReport"), etagHeader),
          201: json("The file did not exist and was created.", shape("RestoreReport"), etagHeader),
        },
      },
    },
    async (request, reply) => {
      const { vmId = null, reason } = request.body
      const caller = callerOf(request, reply, reason)
      const precondition = preconditionOf(request)
      const { dryRun = false } = request.query
      return sendPushed(reply, await backups.restore(request.params.backupId, { vmId, dryRun, precondition }, caller))
    },
  )
}

function filterOf(query: Static<typeof BackupsQuery>): VersionFilter {
  const { vmId, type, since, until, at, trigger, state, pinned } = query
  if (at !== undefined && (vmId === undefined || type === undefined)) {
    const errors = [{ pointer: "/at", message: "needs vmId and type" }]
    throw new Fault("invalid_parameter", "The parameter at needs vmId and type beside it.", { errors })
  }
  return { vmId, type, trigger, state, pinned, since: utcFrom(since), until: utcFrom(until), at: utc(at) }
}

/** A limit of times that are whole milliseconds: the first of them that is not before it. */
export function utcFrom(time: string | undefined): string | undefined {
  const isBetween = time !== undefined && /\.\d{3}\d*[1-9]/.test(time)
  return isBetween ? new Date(Date.parse(time) + 1).toISOString() : utc(time)
}

/** The catalog compares times as text: one notation only. What is finer than a millisecond is cut off. */
function utc(time: string | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString()
}
