import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { file } from "../fakes/memory-transport.ts"
import { live, lost, type Rig, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const synced = `syncDirectory ${live}`

/** How often the directory was synced after the last rename, which syncs it too where its answer comes. */
function syncs(rig: Rig, renaming: "swap" | "rename"): number {
  const last = rig.transport.steps.findLastIndex((step) => step.startsWith(renaming))
  return rig.transport.steps.slice(last).filter((step) => step === synced).length
}

suite("The directory of a file whose rename was done, its answer lost", () => {
  for (const [what, files] of [
    ["a file", { [live]: file(old) }],
    ["a created file", {}],
  ] as const) {
    test(`is synced before the change is told as written: ${what}`, async () => {
      await withRig({ files }, async (rig) => {
        rig.transport.failNext("swap", lost(), { applied: true })
        await rig.put(next)
        assert.equal(syncs(rig, "swap"), 1)
      })
    })
  }

  test("is synced by the next try where the connection is lost once more", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.failNext("syncDirectory", lost())
      assert.equal((await rig.put(next)).outcome, "written")
      assert.equal(syncs(rig, "swap"), 2)
    })
  })

  test("is synced where the rename was refused and done", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", new Fault("write_failed", "There is nothing to rename."), { applied: true })
      await rig.put(next)
      assert.equal(syncs(rig, "swap"), 1)
    })
  })

  test("is synced before the change is told as taken back", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.onStep("swap", () => void Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0 }), "after")
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.failNext("rename", lost(), { applied: true })
      assert.equal((await refusal(rig.put(next))).details.fileState, "rolled_back")
      assert.equal(syncs(rig, "rename"), 1)
    })
  })
})

test("The directory of a file whose rename was answered was synced with it, and is not once more", async () => {
  await withRig({ files: { [live]: file(old) } }, async (rig) => {
    await rig.put(next)
    assert.equal(syncs(rig, "swap"), 0)
  })
})
