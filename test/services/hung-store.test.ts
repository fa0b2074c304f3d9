import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { TimedBlobStore } from "../../src/blobs/timed-store.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, caller, live, makeRig, type Rig, type RigOptions, ref, refusal } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const limitMs = 100
const given: RigOptions = {
  files: { [live]: file(old) },
  instead: ({ blobs }) => ({ blobs: new TimedBlobStore(blobs, limitMs) }),
}

/** `work` on a store that hangs at `method`; then it answers, the service starts again, and all must be in order. */
async function withHung(method: "put" | "open", work: (rig: Rig, hang: () => void) => Promise<void>): Promise<void> {
  const rig = await makeRig(given)
  const held = Promise.withResolvers<void>()
  await work(rig, () => void rig.blobs.holding.set(method, held.promise))
  rig.blobs.holding.clear()
  held.resolve()
  await new Promise(setImmediate)
  await rig.stop()
  const again = await makeRig({ ...given, after: rig })
  assert.equal(await again.resolver.takeUp(), 0)
  await audit(again)
  await again.stop()
  await again.remove()
}

suite("A backup directory that hangs", { timeout: 20_000 }, () => {
  test("fails a change in time, the VM's file untouched, and shows no version of it once it answers", async () => {
    await withHung("put", async (rig, hang) => {
      hang()
      const startedAt = performance.now()
      const { code, details } = await refusal(rig.put(next))
      assert.ok(performance.now() - startedAt < 1_000)
      assert.deepEqual([code, details.fileState], ["backup_storage_unavailable", "unchanged"])
      assert.deepEqual([...rig.transport.files.keys()], [live])
      assert.equal(rig.text(), old)
      assert.deepEqual(await rig.versions(), [])
    })
  })

  test("fails a backup in time", async () => {
    await withHung("put", async (rig, hang) => {
      hang()
      assert.equal((await refusal(rig.backups.create(ref, caller()))).code, "backup_storage_unavailable")
    })
  })

  test("fails the reading of a version in time, and the version stays as it was", async () => {
    await withHung("open", async (rig, hang) => {
      const { backupId } = await rig.backups.create(ref, caller())
      hang()
      assert.equal((await refusal(rig.backups.content(backupId))).code, "backup_storage_unavailable")
      assert.equal((await rig.versions())[0]?.state, "ok")
    })
  })

  for (const method of ["put", "open"] as const) {
    test(`does not stop a change that wants no version, hanging at ${method}`, async () => {
      await withHung(method, async (rig, hang) => {
        if (method === "open") await rig.backups.create(ref, caller())
        hang()
        const { outcome, warnings } = await rig.put(next, { backup: false })
        assert.equal(outcome, "written")
        assert.ok(warnings.some(({ code }) => code === "version_not_kept"))
      })
    })
  }
})
