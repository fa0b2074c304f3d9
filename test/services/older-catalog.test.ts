import assert from "node:assert/strict"
import { copyFileSync, existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import type { FailpointName } from "../../src/domain/failpoint.ts"
import { file } from "../fakes/memory-transport.ts"
import { live, makeRig, type Rig, tidied } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const catalogFiles = ["catalog.db", "catalog.db-wal", "catalog.db-shm"]

function copyCatalog(from: string, to: string, dir: string): void {
  for (const name of catalogFiles) {
    rmSync(join(dir, `${to}${name}`), { force: true })
    if (existsSync(join(dir, `${from}${name}`))) copyFileSync(join(dir, `${from}${name}`), join(dir, `${to}${name}`))
  }
}

/** A change is acknowledged, and the catalog is then replaced by a copy from the moment at which it passed `at`. */
async function changeAndForget(at: FailpointName): Promise<Rig> {
  let dir = ""
  const failpoint = (step: FailpointName): void => {
    if (step === at) copyCatalog("", "copy-", dir)
  }
  const rig = await makeRig({ files: { [live]: file(old, 0o640) }, instead: () => ({ failpoint }) })
  dir = rig.dir
  assert.equal((await rig.put(next)).outcome, "written")
  await rig.stop()
  copyCatalog("copy-", "", dir)
  return rig
}

/** Whether the bytes can be had from somewhere: the file, a version, or what was put aside. */
async function stand(rig: Rig, text: string): Promise<boolean> {
  const aside = [...rig.blobs.aside.values()].map((bytes) => Buffer.from(bytes).toString())
  const versions = await Promise.all((await rig.versions()).map((version) => rig.blobs.open(version)))
  return [rig.text(), ...aside, ...versions.map(({ bytes }) => bytes.toString())].includes(text)
}

suite("An acknowledged change that is open in an older copy of the catalog", () => {
  for (const at of ["kept", "looked", "swapped"] as const) {
    test(`is not lost where somebody has given its file another mode: a copy of "${at}"`, async () => {
      const rig = await changeAndForget(at)
      Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0o600 })
      const again = await makeRig({ after: rig })
      await again.reconcile()
      await again.resolver.takeUp()
      await again.end(() => true)
      await tidied(again)
      assert.equal(again.text(), next)
      assert.ok(await stand(again, next))
      await again.stop()
      await again.remove()
    })
  }

  test("is put aside by the start after that too, where somebody has put the old bytes back", async () => {
    const rig = await changeAndForget("looked")
    rig.transport.files.set(live, file(old, 0o640))
    const again = await makeRig({ after: rig })
    await again.reconcile()
    again.blobs.failing.set("remove", "backup_storage_unavailable")
    await again.resolver.takeUp()
    await again.end(() => true)
    await again.stop()
    again.blobs.failing.clear()
    const third = await makeRig({ after: again })
    await third.resolver.takeUp()
    await tidied(third)
    assert.ok(await stand(third, next))
    await third.stop()
    await third.remove()
  })
})
