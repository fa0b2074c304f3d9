import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, type Rig, ref, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"

/** What stands there, and nothing beside it. */
function standing(rig: Rig): unknown {
  return [...rig.transport.files].map(([name, { bytes, mode }]) => [name, bytes.toString(), mode])
}

suite("A mode that keeps out the SSH user itself", () => {
  test("is not restored: nothing is put in place that could not be verified", async () => {
    await withRig({ files: { [live]: file(old, 0o200) } }, async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      Object.assign(rig.transport.files.get(live) ?? {}, { bytes: Buffer.from(next), mode: 0o640 })
      const options = { vmId: null, dryRun: false, precondition: anyone }
      const { code, details } = await refusal(rig.backups.restore(backupId, options, caller()))
      assert.deepEqual([code, details.fileState], ["vm_permission_denied", "unchanged"])
      assert.deepEqual(standing(rig), [[live, next, 0o640]])
    })
  })

  test("is not given to a file that is created", async () => {
    await withRig({ type: { mode: 0o200 } }, async (rig) => {
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState], ["vm_permission_denied", "unchanged"])
      assert.deepEqual(standing(rig), [])
      assert.deepEqual(await rig.versions(), [])
    })
  })
})
