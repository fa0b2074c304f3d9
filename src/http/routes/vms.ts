import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { Type } from "typebox"
import { Fault } from "../../domain/fault.ts"
import type { VmView } from "../../domain/report.ts"
import { idPattern } from "../../domain/vm.ts"
import { json, linkHeader } from "../answers.ts"
import { callerOf } from "../caller.ts"
import { pageOf, sendPage } from "../pages.ts"
import { NoQuery, VmParams, VmsQuery } from "../params.ts"
import type { VmService } from "../services.ts"
import { listOf, shape } from "../shapes.ts"

/** VMs: the machines of the fleet, as the settings name them. */
export const vmRoutes: FastifyPluginAsyncTypebox<{ readonly vms: VmService }> = async (app, { vms }) => {
  app.get(
    "/vms",
    {
      config: { scope: "config:read", reveals: false, problems: [] },
      schema: {
        operationId: "listVms",
        summary: "List VMs",
        description: "By name, from the settings; no VM is contacted.",
        tags: ["vms"],
        querystring: VmsQuery,
        response: { 200: json("VMs by id.", listOf("Vm", { total: Type.Integer() }), linkHeader) },
      },
    },
    async (request, reply) => {
      const { limit, cursor } = pageOf(request.query)
      const after = cursor === null ? "" : vmIdIn(cursor)
      const all = labelled(vms, request.query.label ?? [])
      const rest = all.filter((vm) => vm.vmId > after)
      const items = rest.slice(0, limit)
      const last = items.at(-1)
      const nextCursor = last && rest.length > limit ? Buffer.from(last.vmId).toString("base64url") : null
      const json = Buffer.from(JSON.stringify({ items, nextCursor, total: all.length }))
      return sendPage(request, reply, { json, nextCursor })
    },
  )

  app.get(
    "/vms/:vmId",
    {
      config: { scope: "config:read", reveals: false, problems: ["vm_not_found"] },
      schema: {
        operationId: "getVm",
        summary: "Show one VM",
        tags: ["vms"],
        params: VmParams,
        querystring: NoQuery,
        response: { 200: json("The VM.", shape("Vm")) },
      },
    },
    async (request) => vms.get(request.params.vmId),
  )

  app.get(
    "/vms/:vmId/configs",
    {
      config: { scope: "config:read", reveals: false, problems: ["vm_not_found"] },
      schema: {
        operationId: "listConfigs",
        summary: "List the configs of one VM",
        description: "Those whose path the settings map; the VM is not contacted.",
        tags: ["vms"],
        params: VmParams,
        querystring: NoQuery,
        response: { 200: json("Configs by type.", listOf("Config")) },
      },
    },
    async (request) => ({ items: await vms.configs(request.params.vmId), nextCursor: null }),
  )

  app.post(
    "/vms/:vmId/check",
    {
      config: { scope: "config:read", reveals: false, body: "none", problems: ["vm_not_found"] },
      schema: {
        operationId: "checkVm",
        summary: "Check the way to one VM",
        description: "Connects anew and tries what a change would need. Succeeds whatever it finds.",
        tags: ["vms"],
        params: VmParams,
        querystring: NoQuery,
        response: { 200: json("What was found.", shape("CheckReport")) },
      },
    },
    async (request, reply) => vms.check(request.params.vmId, callerOf(request, reply)),
  )
}

/** The VMs that carry every one of `pairs` (`name=value`). */
function labelled(vms: VmService, pairs: readonly string[]): readonly VmView[] {
  const wanted = new Map<string, string>()
  for (const pair of pairs) {
    const equals = pair.indexOf("=")
    const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)]
    if (wanted.has(name) && wanted.get(name) !== value) return []
    wanted.set(name, value)
  }
  return vms.list(Object.fromEntries(wanted))
}

/** The id a cursor of ours names. @throws {Fault} `invalid_parameter` */
function vmIdIn(cursor: string): string {
  const vmId = Buffer.from(cursor, "base64url").toString("latin1")
  if (idPattern.test(vmId) && Buffer.from(vmId).toString("base64url") === cursor) return vmId
  throw new Fault("invalid_parameter", "The cursor is not one of this list.", {
    errors: [{ pointer: "/cursor", message: "is not one of this list" }],
  })
}
