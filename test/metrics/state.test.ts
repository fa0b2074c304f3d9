import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { Catalog } from "../../src/domain/catalog.ts"
import type { OpenOperation, OperationState } from "../../src/domain/operation.ts"
import { MetricRegistry } from "../../src/metrics/registry.ts"
import { addStateMetrics, type StateSources } from "../../src/metrics/state.ts"
import { readingOf } from "../support/metrics.ts"
import { makeTemporary } from "../support/temporary.ts"
import { fault, operation } from "./rig.ts"

type StateCatalog = Pick<Catalog, "totals" | "openOperations">

const catalog: StateCatalog = {
  totals: async () => ({ versions: 7, bytes: 700, damaged: 1, missing: 2, locked: 3 }),
  openOperations: async () => [],
}

function open(state: OperationState, finishedAt: string | null = null): OpenOperation {
  return { operation: operation({ state, finishedAt }), journal: {} as OpenOperation["journal"] }
}

/** Scrapes a registry over sources that are all well but for `over`. */
function scraped(over: Partial<StateSources> = {}): () => Promise<string> {
  const registry = new MetricRegistry()
  addStateMetrics(registry, {
    catalog,
    readiness: async () => ({ ready: true, degraded: false, checks: [] }),
    backupLocation: makeTemporary("metrics"),
    retention: { isHeld: () => false, lagMs: () => 0 },
    ...over,
  })
  return () => registry.text()
}

suite("metrics of the state", () => {
  test("tell how many versions there are, and how many of them are not well", async () => {
    const page = await scraped()()
    assert.equal(readingOf(page, "config_manager_versions"), 7)
    assert.equal(readingOf(page, "config_manager_versions_bytes"), 700)
    const states = ["damaged", "missing", "locked"]
    assert.deepEqual(
      states.map((state) => readingOf(page, "config_manager_versions_not_ok", { state })),
      [1, 2, 3],
    )
  })

  test("tell nothing of versions and operations where the catalog fails, and all the rest", async () => {
    const failing = async () => Promise.reject(fault("storage_busy"))
    const page = await scraped({ catalog: { totals: failing, openOperations: failing } })()
    for (const name of ["versions", "versions_bytes", "versions_not_ok", "operations_in_doubt"]) {
      assert.equal(readingOf(page, `config_manager_${name}`), undefined, name)
    }
    assert.equal(readingOf(page, "config_manager_ready"), 1)
  })

  test("ask the readiness once for all that they show of it, however often they are scraped", async () => {
    let asked = 0
    const checks = [
      { name: "catalog", ok: true },
      { name: "schemas", ok: false },
    ]
    const scrape = scraped({
      readiness: async () => {
        asked += 1
        return { ready: true, degraded: true, checks }
      },
    })
    await Promise.all([scrape(), scrape()])
    const page = await scrape()
    assert.equal(asked, 1)
    assert.equal(readingOf(page, "config_manager_degraded"), 1)
    assert.equal(readingOf(page, "config_manager_readiness_check", { check: "catalog" }), 1)
    assert.equal(readingOf(page, "config_manager_readiness_check", { check: "schemas" }), 0)
  })

  test("count changes in doubt and roll backs that go on, not what simply runs or waits to be confirmed", async () => {
    const operations = (["in_doubt", "failed", "running", "pending_confirmation"] as const).map((state) => open(state))
    const page = await scraped({ catalog: { ...catalog, openOperations: async () => operations } })()
    assert.equal(readingOf(page, "config_manager_operations_in_doubt"), 2)
  })

  test("count no change that has ended and whose names on the VM are only looked for", async () => {
    const ended = open("failed", "2026-01-02T10:00:00.000Z")
    const page = await scraped({ catalog: { ...catalog, openOperations: async () => [ended] } })()
    assert.equal(readingOf(page, "config_manager_operations_in_doubt"), 0)
  })

  test("tell that the purge is held back, and how far retention's time is behind", async () => {
    const page = await scraped({ retention: { isHeld: () => true, lagMs: () => 1500 } })()
    assert.equal(readingOf(page, "config_manager_purge_guarded"), 1)
    assert.equal(readingOf(page, "config_manager_retention_clock_lag_seconds"), 1.5)
    assert.equal(readingOf(await scraped()(), "config_manager_purge_guarded"), 0)
  })

  test("tell the room where backups are kept, and nothing where that place is gone", async () => {
    const page = await scraped()()
    const [free = 0, size = 0] = ["free", "size"].map((name) => readingOf(page, `config_manager_store_${name}_bytes`))
    assert.ok(free > 0 && size >= free)
    const gone = await scraped({ backupLocation: "/nonexistent" })()
    assert.equal(readingOf(gone, "config_manager_store_free_bytes"), undefined)
  })
})
