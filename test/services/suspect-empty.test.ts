import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { idOf, withClock } from "./keeping.ts"
import { caller, edit, live, ref, refusal, withRig } from "./rig.ts"

const full = () => ({ files: { [live]: file("a: 1\n") } })
const codes = (warnings: readonly { readonly code: string }[]) => warnings.map(({ code }) => code)

suite("A file that had content and is found empty", () => {
  test("becomes a version by POST /backups, with a warning that names the one before", () =>
    withRig(full(), async (rig) => {
      const before = await rig.backups.create(ref, caller())
      edit(rig, "")

      const { made, json } = await rig.backups.create(ref, caller())

      assert.equal(made, true)
      const { size, warnings } = JSON.parse(json)
      assert.equal(size, 0)
      assert.deepEqual(codes(warnings), ["suspect_empty"])
      assert.ok(warnings[0].message.includes(before.backupId))
    }))

  test("becomes a version before it is written over, with the warning", () =>
    withRig(full(), async (rig) => {
      await rig.backups.create(ref, caller())
      edit(rig, "")

      const report = await rig.put("a: 2\n")

      assert.ok(codes(report.warnings).includes("suspect_empty"))
      assert.deepEqual(
        (await rig.versions()).map(({ size }) => size),
        [5, 0, 5],
      )
    }))

  test("is told of once: afterwards it is known to be empty", () =>
    withRig(full(), async (rig) => {
      await rig.backups.create(ref, caller())
      edit(rig, "")
      await rig.backups.create(ref, caller())

      const { made, json } = await rig.backups.create(ref, caller())

      assert.equal(made, false)
      assert.deepEqual(JSON.parse(json).warnings, [])
    }))

  test("protects the version before it like the newest, for years, from purge and DELETE", () =>
    withClock(async (rig, time) => {
      await rig.backups.create(ref, caller())
      const full = await idOf(rig, "n: 0")
      time.pass(1)
      edit(rig, "")
      await rig.backups.create(ref, caller())
      for (let day = 0; day < 400; day += 1) {
        time.pass(1)
        rig.retentionClock.look()
      }

      assert.deepEqual((await rig.retention.purge({ dryRun: false, force: true })).removed, [])
      const refused = await refusal(rig.retention.remove(full, new AbortController().signal))
      assert.equal(refused.code, "backup_protected")
      assert.match(refused.message, /newest with content .* only found empty since/)

      await rig.put("n: 1\n")
      const purge = async () => (await rig.retention.purge({ dryRun: false, force: true })).removed
      assert.deepEqual(await purge(), [])
      for (let day = 0; day < 91; day += 1) {
        time.pass(1)
        rig.retentionClock.look()
      }
      assert.equal((await purge())[0], full)
    }))

  test("is nothing to warn of where no version had content, or it was found with content", () =>
    withRig({ files: { [live]: file("") } }, async (rig) => {
      assert.deepEqual(JSON.parse((await rig.backups.create(ref, caller())).json).warnings, [])
      edit(rig, "a: 1\n")
      assert.deepEqual(JSON.parse((await rig.backups.create(ref, caller())).json).warnings, [])
    }))
})
