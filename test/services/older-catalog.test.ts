import assert from "node:assert/strict"
import { copyFileSync, existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import type { FailpointName } from "../../src/domain/failpoint.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, edit, live, makeRig, type Rig, tidied } from "./rig.ts"

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

  for (const at of ["kept", "looked", "swapped"] as const) {
    test(`has its version listed where its bytes stand on the VM: a copy of "${at}"`, async () => {
      const again = await makeRig({ after: await changeAndForget(at) })
      await again.reconcile()
      await again.resolver.takeUp()
      const { versionId } = await again.end(() => true)
      await tidied(again)
      const written = (await again.versions()).find(({ backupId }) => backupId === versionId)
      assert.ok(written)
      assert.equal((await again.blobs.open(written)).bytes.toString(), next)
      assert.equal(again.text(), next)
      await audit(again)
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

suite("A change whose process was killed right after its rename, and which is kept alone in an older copy of the catalog", () => {
  for (const backup of [true, false]) {
    test(`is told as done: the second name of the old file shows it, backup=${backup}`, async () => {
      let dir = ""
      const swapped = Promise.withResolvers<void>()
      const failpoint = async (step: FailpointName): Promise<void> => {
        if (step === "kept") copyCatalog("", "copy-", dir)
        if (step !== "swapped") return
        swapped.resolve()
        await new Promise(() => {})
      }
      const rig = await makeRig({ files: { [live]: file(old, 0o640) }, instead: () => ({ failpoint }) })
      dir = rig.dir
      rig.put(next, { backup }).catch(() => {})
      await swapped.promise
      rig.transport.breakConnection("vm01")
      await rig.stop()
      copyCatalog("copy-", "", dir)
      const again = await makeRig({ after: rig })
      await again.reconcile()
      await again.resolver.takeUp()
      const { state, fileState } = await again.end(() => true)
      assert.deepEqual([state, fileState, again.text()], ["succeeded", "written", next])
      await audit(again)
      await again.stop()
      await again.remove()
    })
  }
})

suite("A rollback that was killed before it kept what it replaced, and is no rollback in an older copy of the catalog", () => {
  const hand = "by: hand\n"
  for (const at of ["prepared", "kept", "looked", "swapped"] as const) {
    test(`costs nobody an edit of its last moment: a copy of "${at}"`, async () => {
      let dir = ""
      const putBack = Promise.withResolvers<void>()
      const failpoint = async (step: FailpointName): Promise<void> => {
        if (step === at) copyCatalog("", "copy-", dir)
        if (step !== "put_back") return
        putBack.resolve()
        await new Promise(() => {})
      }
      const rig = await makeRig({ files: { [live]: file(old, 0o640) }, instead: () => ({ failpoint }) })
      dir = rig.dir
      const swapped = rig.transport.onStep("swap", () => spoilStaged(rig))
      const renaming = rig.transport.onStep("rename", () => edit(rig, hand))
      rig.put(next).catch(() => {})
      await putBack.promise
      swapped()
      renaming()
      rig.transport.breakConnection("vm01")
      await rig.stop()
      copyCatalog("copy-", "", dir)
      const again = await makeRig({ after: rig })
      await again.reconcile()
      await again.resolver.takeUp()
      await again.end(() => true)
      await tidied(again)
      assert.equal(again.text(), old)
      assert.ok(await stand(again, hand))
      await audit(again)
      await again.stop()
      await again.remove()
    })
  }
})

/** The staged file has lost its mode when it is put in place. */
function spoilStaged(rig: Rig): void {
  for (const [name, found] of rig.transport.files) if (name.endsWith(".new")) found.mode = 0o660
}
