import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { setImmediate as nextTurn } from "node:timers/promises"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { NewRun, Run } from "../../src/domain/run.ts"
import { BackupRuns } from "../../src/services/backup-runs.ts"
import { file, type MemoryFile } from "../fakes/memory-transport.ts"
import { caller, makeRig, path, type Rig, type RigOptions, refusal, withRig } from "./rig.ts"

const all = { select: { all: true }, types: null } as const

/** Runs a test on a fleet of `size` VMs, each with its file. */
function withFleet(size: number, work: (rig: Rig) => Promise<void>, options: RigOptions = {}): Promise<void> {
  return withRig({ files: filesOf(size), ...options }, async (rig) => {
    enlarge(rig, size)
    await work(rig)
  })
}

function vmIdOf(index: number): string {
  return `vm${String(index + 1).padStart(2, "0")}`
}

function filesOf(size: number): Record<string, MemoryFile> {
  return Object.fromEntries(
    Array.from({ length: size }, (_, index) => [`${vmIdOf(index)}:${path}`, file(`on: ${vmIdOf(index)}\n`)]),
  )
}

/** @param types of each VM: `app`, `app2`, ..., all of one path */
function enlarge(rig: Rig, size: number, types = 1, enabled = (_vmId: string): boolean => true): void {
  const [vm] = rig.settings.inventory.vms
  const [type] = rig.settings.inventory.types
  assert.ok(vm && type)
  const vms = Array.from({ length: size }, (_, index) => ({
    ...vm,
    vmId: vmIdOf(index),
    enabled: enabled(vmIdOf(index)),
  }))
  const names = Array.from({ length: types }, (_, index) => (index === 0 ? "app" : `app${index + 1}`))
  rig.settings.inventory = new Inventory(
    vms,
    names.map((name) => ({ ...type, type: name })),
    new Map(names.map((name) => [name, { default: path }])),
  )
}

async function finished(rig: Rig, { runId }: Run): Promise<Run> {
  const deadline = performance.now() + 10_000
  for (;;) {
    const run = await rig.backupRuns.get(runId)
    if (run.state === "finished") return run
    assert.ok(performance.now() < deadline, `not finished: ${JSON.stringify(run.counts)}`)
    await nextTurn()
  }
}

function unreachable(): Fault {
  return new Fault("vm_unreachable", "It does not answer.")
}

