import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import type { FastifyReply, FastifyRequest } from "fastify"
import { Type } from "typebox"
import type { ConfigRef } from "../../domain/config-type.ts"
import { Fault } from "../../domain/fault.ts"
import type { DiffReport, PushReport } from "../../domain/report.ts"
import type { Body } from "../../services/configs.ts"
import { configBody, contentAnswer, diffAnswer, etagHeader, json, notModified } from "../answers.ts"
import { bodyOf } from "../body.ts"
import { callerOf } from "../caller.ts"
import { contentFaults, objectFaults, pushFaults, readFaults } from "../fault-groups.ts"
import {
  ConfigParams,
  cachedHeader,
  createOnlyHeader,
  ifMatchHeader,
  NoQuery,
  PutQuery,
  reasonHeader,
} from "../params.ts"
import { etagOf, preconditionOf } from "../preconditions.ts"
import type { ConfigService } from "../services.ts"
import { shape } from "../shapes.ts"
import { chooseMediaType, sendContent, viewOf } from "../views.ts"

/** Configs: the one file of a config type on a VM. */
export const configRoutes: FastifyPluginAsyncTypebox<{ readonly configs: ConfigService }> = async (
  app,
  { configs },
) => {
  app.get(
    "/vms/:vmId/configs/:type",
    {
      config: {
        scope: "config:read",
        reveals: true,
        problems: [...objectFaults, ...readFaults, ...contentFaults, "config_not_found", "not_acceptable"],
      },
      schema: {
        operationId: "getConfig",
        summary: "Read a config from its VM",
        description: "The live file. A file that cannot be parsed is 422 as JSON, and 200 in a raw view.",
        tags: ["configs"],
        params: ConfigParams,
        querystring: NoQuery,
        headers: Type.Object(cachedHeader),
        response: { 200: contentAnswer, 304: notModified },
      },
    },
    async (request, reply) => {
      const { format } = configs.typeOf(request.params)
      const view = viewOf(request, format)
      const live = await configs.read(request.params, callerOf(request, reply))
      const { mode, uid, gid, mtime } = live.file
      const facts = { path: live.path, mode, uid, gid, modifiedAt: new Date(mtime * 1000) }
      return sendContent(request, reply, live, view, { facts, secret: configs.hasSecrets(request.params.type) })
    },
  )

  app.put(
    "/vms/:vmId/configs/:type",
    {
      config: {
        scope: "config:write",
        reveals: true,
        body: "config",
        problems: [...pushFaults, ...contentFaults, "config_invalid", "invalid_body"],
      },
      schema: {
        operationId: "putConfig",
        summary: "Put a whole config in place",
        description:
          "Validates, keeps a version, writes atomically and reads back; the old bytes come back if a later step fails. " +
          "The body is all of it: without a length, or with Content-Range, it is refused. So is If-Unmodified-Since: send If-Match.",
        tags: ["configs"],
        params: ConfigParams,
        querystring: PutQuery,
        headers: Type.Object({ ...ifMatchHeader, ...createOnlyHeader, ...reasonHeader }),
        body: configBody,
        response: {
          200: json("Written, unchanged, or what a dry run found.", shape("PushReport"), etagHeader),
          201: json("The file did not exist and was created.", shape("PushReport"), etagHeader),
        },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request, reply)
      const precondition = preconditionOf(request)
      const { validate = true, backup = true, dryRun = false } = request.query
      const body = bodyFor(configs, request.params, request)
      const report = await configs.put(request.params, body, { validate, backup, dryRun, precondition }, caller)
      return sendPushed(reply, report)
    },
  )

  app.post(
    "/vms/:vmId/configs/:type/validate",
    {
      config: {
        scope: "config:read",
        reveals: false,
        body: "config",
        problems: [...objectFaults, "config_too_complex", "config_busy"],
      },
      schema: {
        operationId: "validateConfig",
        summary: "Check a config without sending it",
        description: "200 for valid and invalid documents alike; the VM is not contacted.",
        tags: ["configs"],
        params: ConfigParams,
        querystring: NoQuery,
        body: configBody,
        response: { 200: json("What was found.", shape("ValidateReport")) },
      },
    },
    async (request) => configs.validate(request.params, bodyFor(configs, request.params, request)),
  )

  app.post(
    "/vms/:vmId/configs/:type/diff",
    {
      config: {
        scope: "config:read",
        reveals: true,
        body: "config",
        problems: [
          ...objectFaults,
          ...readFaults,
          "config_not_found",
          "config_too_complex",
          "invalid_body",
          "not_acceptable",
        ],
      },
      schema: {
        operationId: "diffConfig",
        summary: "Compare a config on its VM with a body",
        tags: ["configs"],
        params: ConfigParams,
        querystring: NoQuery,
        body: configBody,
        response: { 200: diffAnswer },
      },
    },
    async (request, reply) => {
      const caller = callerOf(request, reply)
      const body = bodyFor(configs, request.params, request)
      const mediaType = diffMediaType(request)
      return sendDiff(reply, mediaType, await configs.diff(request.params, body, caller))
    },
  )
}

/** The body, refused where it is a JSON value for a type that has no values. @throws {Fault} `unsupported_media_type` */
function bodyFor(configs: ConfigService, ref: ConfigRef, request: FastifyRequest): Body {
  const body = bodyOf(request)
  if ("value" in body && configs.typeOf(ref).format === "text") {
    throw new Fault("unsupported_media_type", `Configs of type "${ref.type}" are text: send their bytes as text/plain.`)
  }
  return body
}

/** Answers a change, with the tag of what stands on the VM now. */
export function sendPushed(reply: FastifyReply, report: PushReport): FastifyReply {
  const standing = report.dryRun ? report.previousDigest : report.digest
  if (standing !== null) reply.header("etag", etagOf(standing))
  return reply.code(report.outcome === "created" && !report.dryRun ? 201 : 200).send(report)
}

/** @throws {Fault} `not_acceptable` */
export function diffMediaType(request: FastifyRequest): string {
  return chooseMediaType(request, ["application/json", "text/x-diff"])
}

export function sendDiff(reply: FastifyReply, mediaType: string, report: DiffReport): FastifyReply {
  reply.header("cache-control", "no-store")
  if (mediaType === "application/json") return reply.send(report)
  return reply.type("text/x-diff; charset=utf-8").send(report.unified)
}
