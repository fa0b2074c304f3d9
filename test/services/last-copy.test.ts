import assert from "node:assert/strict"
import { test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { live, lost, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const hand = "by: hand\n"

test("The old bytes of a change that fails become a version where none was kept, and somebody has written over the new ones", async () => {
  await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
    rig.blobs.failing.set("put", "storage_full")
    rig.transport.failNext("swap", lost(), { applied: true })
    rig.transport.onStep("swap", () => void rig.transport.files.set(live, file(hand, 0o640)), "after")
    rig.transport.onStep("swap", () => rig.blobs.failing.clear(), "after")
    const { details } = await refusal(rig.put("port: 81\n", { backup: false }))
    const { fileState } = await rig.end(({ operationId }) => operationId === details.operationId)
    assert.deepEqual([fileState, rig.text()], ["unknown", hand])
    const kept = await Promise.all((await rig.versions()).map((version) => rig.blobs.open(version)))
    assert.deepEqual(
      kept.map(({ bytes }) => bytes.toString()),
      [old],
    )
  })
})
