import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { type CopyState, KeepingMetrics } from "../../src/metrics/copies.ts"
import { MetricRegistry } from "../../src/metrics/registry.ts"
import { readingOf, samplesOf } from "../support/metrics.ts"

const copyNames = ["waiting", "oldest_waiting_seconds", "failing"].map((name) => `config_manager_copies_${name}`)

function watched(lag: (() => Promise<CopyState>) | null) {
  const registry = new MetricRegistry()
  const metrics = new KeepingMetrics(registry)
  metrics.watch(lag)
  const read = async (names: readonly string[]) => {
    const page = await registry.text()
    return names.map((name) => readingOf(page, name))
  }
  const failed = async () => {
    const errors = samplesOf(await registry.text()).filter(({ name }) => name.endsWith("collect_errors_total"))
    return errors.map(({ labels }) => labels.metric).sort()
  }
  return { metrics, read, failed }
}

suite("metrics of keeping", () => {
  test("tell how many copies wait, for how many seconds, and whether copying fails", async () => {
    const { read } = watched(async () => ({ waiting: 3, oldestMs: 4500, isFailing: true }))
    assert.deepEqual(await read(copyNames), [3, 4.5, 1])
  })

  test("tell zeros where every version has its copy", async () => {
    const { read } = watched(async () => ({ waiting: 0, oldestMs: 0, isFailing: false }))
    assert.deepEqual(await read(copyNames), [0, 0, 0])
  })

  test("show nothing of copies where no place for them is set, nor where the catalog fails", async () => {
    const nothing = [undefined, undefined, undefined]
    const without = watched(null)
    assert.deepEqual(await without.read(copyNames), nothing)
    assert.deepEqual(await without.failed(), [])
    const failing = watched(async () => Promise.reject(new Error("no catalog")))
    assert.deepEqual(await failing.read(copyNames), nothing)
    assert.deepEqual(await failing.failed(), copyNames.toSorted())
  })

  test("count what was looked at, what was bad, and what came back", async () => {
    const { metrics, read } = watched(null)
    metrics.scrubbed({ looked: 5, bad: 2, copiesQueued: 1 })
    metrics.scrubbed({ looked: 1, bad: 0, copiesQueued: 0 })
    metrics.healed()

    const names = ["scrub_versions", "scrub_bad_versions", "scrub_bad_copies", "versions_healed"]
    assert.deepEqual(await read(names.map((name) => `config_manager_${name}_total`)), [6, 2, 1, 1])
  })
})
