import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { aBlob } from "../blobs/blobs.ts"
import { contentsOf, idOf, putDaily, withClock } from "./keeping.ts"
import { ref, refusal } from "./rig.ts"

const asked = { dryRun: false, force: true }

suite("A version that no loaded key opens", () => {
  test("takes nobody's place: the last one that opens stays, for years", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 3)
      const last = await idOf(rig, "n: 2")
      await rig.catalog.markVersion(await idOf(rig, "n: 3"), { state: "locked", verifiedAt: null })
      time.pass(800)

      assert.equal((await rig.retention.purge(asked)).removed.length, 2)

      assert.deepEqual(await contentsOf(rig), ["n: 3", "n: 2"])
      const refused = await refusal(rig.retention.remove(last, new AbortController().signal))
      assert.match(refused.message, /newest with content of vm01\/app, .* all later versions cannot be had/)
    }))

  test("takes one once its key is loaded, and not before: anybody may have put it among the others", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      time.pass(200)
      await rig.blobs.put([aBlob("n: 2\n", { vm_id: ref.vmId, type: ref.type, trigger: "written" })])
      rig.blobs.failing.set("open", "backup_key_unavailable")
      await rig.reconcile()
      rig.blobs.failing.clear()

      await rig.retention.purge(asked)
      assert.deepEqual(await contentsOf(rig), ["n: 2", "n: 1"])

      await rig.reconcile()
      await rig.retention.purge(asked)
      assert.deepEqual(await contentsOf(rig), ["n: 2"])
    }))

  test("is put aside where it claims the end of time: nothing could come after it", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      await rig.blobs.put([
        aBlob("n: 2\n", { vm_id: ref.vmId, type: ref.type, created_at: "9999-12-31T23:59:59.999Z" }),
      ])
      rig.blobs.failing.set("open", "backup_key_unavailable")
      assert.equal((await rig.reconcile()).found.putAside, 1)
      rig.blobs.failing.clear()

      await rig.put("n: 3\n")

      assert.deepEqual(await contentsOf(rig), ["n: 3", "n: 1", "n: 0"])
    }))
})
