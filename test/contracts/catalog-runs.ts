import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { Catalog } from "../../src/domain/catalog.ts"
import type { NewRun, RunItem } from "../../src/domain/run.ts"
import { at } from "../sqlite/records.ts"
import type { CatalogUnderTest } from "./catalog.ts"

const targets = ["vm01", "vm02", "vm03"].map((vmId) => ({ vmId, type: "central" }))

function aRun(members: Partial<NewRun> = {}): NewRun {
  return {
    runId: "run",
    kind: "backup",
    trigger: "manual",
    actor: "ops",
    reason: "why",
    requestId: "r-1",
    startedAt: at(0),
    targets,
    ...members,
  }
}

function failed(vmId: string): RunItem {
  const problem = { code: "vm_unreachable", status: 503, detail: "It does not answer." } as const
  return { vmId, type: "central", outcome: "unreachable", problem }
}

export function runContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  suite(`${name} as a Catalog: runs`, () => {
    let given: CatalogUnderTest
    let catalog: Catalog
    beforeEach(async () => {
      given = await make()
      catalog = given.catalog
    })
    afterEach(() => given.close())

    test("knows no run that was never added", async () => {
      assert.equal(await catalog.getRun("never", 10), null)
      assert.deepEqual(await catalog.openRuns(), [])
    })

    test("shows a run that has begun, with nothing done", async () => {
      await catalog.addRun(aRun())

      assert.deepEqual(await catalog.getRun("run", 10), {
        runId: "run",
        state: "running",
        counts: { total: 3, made: 0, unchanged: 0, failed: 0, unreachable: 0 },
        failures: [],
        startedAt: at(0),
        finishedAt: null,
      })
    })

    test("counts how its targets ended and names those that failed, so many as are asked for", async () => {
      await catalog.addRun(aRun())
      await catalog.noteRunItem("run", { vmId: "vm01", type: "central", outcome: "made", problem: null })
      await catalog.noteRunItem("run", failed("vm03"))
      await catalog.noteRunItem("run", failed("vm02"))
      await catalog.finishRun("run", at(9))

      const run = await catalog.getRun("run", 1)

      assert.deepEqual(run?.counts, { total: 3, made: 1, unchanged: 0, failed: 0, unreachable: 2 })
      assert.deepEqual(run?.failures, [{ vmId: "vm02", type: "central", problem: failed("vm02").problem }])
      assert.deepEqual([run?.state, run?.finishedAt], ["finished", at(9)])
    })

    test("counts a target once, by its last word", async () => {
      await catalog.addRun(aRun())
      await catalog.noteRunItem("run", failed("vm01"))
      await catalog.noteRunItem("run", { vmId: "vm01", type: "central", outcome: "unchanged", problem: null })

      const run = await catalog.getRun("run", 10)
      assert.deepEqual(run?.counts, { total: 3, made: 0, unchanged: 1, failed: 0, unreachable: 0 })
      assert.deepEqual(run?.failures, [])
    })

    test("gives open runs with the targets that are left, oldest first", async () => {
      await catalog.addRun(aRun({ runId: "late", startedAt: at(5) }))
      await catalog.addRun(aRun({ runId: "early" }))
      await catalog.addRun(aRun({ runId: "over" }))
      await catalog.finishRun("over", at(1))
      await catalog.noteRunItem("early", failed("vm02"))

      const open = await catalog.openRuns()

      assert.deepEqual(open, [
        aRun({ runId: "early", targets: targets.filter(({ vmId }) => vmId !== "vm02") }),
        aRun({ runId: "late", startedAt: at(5) }),
      ])
    })

    test("refuses an item of a run that is not there", async () => {
      await assert.rejects(catalog.noteRunItem("never", failed("vm01")))
    })

    test("removes finished runs with their items, and no others", async () => {
      await catalog.addRun(aRun({ runId: "old" }))
      await catalog.noteRunItem("old", failed("vm01"))
      await catalog.finishRun("old", at(1))
      await catalog.addRun(aRun({ runId: "recent" }))
      await catalog.finishRun("recent", at(5))
      await catalog.addRun(aRun({ runId: "open" }))

      await catalog.pruneRuns(at(5))

      assert.equal(await catalog.getRun("old", 10), null)
      assert.equal((await catalog.getRun("recent", 10))?.state, "finished")
      assert.equal((await catalog.getRun("open", 10))?.state, "running")
      await catalog.addRun(aRun({ runId: "old" }))
      assert.equal((await catalog.getRun("old", 10))?.counts.unreachable, 0)
    })

    test("removes all finished runs but so many as are to stay, the last of them", async () => {
      for (const second of [3, 1, 2]) {
        await catalog.addRun(aRun({ runId: `run ${second}` }))
        await catalog.finishRun(`run ${second}`, at(second))
      }
      await catalog.addRun(aRun({ runId: "open" }))

      await catalog.pruneRuns(at(0), 2)

      const kept = await Promise.all(["run 1", "run 2", "run 3", "open"].map((id) => catalog.getRun(id, 1)))
      assert.deepEqual(
        kept.map((run) => run !== null),
        [false, true, true, true],
      )
    })
  })
}
