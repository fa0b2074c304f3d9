import type { FastifyPluginAsyncTypebox } from "@fastify/type-provider-typebox"
import { Type } from "typebox"
import type { VmView } from "../../domain/report.ts"
import { json, linkHeader } from "../answers.ts"
import { callerOf } from "../caller.ts"
import { pageByName, sendItems } from "../pages.ts"
import { NoQuery, PageQuery, VmParams, VmsQuery } from "../params.ts"
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
      const all = labelled(vms, request.query.label ?? [])
      const page = pageByName(all, ({ vmId }) => vmId, request.query)
      return sendItems(request, reply, { ...page, total: all.length })
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
        querystring: PageQuery,
        response: { 200: json("Configs by type.", listOf("Config"), linkHeader) },
      },
    },
    async (request, reply) => {
      const all = await vms.configs(request.params.vmId)
      return sendItems(
        request,
        reply,
        pageByName(all, ({ type }) => type, request.query),
      )
    },
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
