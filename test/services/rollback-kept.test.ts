import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { edit, live, lost, makeRig, refusal, withRig } from "./rig.ts"
import { ended, everywhere } from "./whereabouts.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const hand = "by: hand\n"

suite("What is written the moment an edit is given back", () => {
  test("is kept where it is a beginning of the old bytes, as private as a file that is being written", async () => {
    await withRig({ files: { [live]: file(old, 0o600) } }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, hand))
      rig.transport.onStep("rename", () => edit(rig, "port: 8"))
      await ended(rig, await refusal(rig.put(next)))
      assert.ok((await everywhere(rig)).includes("port: 8"))
    })
  })

  test("is kept where it is the old bytes, of which the change keeps no version", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, hand))
      rig.transport.onStep("rename", () => void rig.transport.files.set(live, file(old, 0o640)))
      await ended(rig, await refusal(rig.put(next, { backup: false })))
      assert.equal(rig.text(), hand)
      assert.ok((await everywhere(rig)).includes(old))
    })
  })
})

test("An edit of the last moment is not left to a newest version that does not open any more", async () => {
  const rig = await makeRig({ files: { [live]: file(hand, 0o640) } })
  await rig.put(hand)
  const [newest] = await rig.versions()
  assert.ok(newest)
  rig.transport.files.set(live, file(old, 0o640))
  rig.transport.onStep("swap", () => edit(rig, hand))
  const damage = (): void => {
    rig.transport.files.set(live, file("by: another\n", 0o640))
    rig.blobs.damage(newest)
  }
  rig.transport.onStep("swap", damage, "after")
  rig.transport.failNext("swap", lost(), { applied: true })
  await ended(rig, await refusal(rig.put(next, { backup: false })))
  assert.ok((await everywhere(rig)).includes(hand))
  await rig.stop()
  await rig.remove()
})