suite("A run of backups", () => {
  test("makes a version of each config, and of none that has not changed since", () =>
    withFleet(10, async (rig) => {
      const begun = await rig.backupRuns.start(all, caller())
      assert.deepEqual(begun.counts, { total: 10, made: 0, unchanged: 0, failed: 0, unreachable: 0 })
      assert.deepEqual([begun.state, begun.finishedAt, begun.failures], ["running", null, []])
      const run = await finished(rig, begun)
      assert.deepEqual(run.counts, { total: 10, made: 10, unchanged: 0, failed: 0, unreachable: 0 })
      assert.ok(run.finishedAt !== null && run.finishedAt >= run.startedAt)
      const versions = await rig.versions()
      assert.deepEqual(
        versions.map(({ vmId }) => vmId).sort(),
        Array.from({ length: 10 }, (_, index) => vmIdOf(index)),
      )
      for (const { trigger, actor, reason } of versions) {
        assert.deepEqual([trigger, actor, reason], ["manual", "anonymous", "a reason"])
      }
      rig.transport.files.set(`vm03:${path}`, file("changed: 1\n"))
      const again = await finished(rig, await rig.backupRuns.start(all, caller(), "scheduled"))
      assert.deepEqual(again.counts, { total: 10, made: 1, unchanged: 9, failed: 0, unreachable: 0 })
      assert.equal((await rig.versions())[0]?.trigger, "scheduled")
      assert.ok(rig.ended.every(({ operation }) => operation.requestId === "test"))
    }))

  test("counts a VM that cannot be reached for itself, and names what failed and why", () =>
    withFleet(4, async (rig) => {
      enlarge(rig, 4, 1, (vmId) => vmId !== "vm04")
      rig.transport.files.delete(`vm02:${path}`)
      rig.transport.onStep("open", ({ vmId }) => {
        if (vmId === "vm03") throw unreachable()
      })
      const order = { select: { vmIds: ["vm01", "vm02", "vm03", "vm04"] }, types: ["app"] }
      const run = await finished(rig, await rig.backupRuns.start(order, caller()))
      assert.deepEqual(run.counts, { total: 4, made: 1, unchanged: 0, failed: 2, unreachable: 1 })
      assert.deepEqual(
        run.failures.map(({ vmId, problem }) => [vmId, problem.code, problem.status]),
        [
          ["vm02", "config_not_found", 404],
          ["vm03", "vm_unreachable", 503],
          ["vm04", "vm_disabled", 409],
        ],
      )
    }))

  test("goes on where the store fails, and says so of each", () =>
    withFleet(3, async (rig) => {
      rig.blobs.failing.set("put", "storage_full")
      const run = await finished(rig, await rig.backupRuns.start(all, caller()))
      assert.deepEqual([run.counts.failed, run.failures[0]?.problem.code], [3, "storage_full"])
      assert.deepEqual(await rig.versions(), [])
    }))

  test("is not begun for a selection that is wrong, or names nothing", () =>
    withFleet(2, async (rig) => {
      for (const select of [{ vmIds: ["gone"] }, { labels: { role: "none" } }]) {
        const fault = await refusal(rig.backupRuns.start({ select, types: null }, caller()))
        assert.equal(fault.code, "invalid_body")
      }
      assert.deepEqual(await rig.catalog.openRuns(), [])
    }))

  test("that is unknown is not found", () =>
    withFleet(1, async (rig) => {
      assert.equal((await refusal(rig.backupRuns.get("none"))).code, "run_not_found")
    }))

  test("reads half as many configs at once as there are connections, over all runs", () =>
    withFleet(12, async (rig) => {
      enlarge(rig, 12, 3)
      let open = 0
      let most = 0
      rig.transport.onStep("read", async () => {
        open += 1
        most = Math.max(most, open)
        for (let turn = 0; turn < 10; turn += 1) await nextTurn()
        open -= 1
      })
      const runs = await Promise.all([rig.backupRuns.start(all, caller()), rig.backupRuns.start(all, caller())])
      const ended = await Promise.all(runs.map((run) => finished(rig, run)))
      assert.equal(
        ended.reduce((sum, { counts }) => sum + counts.made + counts.unchanged, 0),
        72,
      )
      assert.equal(most, 4)
    }))

  test("reads two configs of one VM at once, also where it is the only one", () =>
    withFleet(1, async (rig) => {
      enlarge(rig, 1, 6)
      let open = 0
      let most = 0
      rig.transport.onStep("read", async () => {
        open += 1
        most = Math.max(most, open)
        for (let turn = 0; turn < 10; turn += 1) await nextTurn()
        open -= 1
      })
      const run = await finished(rig, await rig.backupRuns.start(all, caller()))
      assert.deepEqual([run.counts.made, most], [6, 2])
    }))

  test("is refused while eight are under way, and taken once one has ended", () =>
    withFleet(1, async (rig) => {
      const { promise: held, resolve: goOn } = Promise.withResolvers<void>()
      rig.transport.onStep("read", () => held)
      const asked = Array.from({ length: 12 }, () => rig.backupRuns.start(all, caller()))
      const runs = (await Promise.allSettled(asked)).flatMap((each) => (each.status === "fulfilled" ? each.value : []))
      assert.equal(runs.length, 8)
      const fault = await refusal(rig.backupRuns.start(all, caller()))
      assert.deepEqual([fault.code, fault.details.retryAfterSeconds], ["config_busy", 5])
      goOn()
      await Promise.all(runs.map((run) => finished(rig, run)))
      await finished(rig, await rig.backupRuns.start(all, caller()))
    }))

  test("that cannot be put on record is not begun, and takes no place", () =>
    withFleet(1, async (rig) => {
      const failing = (): Promise<void> => Promise.reject(new Fault("storage_full", "full"))
      const catalog = { getRun: () => Promise.resolve(null), addRun: failing } as unknown as Rig["catalog"]
      const runs = new BackupRuns({ ...partsOf(rig), catalog })
      for (let n = 0; n < 20; n += 1) {
        assert.equal((await refusal(runs.start(all, caller()))).code, "storage_full")
      }
    }))
})

/** Parts of a BackupRuns whose backups are told by `create`. */
function partsOf(rig: Rig, create?: () => Promise<{ made: boolean; backupId: string; json: string }>) {
  return {
    inventory: () => rig.settings.inventory,
    backups: create ? { create } : rig.backups,
    catalog: rig.catalog,
    clock: () => new Date(),
    statusOf: () => 500,
    parallel: 4,
    stopping: new AbortController().signal,
    onProblem: (message: string) => void rig.problems.push(message),
  }
}

suite("A config that is busy, or whose outcome is open", () => {
  for (const code of ["config_busy", "operation_in_doubt"] as const) {
    test(`is tried three times before it counts as failed (${code})`, () =>
      withFleet(1, async (rig) => {
        for (const [failures, outcome] of [
          [2, "made"],
          [3, "failed"],
        ] as const) {
          let left: number = failures
          const runs = new BackupRuns(
            partsOf(rig, async () => {
              if (left-- > 0) throw new Fault(code, "later", { retryAfterSeconds: 0 })
              return { made: true, backupId: "b", json: "" }
            }),
          )
          const run = await finished(rig, await runs.start(all, caller()))
          assert.equal(run.counts[outcome], 1)
        }
      }))
  }

  test("is left to the next start when the service ends meanwhile", () =>
    withFleet(1, async (rig) => {
      const runs = new BackupRuns(
        partsOf(rig, async () => {
          throw new Fault("config_busy", "later", { retryAfterSeconds: 3600 })
        }),
      )
      await runs.start(all, caller())
      await nextTurn()
      await runs.stop()
      assert.equal((await rig.catalog.openRuns())[0]?.targets.length, 1)
      await endAll(rig)
    }))
})

