import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { Catalog, JsonPage } from "../../src/domain/catalog.ts"
import type { Operation } from "../../src/domain/operation.ts"
import { readingOf, samplesOf } from "../support/metrics.ts"
import { fault, makeMetrics, operation, tenOClock, vm } from "./rig.ts"

const lastSuccess = "config_manager_vm_last_success_timestamp_seconds"
const lastFailure = "config_manager_vm_last_failure_timestamp_seconds"
const pushes = "config_manager_push_duration_seconds"
const at = (time: string): string => `2026-01-02T${time}:00.000Z`

suite("metrics of operations", () => {
  test("count each by kind, state and code", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation(), null)
    metrics.operation(operation({ kind: "restore", state: "failed" }), fault("vm_timeout"))
    metrics.operation(operation({ kind: "restore", state: "failed" }), fault("vm_timeout"))
    assert.deepEqual(
      samplesOf(await text())
        .filter(({ name }) => name === "config_manager_operations_total")
        .map(({ labels, value }) => ({ ...labels, value })),
      [
        { kind: "write", state: "succeeded", code: "none", value: 1 },
        { kind: "restore", state: "failed", code: "vm_timeout", value: 2 },
      ],
    )
  })

  test("tell when a VM last did well and when ill; unchanged is well, rolled back is ill", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01", "vm02")
    metrics.operation(operation({ state: "unchanged" }), null)
    metrics.operation(operation({ state: "rolled_back", finishedAt: at("11:00") }), fault("write_failed"))
    metrics.operation(operation({ vmId: "vm02", state: "failed" }), fault("vm_unreachable"))
    const page = await text()
    assert.equal(readingOf(page, lastSuccess, { vm_id: "vm01" }), tenOClock)
    assert.equal(readingOf(page, lastFailure, { vm_id: "vm01" }), tenOClock + 3600)
    assert.equal(readingOf(page, lastSuccess, { vm_id: "vm02" }), undefined)
    assert.equal(readingOf(page, lastFailure, { vm_id: "vm02" }), tenOClock)
  })

  test("take neither for what is not over yet, or was taken back because nobody confirmed it", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation({ state: "pending_confirmation", finishedAt: null }), null)
    metrics.operation(operation({ state: "in_doubt", finishedAt: null }), null)
    metrics.operation(operation({ state: "reverted" }), null)
    assert.doesNotMatch(await text(), /^config_manager_vm_last\w+\{/m)
  })

  test("never go back in time: operations may be told out of order", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation(), null)
    metrics.operation(operation({ finishedAt: at("08:00") }), null)
    assert.equal(readingOf(await text(), lastSuccess), tenOClock)
  })

  test("forget a VM once it has left the settings, also where it comes back", async (t) => {
    const { metrics, fleet, text } = makeMetrics(t, "vm01", "vm02")
    metrics.operation(operation(), null)
    metrics.operation(operation({ state: "failed" }), fault("vm_timeout"))
    fleet.vms = [vm("vm02", false)]
    assert.doesNotMatch(await text(), /vm01/)
    assert.equal(readingOf(await text(), "config_manager_vm_enabled", { vm_id: "vm02" }), 0)
    fleet.vms = [vm("vm01")]
    assert.equal(readingOf(await text(), lastSuccess), undefined)
  })

  test("measure changes that succeeded, and nothing else", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation(), null)
    metrics.operation(operation({ kind: "backup" }), null)
    metrics.operation(operation({ state: "unchanged" }), null)
    metrics.operation(operation({ state: "failed" }), fault("write_failed"))
    const page = await text()
    assert.deepEqual([readingOf(page, `${pushes}_count`), readingOf(page, `${pushes}_sum`)], [1, 1.5])
    assert.equal(readingOf(page, `${pushes}_bucket`, { le: "1" }), 0)
    assert.equal(readingOf(page, `${pushes}_bucket`, { le: "2.5" }), 1)
  })

  test("take no time below zero where the clock was set back meanwhile", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation({ finishedAt: at("09:00") }), null)
    assert.equal(readingOf(await text(), `${pushes}_sum`), 0)
  })
})

suite("what a restart remembers", () => {
  test("each VM's last success and failure, and no operation is counted twice", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01", "vm02")
    const earlier = [operation({ state: "failed", finishedAt: at("11:00") }), operation()]
    await metrics.remember(catalogOf({ vm01: earlier, vm02: [] }))
    const page = await text()
    assert.equal(readingOf(page, lastSuccess), tenOClock)
    assert.equal(readingOf(page, lastFailure), tenOClock + 3600)
    assert.doesNotMatch(page, /^config_manager_operations_total\{/m)
  })

  test("does not replace what has happened since", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01")
    metrics.operation(operation({ finishedAt: at("12:00") }), null)
    await metrics.remember(catalogOf({ vm01: [operation()] }))
    assert.equal(readingOf(await text(), lastSuccess), tenOClock + 7200)
  })

  test("nothing, where the catalog does not answer", async (t) => {
    const { metrics, text } = makeMetrics(t, "vm01", "vm02")
    let asked = 0
    await metrics.remember({
      listOperations: async () => {
        asked += 1
        throw fault("storage_busy")
      },
    })
    assert.equal(asked, 1)
    assert.doesNotMatch(await text(), /^config_manager_vm_last\w+\{/m)
  })

  test("nothing more once the service ends", async (t) => {
    const { metrics } = makeMetrics(t, "vm01", "vm02")
    const asked: string[] = []
    const remembering = metrics.remember({
      listOperations: async ({ vmId = "" }) => {
        asked.push(vmId)
        metrics.close()
        return pageOf([])
      },
    })
    await remembering
    assert.deepEqual(asked, ["vm01"])
  })
})

function catalogOf(kept: Readonly<Record<string, readonly Operation[]>>): Pick<Catalog, "listOperations"> {
  return {
    listOperations: async ({ vmId = "" }) => pageOf(kept[vmId]),
  }
}

function pageOf(items: readonly Operation[] | undefined): JsonPage {
  return { json: Buffer.from(JSON.stringify({ items, nextCursor: null })), nextCursor: null }
}
