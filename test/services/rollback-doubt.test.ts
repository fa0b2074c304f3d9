import assert from "node:assert/strict"
import { test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { live, lost, refusal, tidied, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"

test("The bytes of a change, put there by hand with another mode while its end was not known, are not removed when it is taken back", async () => {
  await withRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 300 }, async (rig) => {
    rig.transport.failNext("swap", lost(), { applied: true })
    rig.transport.onStep("swap", () => void rig.transport.unreachable.add("vm01"), "after")
    const { code, details } = await refusal(rig.put(next))
    assert.equal(code, "outcome_unknown")
    rig.transport.files.set(live, file(next, 0o600))
    rig.transport.unreachable.clear()
    await rig.end(({ operationId }) => operationId === details.operationId)
    await tidied(rig)
    const kept = [...rig.blobs.aside.values(), ...[...rig.blobs.blobs.values()].map(({ bytes }) => bytes)]
    assert.ok([rig.text(), ...kept.map(String)].includes(next))
  })
})
