import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { Caller } from "../../src/domain/caller.ts"
import { Fault } from "../../src/domain/fault.ts"
import { problemOf, serve } from "./serving.ts"
import { backupId, type Call, given, options, runId, standIns, versionJson } from "./stand-ins.ts"

const asJson = { "content-type": "application/json" }

function send(base: string, method: string, path: string, body?: unknown, headers: Record<string, string> = asJson) {
  const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body)
  return fetch(`${base}${path}`, { method, headers: text === undefined ? {} : headers, body: text })
}

async function refused(answer: Response, status: number, code: string): Promise<Record<string, unknown>> {
  const problem = await problemOf(answer)
  assert.equal(`${answer.status} ${problem.code}`, `${status} ${code}`, JSON.stringify(problem))
  return problem
}

suite("PATCH a backup", () => {
  const changes = [
    { pinned: true },
    { pinned: false, note: null },
    { note: "ü\nsecond line" },
    { note: "" },
    { note: "𝕏".repeat(1000) },
  ]
  for (const change of changes) {
    test(`hands on ${JSON.stringify(change).slice(0, 40)} and answers with the backup`, async (t) => {
      const calls: Call[] = []
      const answer = await send(await serve(t, standIns({}, calls)), "PATCH", `/backups/${backupId}`, change)
      assert.equal(answer.status, 200)
      assert.equal(await answer.text(), versionJson)
      assert.deepEqual(given(calls), [backupId, change])
    })
  }

  const wrong: readonly [string, unknown, string][] = [
    ["nothing", undefined, ""],
    ["no member", {}, ""],
    ["an unknown member", { pinned: true, pined: true }, "/pined"],
    ["text for a switch", { pinned: "true" }, "/pinned"],
    ["null for a switch", { pinned: null }, "/pinned"],
    ["a number for a note", { note: 1 }, "/note"],
    ["a note of 1001 characters", { note: "x".repeat(1001) }, "/note"],
    ["a note with a tab", { note: "a\tb" }, "/note"],
    ["a note with a carriage return", { note: "a\r\nb" }, "/note"],
    ["a note with DEL", { note: "\u007f" }, "/note"],
    ["a list", [], ""],
  ]
  for (const [what, body, pointer] of wrong) {
    test(`refuses ${what}`, async (t) => {
      const calls: Call[] = []
      const answer = await send(await serve(t, standIns({}, calls)), "PATCH", `/backups/${backupId}`, body)
      const { errors } = (await refused(answer, 400, "invalid_body")) as { errors: { pointer: string }[] }
      assert.equal(errors[0]?.pointer, pointer)
      assert.deepEqual(calls, [])
    })
  }

  test("refuses what is not JSON, an unknown id and an unknown parameter", async (t) => {
    const base = await serve(t)
    const text = { "content-type": "text/plain" }
    await refused(await send(base, "PATCH", `/backups/${backupId}`, "x", text), 415, "unsupported_media_type")
    await refused(await send(base, "PATCH", `/backups/${backupId}`, '{"pinned":'), 400, "malformed_json")
    await refused(await send(base, "PATCH", "/backups/none", { pinned: true }), 404, "backup_not_found")
    await refused(await send(base, "PATCH", `/backups/${backupId}?x=1`, { pinned: true }), 400, "invalid_parameter")
  })
})

suite("DELETE a backup", () => {
  test("answers 204 and nothing else", async (t) => {
    const calls: Call[] = []
    const answer = await send(await serve(t, standIns({}, calls)), "DELETE", `/backups/${backupId}`)
    assert.deepEqual([answer.status, await answer.text()], [204, ""])
    assert.deepEqual(given(calls), [backupId])
  })

  test("tells why one is protected", async (t) => {
    const remove = () => Promise.reject(new Fault("backup_protected", "It is pinned."))
    const base = await serve(t, standIns({ retention: { remove } }))
    const problem = await refused(await send(base, "DELETE", `/backups/${backupId}`), 409, "backup_protected")
    assert.equal(problem.detail, "It is pinned.")
  })

  test("refuses members, parameters and unknown ids", async (t) => {
    const base = await serve(t)
    await refused(await send(base, "DELETE", `/backups/${backupId}`, { force: true }), 400, "invalid_body")
    await refused(await send(base, "DELETE", `/backups/${backupId}?force=true`), 400, "invalid_parameter")
    await refused(await send(base, "DELETE", "/backups/none"), 404, "backup_not_found")
    await refused(await send(base, "DELETE", "/backups"), 405, "method_not_allowed")
  })
})

