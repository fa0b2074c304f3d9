import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { caller, edit, live, ref, refusal, withRig } from "./rig.ts"

const given = () => ({ files: { [live]: file("a: 1\n") } })

suite("A version that is asked for and cannot be had", () => {
  test("is shown as damaged in lists from then on, and is well again once it opens", () =>
    withRig(given(), async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      const [version] = await rig.versions()
      assert.ok(version)
      rig.blobs.damage(version)

      assert.equal((await refusal(rig.backups.content(backupId))).code, "backup_corrupt")

      assert.deepEqual(
        (await rig.versions()).map(({ state }) => state),
        ["damaged"],
      )
      rig.blobs.damaged.clear()
      assert.equal((await rig.backups.verify(backupId)).ok, true)
      assert.equal((await rig.versions())[0]?.state, "ok")
    }))

  test("is shown as missing when a restore finds it gone, and nothing is written", () =>
    withRig(given(), async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      edit(rig, "a: 2\n")
      const kept = [...rig.blobs.blobs]
      rig.blobs.blobs.clear()
      const options = { vmId: null, dryRun: false, precondition: { ifMatch: null, createOnly: false } }

      assert.equal((await refusal(rig.backups.restore(backupId, options, caller()))).code, "backup_missing")

      assert.equal((await rig.versions())[0]?.state, "missing")
      assert.equal(rig.text(), "a: 2\n")
      for (const [key, blob] of kept) rig.blobs.blobs.set(key, blob)
    }))

  test("stays what it was where the store cannot be asked", () =>
    withRig(given(), async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      rig.blobs.failing.set("open", "backup_storage_unavailable")

      assert.equal((await refusal(rig.backups.content(backupId))).code, "backup_storage_unavailable")

      assert.equal((await rig.versions())[0]?.state, "ok")
    }))
})
