import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { suite, test } from "node:test"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { Ajv2020 } from "ajv/dist/2020.js"
import { fastify } from "fastify"
import { parse } from "yaml"
import { buildApp } from "../../src/http/app.ts"
import { addOpenapi, openapiText } from "../../src/http/openapi.ts"
import { serve } from "./serving.ts"
import { backupId, operationId, options, runId, standIns } from "./stand-ins.ts"

const root = new URL("../../", import.meta.url)
const { version } = JSON.parse(readFileSync(new URL("package.json", root), "utf8"))

interface Operation {
  readonly operationId: string
  readonly summary?: string
  readonly tags?: readonly string[]
  readonly security?: readonly Record<string, readonly string[]>[]
  readonly parameters?: readonly { readonly in: string; readonly name: string; readonly description?: string }[]
  readonly requestBody?: { readonly required: boolean; readonly content: Record<string, unknown> }
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema: object }> }>
}

interface Description {
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly schemas: Record<string, object> }
}

async function describe(): Promise<string> {
  const app = await buildApp(standIns(), { ...options, version })
  try {
    return openapiText(app)
  } finally {
    await app.close()
  }
}

const description = parse(await describe()) as Description
const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation, name: `${method} ${path}` })),
)

suite("openapi.yaml", () => {
  test("says what the code says; if not: npm run openapi", async () => {
    assert.equal(readFileSync(new URL("openapi.yaml", root), "utf8"), await describe())
  })

  test("has nothing to complain about for the linter", async () => {
    const lint = fileURLToPath(new URL("node_modules/@redocly/cli/bin/cli.js", root))
    const env = { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" }
    const args = [lint, "lint", "openapi.yaml", "--format", "json"]
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: fileURLToPath(root), env })
    assert.deepEqual(JSON.parse(stdout).totals, { errors: 0, warnings: 0, ignored: 0 })
  })

  test("names the routes of this release and no others", () => {
    assert.deepEqual(operations.map(({ name }) => name).sort(), [
      ...["delete /backups/{backupId}", "get /backups", "get /backups/runs/{runId}", "get /backups/{backupId}"],
      ...["get /backups/{backupId}/content", "get /backups/{backupId}/diff", "get /healthz", "get /metrics"],
      ...["get /openapi.json", "get /openapi.yaml", "get /operations", "get /operations/{operationId}"],
      ...["get /problems/{code}", "get /readyz", "get /schemas", "get /schemas/{type}", "get /vms", "get /vms/{vmId}"],
      ...["get /vms/{vmId}/configs", "get /vms/{vmId}/configs/{type}", "patch /backups/{backupId}", "post /backups"],
      ...["post /backups/purge", "post /backups/{backupId}/restore", "post /backups/{backupId}/verify"],
      ...["post /vms/{vmId}/check", "post /vms/{vmId}/configs/{type}/diff", "post /vms/{vmId}/configs/{type}/validate"],
      "put /vms/{vmId}/configs/{type}",
    ])
  })

  for (const { name, operation } of operations) {
    test(`${name} has a name, a summary, a tag, its parameters told and its problems`, () => {
      assert.ok(operation.operationId && operation.summary && operation.tags?.length === 1)
      for (const parameter of operation.parameters ?? []) assert.ok(parameter.description, parameter.name)
      const problems = Object.values(operation.responses).filter((r) => r.content?.["application/problem+json"])
      assert.ok(problems.length >= 2)
    })
  }

  test("asks for a scope on every route but the open ones", () => {
    const open = operations.filter(({ operation }) => operation.security?.length === 0).map(({ path }) => path)
    const service = ["/healthz", "/metrics", "/openapi.json", "/openapi.yaml", "/problems/{code}", "/readyz"]
    assert.deepEqual(open.sort(), service)
    const scopes = ["config:read", "config:write", "backup:read", "backup:write", "restore"]
    for (const { name, operation } of operations) {
      if (operation.security?.length === 0) continue
      const [scope] = operation.security?.[0]?.bearerAuth ?? []
      assert.ok(scope !== undefined && scopes.includes(scope), name)
    }
  })

  test("does not ask for a body where a restore needs none", () => {
    const restore = operations.find(({ operation }) => operation.operationId === "restoreBackup")
    assert.equal(restore?.operation.requestBody?.required, false)
  })
})

test("a route that does not say who may call it stops the start", async () => {
  const app = fastify()
  await addOpenapi(app, version)
  assert.throws(() => app.get("/x", async () => "x"), /The route \/x does not say who may call it/)
  assert.throws(() => app.get("/x", { config: { scope: "open" } }, async () => "x"), /who may call it/)
  await app.close()
})

suite("answers keep what is described", () => {
  const ajv = new Ajv2020({ strict: false, formats: { "date-time": true, uri: true, "uri-reference": true } })
  ajv.addSchema({ $id: "openapi", ...description })

  const calls: readonly [string, string, string, (string | undefined)?][] = [
    ["get", "/vms", "/vms"],
    ["get", "/vms/{vmId}", "/vms/vm01"],
    ["get", "/vms/{vmId}/configs", "/vms/vm01/configs"],
    ["post", "/vms/{vmId}/check", "/vms/vm01/check"],
    ["put", "/vms/{vmId}/configs/{type}", "/vms/vm01/configs/central", "a: 1"],
    ["post", "/vms/{vmId}/configs/{type}/validate", "/vms/vm01/configs/central/validate", "a: 1"],
    ["post", "/vms/{vmId}/configs/{type}/diff", "/vms/vm01/configs/central/diff", "a: 1"],
    ["get", "/backups", "/backups"],
    ["get", "/backups/{backupId}", `/backups/${backupId}`],
    ["get", "/backups/{backupId}/diff", `/backups/${backupId}/diff`],
    ["post", "/backups/{backupId}/verify", `/backups/${backupId}/verify`],
    ["post", "/backups/{backupId}/restore", `/backups/${backupId}/restore`],
    ["get", "/backups/runs/{runId}", `/backups/runs/${runId}`],
    ["post", "/backups/purge", "/backups/purge?dryRun=true"],
    ["get", "/operations", "/operations"],
    ["get", "/operations/{operationId}", `/operations/${operationId}`],
    ["get", "/schemas", "/schemas"],
    ["get", "/readyz", "/readyz"],
    ["get", "/healthz", "/healthz"],
    ["get", "/vms/{vmId}", "/vms/nope"],
    ["get", "/vms/{vmId}", "/vms/%20"],
    ["put", "/vms/{vmId}/configs/{type}", "/vms/vm01/configs/central?dryRun=yes", "a: 1"],
  ]
  for (const [method, path, url, body] of calls) {
    test(`${method} ${url}`, async (t) => {
      const answer = await fetch(`${await serve(t)}${url}`, { method: method.toUpperCase(), body })
      const [type = ""] = (answer.headers.get("content-type") ?? "").split(";")
      const pointer = ["paths", path, method, "responses", String(answer.status), "content", type, "schema"]
      const reference = pointer.map((part) => part.replaceAll("~", "~0").replaceAll("/", "~1")).join("/")
      const validate = ajv.compile({ $ref: `openapi#/${encodeURI(reference)}` })
      assert.ok(validate(await answer.json()), ajv.errorsText(validate.errors))
    })
  }
})