async function endAll(rig: Rig): Promise<void> {
  for (const { runId } of await rig.catalog.openRuns()) await rig.catalog.finishRun(runId, new Date().toISOString())
}

suite("A run over a restart", () => {
  test("goes on with what is left, and counts each config once", async () => {
    const first = await makeRig({ files: filesOf(12) })
    enlarge(first, 12)
    const { promise: held, resolve: goOn } = Promise.withResolvers<void>()
    let reads = 0
    const off = first.transport.onStep("read", async () => {
      reads += 1
      if (reads > 5) await held
    })
    const run = await first.backupRuns.start(all, caller())
    while (reads < 6) await nextTurn()
    const stopped = first.backupRuns.stop()
    goOn()
    await stopped
    const [open] = await first.catalog.openRuns()
    assert.ok(open)
    const left = open.targets.length
    assert.ok(left > 0 && left <= 7, `${left} are left`)
    assert.equal(reads, 12 - left)
    await first.stop()
    off()

    const second = await makeRig({ after: first })
    enlarge(second, 12)
    assert.equal(await second.backupRuns.resume(), 1)
    const ended = await finished(second, run)
    assert.deepEqual(ended.counts, { total: 12, made: 12, unchanged: 0, failed: 0, unreachable: 0 })
    assert.equal((await second.versions()).length, 12)
    await second.stop()
    await second.remove()
  })

  test("is begun no more once the service ends", () =>
    withFleet(1, async (rig) => {
      await rig.backupRuns.stop()
      assert.equal((await refusal(rig.backupRuns.start(all, caller()))).code, "shutting_down")
      assert.deepEqual(await rig.catalog.openRuns(), [])
    }))

  test("does not count as failed what the end of the service broke off", () =>
    withFleet(3, async (rig) => {
      const stopping = new AbortController()
      const runs = new BackupRuns({
        ...partsOf(rig, async () => {
          stopping.abort()
          throw new Fault("request_timeout", "broken off")
        }),
        stopping: stopping.signal,
      })
      const { runId } = await runs.start(all, caller())
      await runs.stop()
      assert.deepEqual((await rig.backupRuns.get(runId)).counts.failed, 0)
      assert.equal((await rig.catalog.openRuns())[0]?.targets.length, 3)
      await endAll(rig)
    }))

  test("ends where all was done but for the note that it had ended", () =>
    withFleet(1, async (rig) => {
      const run: NewRun = {
        runId: "r",
        kind: "backup",
        trigger: "manual",
        actor: "anonymous",
        reason: null,
        requestId: null,
        startedAt: new Date().toISOString(),
        targets: [{ vmId: "vm01", type: "app" }],
      }
      await rig.catalog.addRun(run)
      await rig.catalog.noteRunItem("r", { vmId: "vm01", type: "app", outcome: "made", problem: null })
      assert.equal(await rig.backupRuns.resume(), 1)
      await finished(rig, { runId: "r" } as Run)
      assert.deepEqual(await rig.versions(), [])
    }))

  test("counts a VM that left the settings meanwhile as failed", () =>
    withFleet(1, async (rig) => {
      await rig.catalog.addRun({
        runId: "r",
        kind: "backup",
        trigger: "scheduled",
        actor: "config_manager",
        reason: null,
        requestId: null,
        startedAt: new Date().toISOString(),
        targets: [{ vmId: "gone", type: "app" }],
      })
      await rig.backupRuns.resume()
      const run = await finished(rig, { runId: "r" } as Run)
      assert.equal(run.failures[0]?.problem.code, "vm_not_found")
    }))

  test("stays open where how a config ended could not be noted, which is told", () =>
    withFleet(2, async (rig) => {
      const note = rig.catalog.noteRunItem.bind(rig.catalog)
      let failed = false
      rig.catalog.noteRunItem = (runId, item) => {
        if (failed || item.vmId !== "vm02") return note(runId, item)
        failed = true
        return Promise.reject(new Fault("storage_full", "full"))
      }
      const { runId } = await rig.backupRuns.start(all, caller())
      while (!failed) await nextTurn()
      await rig.backupRuns.stop()
      assert.equal((await rig.backupRuns.get(runId)).state, "running")
      assert.match(rig.problems.join(), /could not note how vm02\/app ended/)
      const next = new BackupRuns(partsOf(rig))
      await next.resume()
      const run = await finished(rig, { runId } as Run)
      assert.deepEqual([run.counts.made, run.counts.unchanged], [1, 1])
    }))

  test("that ended 90 days ago is forgotten", () =>
    withFleet(1, async (rig) => {
      const run = await finished(rig, await rig.backupRuns.start(all, caller()))
      const days = (count: number): Date => new Date(Date.now() + count * 24 * 60 * 60 * 1000)
      await rig.backupRuns.prune(days(89))
      assert.equal((await rig.backupRuns.get(run.runId)).state, "finished")
      await rig.backupRuns.prune(days(91))
      assert.equal((await refusal(rig.backupRuns.get(run.runId))).code, "run_not_found")
    }))
})
