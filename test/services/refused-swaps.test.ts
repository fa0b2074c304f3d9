import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import type { Session } from "../../src/domain/transport.ts"
import { file } from "../fakes/memory-transport.ts"
import { live, type Rig, refusal, withRig } from "./rig.ts"
import { ended, everywhere } from "./whereabouts.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const hand = "by: hand\n"

/** The VM refuses a rename that it has done. */
function refuseWhenDone(rig: Rig, then: () => void): void {
  const open = rig.transport.open.bind(rig.transport)
  rig.transport.open = async (vm, options) => {
    const session: Session = await open(vm, options)
    const proper = session.swap.bind(session)
    session.swap = async (paths, reading) => {
      await proper(paths, reading)
      then()
      throw new Fault("write_failed", "There is nothing to rename.")
    }
    return session
  }
}

suite("A VM that refuses a rename and has done it", () => {
  for (const backup of [true, false]) {
    test(`is not believed where somebody has written over the new bytes by then; backup=${backup}`, async () => {
      await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
        refuseWhenDone(rig, () => void rig.transport.files.set(live, file(hand, 0o640)))
        const { fileState } = await ended(rig, await refusal(rig.put(next, { backup })))
        assert.deepEqual([fileState, rig.text()], ["unknown", hand])
        assert.ok((await everywhere(rig)).includes(old))
      })
    })
  }

  test("is not believed where what stands there cannot be read at once", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      const changed = new Fault("concurrent_modification", "It was changed while it was being read.")
      refuseWhenDone(rig, () => rig.transport.failNext("read", changed))
      assert.equal((await rig.put(next)).outcome, "written")
      assert.equal(rig.text(), next)
    })
  })

  test("is not believed of a file that was created, where somebody has written over it by then", async () => {
    await withRig({ files: {} }, async (rig) => {
      refuseWhenDone(rig, () => void rig.transport.files.set(live, file(hand, 0o640)))
      const { fileState } = await ended(rig, await refusal(rig.put(next)))
      assert.deepEqual([fileState, rig.text()], ["unknown", hand])
    })
  })
})
