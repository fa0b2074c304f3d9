import assert from "node:assert/strict"
import { test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { live, lost, type Rig, refusal, withRig } from "./rig.ts"
import { ended, everywhere } from "./whereabouts.ts"

const old = "port: 80\n"
const next = "port: 81\n"

/** Somebody gives the new file another mode the moment that it stands there, and the answer is lost. */
function spoilSwap({ transport }: Rig): void {
  transport.onStep("swap", () => void Object.assign(transport.files.get(live) ?? {}, { mode: 0o600 }), "after")
  transport.failNext("swap", lost(), { applied: true })
}

for (const hardLinks of [true, false]) {
  test(`The bytes of a change, put there by hand once it was taken back, are kept; second names: ${hardLinks}`, async () => {
    await withRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 500 }, async (rig) => {
      rig.transport.hardLinks = hardLinks
      spoilSwap(rig)
      // Without second names the old bytes, written down anew, are given one first.
      rig.transport.failNext("rename", lost(), { applied: true, skip: hardLinks ? 0 : 1 })
      let isBack = false
      rig.transport.onStep(
        "rename",
        () => {
          isBack = true
        },
        "after",
      )
      rig.transport.onStep("open", () => {
        if (isBack && rig.text() === old) rig.transport.files.set(live, file(next, 0o640))
        isBack = false
      })
      await ended(rig, await refusal(rig.put(next)))
      assert.ok((await everywhere(rig)).includes(next))
    })
  })
}
