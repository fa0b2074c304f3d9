import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { FailpointName } from "../../src/domain/failpoint.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Vm } from "../../src/domain/vm.ts"
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

/** From now on the settings name another machine, on which `text` stands. */
function move(rig: Rig, text: string, mode: number, change: Partial<Vm> = { host: "127.0.0.2" }): void {
  reach(rig, change)
  rig.transport.files.clear()
  rig.transport.files.set(live, file(text, mode))
  rig.transport.unreachable.clear()
}

/** From now on the VM is reached like this. */
function reach(rig: Rig, change: Partial<Vm>): void {
  const { vms, types } = rig.settings.inventory
  const changed = vms.map((vm) => ({ ...vm, ...change }))
  rig.settings.inventory = new Inventory(changed, types, new Map([["app", { default: path }]]))
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

suite("A VM that is reached in another way, at the same address, before an outcome is known", () => {
  const proxyJump = { host: "jump-a", port: 22, user: "j" }
  const ways: readonly [string, Partial<Vm>][] = [
    ["through another jump host", { proxyJump: { ...proxyJump, host: "jump-b" } }],
    ["through another port of the jump host", { proxyJump: { ...proxyJump, port: 2222 } }],
    ["as another user of the jump host", { proxyJump: { ...proxyJump, user: "k" } }],
    ["through no jump host any more", { proxyJump: null }],
    ["as another SSH user, whose root may be another directory", { user: "y" }],
  ]
  for (const [what, change] of ways) {
    test(`keeps what stands there, and is not told to have its old bytes: ${what}`, async () => {
      for (const [text, mode] of [
        [next, 0o600],
        [old, 0o640],
      ] as const) {
        await withRig({ ...given(), timeoutMs: 300 }, async (rig) => {
          reach(rig, { proxyJump })
          const lostId = await losePush(rig)
          move(rig, text, mode, change)
          const { state, fileState, problem } = await rig.end(({ operationId }) => operationId === lostId)
          assert.deepEqual([state, fileState, problem?.code], ["failed", "unknown", "outcome_unknown"])
          assert.deepEqual(standing(rig), [text, mode])
        })
      }
    })
  }

  test("is the machine that it was where nothing but its labels, name and keys changed", async () => {
    await withRig({ ...given(), timeoutMs: 300 }, async (rig) => {
      reach(rig, { proxyJump })
      const lostId = await losePush(rig)
      const change = {
        proxyJump: { ...proxyJump },
        name: "renamed",
        labels: { site: "b" },
        privateKeyPath: "/keys/new",
      }
      move(rig, old, 0o640, change)
      const { fileState } = await rig.end(({ operationId }) => operationId === lostId)
      assert.equal(fileState, "unchanged")
    })
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
