import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { TimedBlobStore } from "../../src/blobs/timed-store.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, caller, edit, live, makeRig, type Rig, type RigOptions, ref, refusal, withRig } from "./rig.ts"

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

  test("keeps no caller of a change beyond its time, whatever the store's own limit is", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 300 }, async (rig) => {
      const held = Promise.withResolvers<void>()
      rig.blobs.holding.set("put", held.promise)
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState], ["backup_storage_unavailable", "unchanged"])
      rig.blobs.holding.clear()
      held.resolve()
      await new Promise(setImmediate)
      // What came late is removed: the audit sees it.
      while (rig.blobs.blobs.size > 0) await new Promise(setImmediate)
    })
  })

  test("keeps no caller beyond its time where an edit of the last moment is to be kept", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 500 }, async (rig) => {
      const held = Promise.withResolvers<void>()
      rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
      rig.transport.onStep("rename", () => {
        edit(rig, "by: editor two\n")
        rig.blobs.holding.set("put", held.promise)
      })
      const { code, details } = await refusal(rig.put(next))
      assert.equal(code, "outcome_unknown")
      rig.blobs.holding.clear()
      held.resolve()
      const { fileState } = await rig.end(({ operationId }) => operationId === details.operationId)
      assert.deepEqual([fileState, rig.text()], ["rolled_back", "by: editor one\n"])
      assert.equal((await rig.versions())[0]?.digest, digestOf(Buffer.from("by: editor two\n")))
    })
  })

  test("keeps no caller waiting for what is removed behind a change that failed; a stop waits for it", async () => {
    const rig = await makeRig({ files: { [live]: file(old) } })
    const held = Promise.withResolvers<void>()
    rig.blobs.holding.set("remove", held.promise)
    rig.transport.failNext("swap", new Fault("write_failed", "no"), { killsSession: false })
    assert.equal((await refusal(rig.put(next))).code, "write_failed")
    const stopping = rig.resolver.stop().then(() => rig.blobs.blobs.size)
    held.resolve()
    assert.equal(await stopping, 1, "the version of the old bytes alone is left")
    await audit(rig)
    await rig.stop()
    await rig.remove()
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
