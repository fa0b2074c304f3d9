import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { audit, live, lost, makeRig, type Rig, refusal } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const given = { files: { [live]: file(old, 0o640) }, timeoutMs: 500 }

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
    rig.transport.unreachable.add("vm01")
    rig.transport.breakConnection("vm01")
    throw lost()
  })
}

/** Starts the service again, once what it does in the end can be done. */
async function restart(rig: Rig): Promise<Rig> {
  await rig.stop()
  rig.transport.unreachable.clear()
  rig.blobs.failing.clear()
  const again = await makeRig({ ...given, after: rig })
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
      const rig = await makeRig(given)
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
