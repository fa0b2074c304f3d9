import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { FailpointName } from "../../src/domain/failpoint.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, live, lost, makeRig, path, type Rig, ref, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const given = () => ({ files: { [live]: file(old, 0o640) }, timeoutMs: 1000 })

/** The VM is not reached any more once the swap is done, whose answer is lost. */
async function losePush(rig: Rig): Promise<string> {
  rig.transport.failNext("swap", lost(), { applied: true })
  rig.transport.onStep("swap", () => void rig.transport.unreachable.add("vm01"), "after")
  const { code, details } = await refusal(rig.put(next))
  assert.equal(code, "outcome_unknown")
  return details.operationId ?? ""
}

/** From now on the VM's address names another machine, on which `text` stands. */
function move(rig: Rig, text: string, mode: number): void {
  const { vms, types } = rig.settings.inventory
  const moved = vms.map((vm) => ({ ...vm, host: "127.0.0.2" }))
  rig.settings.inventory = new Inventory(moved, types, new Map([["app", { default: path }]]))
  rig.transport.files.clear()
  rig.transport.files.set(live, file(text, mode))
  rig.transport.unreachable.clear()
}

function standing(rig: Rig): readonly unknown[] {
  return [rig.text(), rig.transport.files.get(live)?.mode]
}

async function contents(rig: Rig): Promise<readonly string[]> {
  return Promise.all((await rig.versions()).map(async (version) => (await rig.blobs.open(version)).bytes.toString()))
}

suite("A VM whose address names another machine before an outcome is known", () => {
  test("keeps what stands there: the new bytes with another mode", async () => {
    await withRig(given(), async (rig) => {
      const lostId = await losePush(rig)
      move(rig, next, 0o600)
      const { state, fileState, problem } = await rig.end(({ operationId }) => operationId === lostId)
      assert.deepEqual([state, fileState, problem?.code], ["failed", "unknown", "outcome_unknown"])
      assert.deepEqual([...standing(rig), await contents(rig)], [next, 0o600, [old]])
    })
  })

  test("is not told to have its old bytes, which stand on the first machine no more", async () => {
    await withRig(given(), async (rig) => {
      const lostId = await losePush(rig)
      move(rig, old, 0o640)
      const { fileState } = await rig.end(({ operationId }) => operationId === lostId)
      assert.deepEqual([fileState, ...standing(rig)], ["unknown", old, 0o640])
      assert.equal(rig.blobs.aside.size, 1, "the new bytes are put aside")
    })
  })

  test("keeps what stands there in the middle of a rollback, also over a restart", async () => {
    const failpoint = (step: FailpointName): void => {
      if (step !== "rolling_back") return
      rig.transport.unreachable.add("vm01")
      rig.transport.breakConnection("vm01")
      throw lost()
    }
    const rig = await makeRig({ ...given(), instead: () => ({ failpoint }) })
    rig.transport.onStep("swap", () => {
      for (const [name, found] of rig.transport.files) if (name.endsWith(".new")) found.mode = 0o600
    })
    await refusal(rig.put(next))
    await rig.stop()
    const again = await makeRig({ ...given(), after: rig })
    move(again, next, 0o640)
    await again.resolver.takeUp()
    const { fileState } = await again.end(() => true)
    assert.deepEqual([fileState, ...standing(again)], ["unknown", next, 0o640])
    await audit(again)
    await again.stop()
    await again.remove()
  })
})

suite("A file that somebody gives another mode while the service is down and a change of it open", () => {
  test("is a version with that mode once the old bytes are back", async () => {
    const rig = await makeRig(given())
    await losePush(rig)
    await rig.stop()
    rig.transport.unreachable.clear()
    Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0o600 })
    const again = await makeRig({ ...given(), after: rig })
    await again.resolver.takeUp()
    assert.equal((await again.end(() => true)).state, "rolled_back")
    assert.deepEqual([again.text(), await contents(again)], [old, [next, old]])
    const newest = await again.catalog.newestVersion(ref)
    assert.deepEqual([newest?.trigger, newest?.mode], ["found", 0o600])
    await audit(again)
    await again.stop()
    await again.remove()
  })
})