suite("POST /backups/purge", () => {
  const queries: readonly [string, object][] = [
    ["", { dryRun: false, force: false }],
    ["?dryRun=true", { dryRun: true, force: false }],
    ["?force=true&dryRun=false", { dryRun: false, force: true }],
  ]
  for (const [query, asked] of queries) {
    test(`with "${query}" is asked for as it is meant`, async (t) => {
      const calls: Call[] = []
      const answer = await send(await serve(t, standIns({}, calls)), "POST", `/backups/purge${query}`)
      assert.equal(answer.status, 200)
      assert.deepEqual(await answer.json(), { removed: [backupId], kept: 1 })
      assert.deepEqual(given(calls), [asked])
    })
  }

  for (const query of ["?force=1", "?dryRun=yes", "?force=true&force=true", "?days=1"]) {
    test(`refuses ${query}`, async (t) => {
      const calls: Call[] = []
      const answer = await send(await serve(t, standIns({}, calls)), "POST", `/backups/purge${query}`)
      await refused(answer, 400, "invalid_parameter")
      assert.deepEqual(calls, [])
    })
  }

  test("refuses members, and tells of the guard", async (t) => {
    const purge = () => Promise.reject(new Fault("purge_guard", "60 of 100."))
    const base = await serve(t, standIns({ retention: { purge } }))
    await refused(await send(base, "POST", "/backups/purge", { force: true }), 400, "invalid_body")
    assert.equal((await refused(await send(base, "POST", "/backups/purge"), 409, "purge_guard")).detail, "60 of 100.")
  })
})

suite("POST /backups for many", () => {
  test("begins a run and says where it is to be found", async (t) => {
    const calls: Call[] = []
    const body = { select: { labels: { role: "edge" }, exclude: ["vm02"] }, types: ["central"], reason: "ticket" }
    const answer = await send(await serve(t, standIns({}, calls)), "POST", "/backups", body)
    assert.equal(answer.status, 202)
    assert.equal(answer.headers.get("location"), `/backups/runs/${runId}`)
    assert.equal(((await answer.json()) as { runId: string }).runId, runId)
    const [order, caller] = given(calls) as [unknown, Caller]
    assert.deepEqual(order, { select: body.select, types: ["central"] })
    assert.equal(caller.reason, "ticket")
  })

  test("means all types where it names none", async (t) => {
    const calls: Call[] = []
    await send(await serve(t, standIns({}, calls)), "POST", "/backups", { select: { all: true } })
    assert.deepEqual(given(calls)[0], { select: { all: true }, types: null })
  })

  const wrong: readonly [string, unknown, string][] = [
    ["neither form", {}, ""],
    ["both forms", { vmId: "vm01", type: "central", select: { all: true } }, "/vmId"],
    ["half of one form", { vmId: "vm01" }, ""],
    ["types with one VM", { vmId: "vm01", type: "central", types: ["env"] }, "/types"],
    ["a select of nothing", { select: {} }, "/select"],
    ["all: false", { select: { all: false } }, "/select/all"],
    ["no VM ids", { select: { vmIds: [] } }, "/select/vmIds"],
    ["an id that is none", { select: { vmIds: ["../x"] } }, "/select/vmIds/0"],
    ["labels that are no texts", { select: { labels: { role: 1 } } }, "/select/labels/role"],
    ["no labels", { select: { labels: {} } }, "/select/labels"],
    ["an unknown member of select", { select: { all: true, vms: [] } }, "/select/vms"],
    ["an unknown member", { select: { all: true }, dryRun: true }, "/dryRun"],
    ["no types", { select: { all: true }, types: [] }, "/types"],
    ["select as text", { select: "all" }, "/select"],
    ["null", null, ""],
  ]
  for (const [what, body, pointer] of wrong) {
    test(`refuses ${what}`, async (t) => {
      const calls: Call[] = []
      const answer = await send(await serve(t, standIns({}, calls)), "POST", "/backups", body)
      const { errors } = (await refused(answer, 400, "invalid_body")) as {
        errors: { pointer: string; keyword: string }[]
      }
      assert.equal(errors[0]?.pointer, pointer, JSON.stringify(errors))
      assert.ok(!errors.some(({ keyword }) => keyword === "if"), JSON.stringify(errors))
      assert.deepEqual(calls, [])
    })
  }
})

suite("GET /backups/runs/:runId", () => {
  test("shows the run", async (t) => {
    const run = (await (await fetch(`${await serve(t)}/backups/runs/${runId}`)).json()) as Record<string, unknown>
    assert.deepEqual(run.counts, { total: 3, made: 1, unchanged: 0, failed: 0, unreachable: 1 })
  })

  test("refuses an unknown run, a malformed id and another method", async (t) => {
    const base = await serve(t)
    await refused(await fetch(`${base}/backups/runs/none`), 404, "run_not_found")
    await refused(await fetch(`${base}/backups/runs/%20`), 400, "invalid_parameter")
    await refused(await send(base, "POST", `/backups/runs/${runId}`), 405, "method_not_allowed")
  })
})

test("a page of an origin that is allowed may send PATCH and DELETE", async (t) => {
  const origin = "https://console.example"
  const base = await serve(t, standIns(), { ...options, corsOrigins: [origin] })
  for (const method of ["PATCH", "DELETE"]) {
    const headers = { origin, "access-control-request-method": method }
    const answer = await fetch(`${base}/backups/${backupId}`, { method: "OPTIONS", headers })
    assert.match(answer.headers.get("access-control-allow-methods") ?? "", new RegExp(method))
  }
})
