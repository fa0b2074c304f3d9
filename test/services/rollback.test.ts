import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { type Failpoint, noFailpoint } from "../../src/domain/failpoint.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { Operation } from "../../src/domain/operation.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, live, lost, makeRig, type Rig, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const given = () => ({ files: { [live]: file(old, 0o640) }, timeoutMs: 1000 })

/** Somebody gives the new file another mode the moment that it stands there, and the answer is lost. */
function spoilSwap(rig: Rig): void {
  rig.transport.onStep("swap", () => void Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0o600 }), "after")
  rig.transport.failNext("swap", lost(), { applied: true })
}

/** The connection is lost at the `nth` such step, and the VM does not answer again. */
function vanish(rig: Rig, step: "stage" | "rename", nth = 1): void {
  let count = 0
  rig.transport.onStep(step, () => {
    count += 1
    if (count !== nth) return
    loseVm(rig)
    throw lost()
  })
}

function loseVm({ transport }: Rig): void {
  transport.unreachable.add("vm01")
  transport.breakConnection("vm01")
}

/** Starts the service again, once what it does in the end can be done. */
async function restart(rig: Rig, failpoint: Failpoint = noFailpoint): Promise<Rig> {
  await rig.stop()
  rig.transport.unreachable.clear()
  rig.blobs.failing.clear()
  const again = await makeRig({ ...given(), after: rig, instead: () => ({ failpoint }) })
  await again.resolver.takeUp()
  return again
}

async function finish(rig: Rig): Promise<void> {
  try {
    await audit(rig)
  } finally {
    await rig.stop()
    await rig.remove()
  }
}

suite("A rollback whose old bytes no version gives back", () => {
  for (const [what, backup] of [
    ["was never kept", false],
    ["is damaged", true],
  ] as const) {
    test(`ends, and its config is free: the version ${what}`, async () => {
      const rig = await makeRig(given())
      rig.transport.hardLinks = false
      if (!backup) rig.blobs.failing.set("put", "storage_full")
      spoilSwap(rig)
      vanish(rig, "stage", 2)
      const { details } = await refusal(rig.put(next, { backup }))
      if (backup) rig.blobs.damage({ vmId: "vm01", type: "app", backupId: details.backupId ?? "" })
      const again = await restart(rig)
      const { state, fileState, problem } = await again.end(() => true)
      assert.deepEqual([state, fileState, problem?.code], ["failed", "written", "rollback_failed"])
      assert.equal(again.text(), next)
      assert.equal((await again.put("port: 82\n")).outcome, "written")
      again.blobs.damaged.clear()
      await finish(again)
    })
  }
})

suite("A rollback that put nothing back, over which somebody writes", () => {
  const hand = "by: hand\n"
  const write = (rig: Rig): void => void rig.transport.files.set(live, file(hand, 0o640))

  /** It is not told as `rolled_back`, and the old bytes are a version though the caller wanted none. */
  async function assertUnknown(rig: Rig, operation: Promise<Operation>): Promise<void> {
    const { state, fileState } = await operation
    assert.deepEqual([state, fileState, rig.text()], ["failed", "unknown", hand])
    assert.ok((await contents(rig)).includes(old))
  }

  for (const backup of [true, false]) {
    test(`keeps the old bytes where the VM has no room for them: backup=${backup}`, async () => {
      await withRig(given(), async (rig) => {
        rig.transport.hardLinks = false
        spoilSwap(rig)
        rig.transport.failNext("stage", new Fault("vm_disk_full", "full"), { skip: 1, killsSession: false })
        rig.transport.onStep("remove", () => {
          if (rig.transport.steps.filter((step) => step.startsWith("stage")).length > 1) write(rig)
        })
        const { details } = await refusal(rig.put(next, { backup }))
        const ended = rig.end(({ operationId }) => operationId === details.operationId)
        await assertUnknown(rig, ended)
      })
    })
  }

  test("keeps the old bytes where the process ends once the second name is gone", async () => {
    const rig = await makeRig(given())
    spoilSwap(rig)
    vanish(rig, "rename")
    await refusal(rig.put(next, { backup: false }))
    write(rig)
    const reached = Promise.withResolvers<void>()
    const second = await restart(rig, async (step) => {
      if (step !== "old_removed") return
      loseVm(rig)
      reached.resolve()
      throw lost()
    })
    await reached.promise
    const third = await restart(second)
    await assertUnknown(
      third,
      third.end(() => true),
    )
    await finish(third)
  })

  test("keeps the old bytes where the catalog refuses its end once", async () => {
    const failpoint: Failpoint = (step) => {
      if (step === "rolling_back") write(rig)
    }
    const rig = await makeRig({ ...given(), instead: () => ({ failpoint }) })
    spoilSwap(rig)
    const change = rig.catalog.changeOperation.bind(rig.catalog)
    rig.catalog.changeOperation = async (operationId, what, versions) => {
      if (what.finishedAt === undefined) return change(operationId, what, versions)
      rig.catalog.changeOperation = change
      throw new Fault("storage_busy", "The catalog was told to refuse.")
    }
    const { details } = await refusal(rig.put(next, { backup: false }))
    await assertUnknown(
      rig,
      rig.end(({ operationId }) => operationId === details.operationId),
    )
    await finish(rig)
  })
})

async function contents(rig: Rig): Promise<readonly string[]> {
  return Promise.all((await rig.versions()).map(async (version) => (await rig.blobs.open(version)).bytes.toString()))
}
