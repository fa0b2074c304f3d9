import assert from "node:assert/strict"
import { writeFileSync } from "node:fs"
import { rename } from "node:fs/promises"
import { after, before, suite, test } from "node:test"
import { announced, documented, metricOf, readingOf, samplesOf } from "../support/metrics.ts"
import { eventually, makeWorld, type World } from "./world.ts"

const lastSuccess = "config_manager_vm_last_success_timestamp_seconds"
const storageErrors = "config_manager_storage_errors_total"

suite("GET /metrics of the shipped process", () => {
  let world: World
  const scrape = async (): Promise<string> => (await fetch(`${world.service().url}/metrics`)).text()
  const put = (vmId: string, yaml: string, query = "") =>
    world.send("PUT", `/vms/${vmId}/configs/central${query}`, { yaml })

  before(async () => {
    world = await makeWorld()
    for (const vmId of ["vm01", "vm02"]) writeFileSync(world.file(vmId), "port: 1\n")
  })
  after(() => world.close())

  test("is Prometheus text that no cache keeps", async () => {
    const answer = await fetch(`${world.service().url}/metrics`)
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
    assert.equal(answer.headers.get("cache-control"), "no-store")
    assert.equal((await fetch(`${world.service().url}/metrics?name=up`)).status, 400)
  })

  test("tells what docs/metrics.md lists, and nothing else", async () => {
    const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1)
    const told = [...announced(await scrape())].sort(byName)
    const listed = documented().map(({ name, type, help }) => ({ name, type, help }))
    assert.deepEqual(told, [...listed].sort(byName), "each metric needs its row in docs/metrics.md")
    assert.deepEqual(
      told.filter(({ name }) => !name.startsWith("config_manager_")),
      [],
    )
  })

  test("tells of a change on a VM: the operation, its time, the versions, the connection", async () => {
    const { status } = await put("vm01", "port: 2\n")
    assert.equal(status, 200)
    const page = await scrape()
    const written = { kind: "write", state: "succeeded", code: "none" }
    assert.equal(readingOf(page, "config_manager_operations_total", written), 1)
    assert.equal(readingOf(page, "config_manager_push_duration_seconds_count", { kind: "write" }), 1)
    assert.ok(Math.abs((readingOf(page, lastSuccess, { vm_id: "vm01" }) ?? 0) - Date.now() / 1000) < 10)
    assert.equal(readingOf(page, "config_manager_versions"), 2)
    assert.equal(readingOf(page, "config_manager_versions_bytes"), 16)
    assert.equal(readingOf(page, "config_manager_ssh_connections_open"), 1)
    assert.equal(readingOf(page, "config_manager_ssh_connections_busy"), 0)
    assert.equal(readingOf(page, "config_manager_ssh_sessions_active"), 0)
    assert.equal(readingOf(page, "config_manager_ssh_connect_duration_seconds_count"), 1)
    const route = { method: "PUT", route: "/vms/:vmId/configs/:type", status: "200" }
    assert.equal(readingOf(page, "config_manager_http_requests_total", route), 1)
    assert.equal(readingOf(page, "config_manager_ready"), 1)
    assert.equal(readingOf(page, "config_manager_operations_in_doubt"), 0)
  })

  test("has the labels that docs/metrics.md names, on each series", async () => {
    const metrics = documented()
    const histograms = new Set(metrics.filter(({ type }) => type === "histogram").map(({ name }) => name))
    for (const { name, labels } of samplesOf(await scrape())) {
      const own = Object.keys(labels).filter((label) => label !== "le")
      const listed = metrics.find((metric) => metric.name === metricOf(name, histograms))?.labels
      assert.deepEqual(own.sort(), [...(listed ?? [])].sort(), name)
    }
  })

  test("tells of a VM that cannot be reached, and that it is not asked again", async () => {
    const gone = { ip: "127.0.0.1", ssh_port: 1 }
    const { msg } = await world.edit((settings) => {
      const vms = settings.vms as Readonly<Record<string, object>>
      return { ...settings, vms: { ...vms, vm03: { ...vms.vm03, ...gone } } }
    })
    assert.equal(msg, "settings taken in")
    assert.equal((await put("vm03", "port: 1\n")).status, 503)
    const page = await scrape()
    const refused = { kind: "refused", code: "vm_unreachable" }
    assert.equal(readingOf(page, "config_manager_ssh_connection_events_total", refused), 1)
    assert.equal(readingOf(page, "config_manager_ssh_circuits_open"), 1)
    assert.equal(readingOf(page, lastSuccess, { vm_id: "vm03" }), undefined)
    assert.ok(readingOf(page, "config_manager_vm_last_failure_timestamp_seconds", { vm_id: "vm03" }))
  })

  test("counts what the store fails once each: an operation, a dry run, a read; and shows that it is not ready", async () => {
    const version = String((await put("vm02", "port: 7\n")).body.versionId)
    await rename(world.home.backups, `${world.home.backups}.away`)
    try {
      const count = async () => readingOf(await scrape(), storageErrors, { code: "backup_storage_unavailable" })
      assert.equal((await put("vm02", "port: 8\n")).body.code, "backup_storage_unavailable")
      assert.equal(await count(), 1)
      assert.equal((await put("vm02", "port: 8\n", "?dryRun=true")).body.code, "backup_storage_unavailable")
      assert.equal(await count(), 2)
      const { body } = await world.send("GET", `/backups/${version}/content`)
      assert.match(String(body.code), /^backup_(missing|storage_unavailable)$/)
      const page = await scrape()
      const missing = body.code === "backup_missing" ? 1 : 0
      assert.equal(readingOf(page, storageErrors, { code: "backup_missing" }), missing)
      assert.equal(readingOf(page, storageErrors, { code: "backup_storage_unavailable" }), 3 - missing)
      // Readiness stands for up to 5 s.
      await eventually(
        async () => readingOf(await scrape(), "config_manager_ready"),
        (ready) => ready === 0,
      )
      assert.equal(readingOf(await scrape(), "config_manager_readiness_check", { check: "backup storage" }), 0)
    } finally {
      await rename(`${world.home.backups}.away`, world.home.backups)
    }
  })

  test("forgets a VM that leaves the settings", async () => {
    await world.edit((settings) => {
      const { vm02: _gone, ...vms } = settings.vms as Readonly<Record<string, object>>
      return { ...settings, vms }
    })
    assert.doesNotMatch(await scrape(), /"vm02"/)
  })

  test("remembers over a restart when a VM last did well", async () => {
    const earlier = readingOf(await scrape(), lastSuccess, { vm_id: "vm01" })
    await world.service().stop()
    await world.restart()
    const now = async () => readingOf(await scrape(), lastSuccess, { vm_id: "vm01" })
    assert.equal(await eventually(now, (time) => time !== undefined), earlier)
    const page = await scrape()
    assert.doesNotMatch(page, /^config_manager_operations_total\{/m)
  })
})
