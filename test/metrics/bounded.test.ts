import assert from "node:assert/strict"
import { once } from "node:events"
import { METHODS, request } from "node:http"
import { suite, test } from "node:test"
import { serve } from "../http/serving.ts"
import { readingOf, samplesOf } from "../support/metrics.ts"
import { fault, makeMetrics, operation } from "./rig.ts"

const requests = "config_manager_http_requests_total"
/** What a caller may make up, and Node lets through. */
const oddMethods = METHODS.filter((method) => !["CONNECT", "GET", "HEAD", "OPTIONS"].includes(method))

/** One request over the wire, with any method. */
async function send(base: string, method: string, path: string): Promise<void> {
  const sent = request(new URL(path, base), { method, agent: false })
  sent.end()
  const [answer] = (await once(sent, "response")) as [NodeJS.ReadableStream]
  answer.resume()
  await once(answer, "close")
}

async function served(t: Parameters<typeof serve>[0]) {
  const { metrics, text } = makeMetrics(t, "vm01")
  const base = await serve(t, undefined, {
    observeRequest: (route, method, status, ms) => metrics.requests.observe(route, method, status, ms),
    observeFault: (seen) => metrics.storage.answered(seen),
  })
  return { base, metrics, text }
}

suite("labels are bounded", () => {
  test("1 000 unknown paths, VM ids and queries make no series beyond those of the first", async (t) => {
    const { base, text } = await served(t)
    const round = async (name: string): Promise<void> => {
      for (const path of [`/${name}`, `/vms/${name}`, `/vms/${name}/configs/${name}`, `/backups?vmId=${name}`]) {
        await (await fetch(`${base}${path}`)).text()
      }
      await (await fetch(`${base}/docs/${name}`)).text()
    }
    await round("first")
    const before = samplesOf(await text()).length
    for (let at = 0; at < 200; at++) await round(`made-up-${at}`)
    const page = await text()
    assert.equal(samplesOf(page).length, before)
    assert.doesNotMatch(page, /made-up|first/)
    assert.equal(readingOf(page, requests, { route: "none", method: "GET" }), 402)
    assert.equal(readingOf(page, requests, { route: "/vms/:vmId", method: "GET" }), 201)
  })

  test("methods that nobody knows count as other", async (t) => {
    const { base, metrics, text } = await served(t)
    for (const method of oddMethods) await send(base, method, "/vms")
    for (let at = 0; at < 1000; at++) metrics.requests.observe(undefined, `METHOD${at}`, 405, 1)
    const known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"]
    const seen = samplesOf(await text()).filter(({ name }) => name === requests)
    assert.deepEqual(
      seen.filter(({ labels }) => !known.includes(labels.method ?? "")),
      [],
    )
    assert.ok(seen.some(({ labels }) => labels.method === "other"))
  })

  test("1 000 operations on VMs that are not in the settings make no series of theirs", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation({ vmId: "elsewhere" }), null)
    metrics.operation(operation({ vmId: "elsewhere", state: "failed" }), fault("vm_not_found"))
    const before = samplesOf(await text()).length
    for (let at = 0; at < 1000; at++) {
      metrics.operation(operation({ vmId: `made-up-${at}` }), null)
      metrics.operation(operation({ vmId: `made-up-${at}`, state: "failed" }), fault("vm_not_found"))
    }
    const page = await text()
    assert.equal(samplesOf(page).length, before)
    assert.doesNotMatch(page, /made-up|elsewhere/)
  })
})

suite("faults of the storage", () => {
  const errors = "config_manager_storage_errors_total"

  test("count once, where they end an operation and are answered too", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    const told = fault("storage_full", "019b7c1e-2f4e-7000-8000-000000000002")
    metrics.operation(operation({ state: "failed" }), told)
    metrics.storage.answered(told)
    metrics.storage.answered(fault("backup_corrupt"))
    const page = await text()
    assert.equal(readingOf(page, errors, { code: "storage_full" }), 1)
    assert.equal(readingOf(page, errors, { code: "backup_corrupt" }), 1)
  })

  test("do not count what is no fault of the storage", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.storage.answered(fault("vm_disk_full"))
    metrics.operation(operation({ state: "failed" }), fault("vm_unreachable"))
    assert.equal(
      samplesOf(await text())
        .filter(({ name }) => name === errors)
        .reduce((sum, { value }) => sum + value, 0),
      0,
    )
  })
})

test("a request that shows a bug counts among the bugs, others do not", async (t) => {
  const { metrics, text } = makeMetrics(t)
  for (const status of [200, 404, 500, 502, 503]) metrics.requests.observe("/vms", "GET", status, 1)
  assert.equal(readingOf(await text(), "config_manager_http_internal_errors_total"), 1)
})

test("SSH events count by kind and code, and only what opened is measured", async (t) => {
  const { metrics, text } = makeMetrics(t, "vm01")
  metrics.ssh.observe({ kind: "opened", durationMs: 40, fault: null })
  metrics.ssh.observe({ kind: "refused", durationMs: 10_000, fault: fault("host_key_mismatch") })
  metrics.ssh.observe({ kind: "closed", durationMs: 300_000, fault: null })
  const page = await text()
  const events = "config_manager_ssh_connection_events_total"
  assert.equal(readingOf(page, events, { kind: "opened", code: "none" }), 1)
  assert.equal(readingOf(page, events, { kind: "refused", code: "host_key_mismatch" }), 1)
  assert.equal(readingOf(page, events, { kind: "refused", code: "vm_unreachable" }), 0)
  assert.equal(readingOf(page, "config_manager_ssh_connect_duration_seconds_sum"), 0.04)
  assert.equal(readingOf(page, "config_manager_ssh_connect_duration_seconds_count"), 1)
})
