import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { StoreCheck, type StoreChecked, type StoreFinding } from "../../src/services/store-check.ts"
import { putLegacy } from "../blobs/legacy-files.ts"
import { file } from "../fakes/memory-transport.ts"
import { aJournal, anOperation } from "../sqlite/records.ts"
import { live, type Rig, ref, withRig } from "./rig.ts"

const legacyKey = Buffer.alloc(32, 5)

async function check(
  rig: Rig,
  isChosen = () => true,
  configs = [ref],
): Promise<{ checked: StoreChecked; findings: readonly string[] }> {
  const findings: string[] = []
  const onFinding = ({ kind, backupId }: StoreFinding): void => void findings.push(`${kind} ${backupId}`)
  const { blobs, legacy, catalog } = rig
  const checked = await new StoreCheck({ blobs, legacy, catalog, configs, isChosen, onFinding }).run()
  return { checked, findings }
}

/** Two versions, newest first; the store is whole again at the end. */
async function withTwo(work: (rig: Rig, ids: readonly [string, string]) => Promise<void>): Promise<void> {
  await withRig({ files: { [live]: file("port: 1\n") }, legacyKey }, async (rig) => {
    await rig.put("port: 2\n")
    const [newest, first] = await rig.versions()
    assert.ok(newest && first)
    const all = new Map(rig.blobs.blobs)
    await work(rig, [newest.backupId, first.backupId])
    rig.blobs.damaged.clear()
    rig.blobs.blobs.clear()
    for (const [key, blob] of all) rig.blobs.blobs.set(key, blob)
  })
}

suite("StoreCheck", () => {
  test("finds nothing where all is well, and changes nothing", async () => {
    await withTwo(async (rig) => {
      const before = await rig.versions()
      const { checked, findings } = await check(rig)
      assert.deepEqual([checked, findings], [{ versions: 2, chosen: 2, opened: 2, unmatched: 0 }, []])
      assert.deepEqual(await rig.versions(), before)
    })
  })

  test("opens nothing that is not chosen, and still sees what is missing", async () => {
    await withTwo(async (rig, [newest, first]) => {
      rig.blobs.damage({ ...ref, backupId: first })
      rig.blobs.blobs.delete(`${ref.vmId}/${ref.type}/${newest}`)
      const { checked, findings } = await check(rig, () => false)
      assert.deepEqual([checked.chosen, checked.opened, findings], [0, 0, [`missing ${newest}`]])
    })
  })

  test("tells of a blob that a push under way has just made: nothing", async () => {
    await withTwo(async (rig, [newest]) => {
      const blob = rig.blobs.blobs.get(`${ref.vmId}/${ref.type}/${newest}`)
      assert.ok(blob)
      const header = { ...blob.header, backup_id: "under-way" }
      await rig.blobs.put([{ ...blob, header }])
      const operation = anOperation(ref)
      await rig.catalog.addOperation(operation, aJournal({ madeWrittenId: "under-way" }))

      assert.deepEqual((await check(rig)).findings, [])

      await rig.catalog.changeOperation(operation.operationId, { phase: "done" })
      assert.deepEqual((await check(rig)).findings, ["unlisted under-way"])
    })
  })

  test("tells of a version that is removed meanwhile: nothing", async () => {
    await withTwo(async (rig, [newest]) => {
      const { blobs, catalog } = rig
      const key = `${ref.vmId}/${ref.type}/${newest}`
      blobs.blobs.delete(key)
      const { getVersion } = catalog
      // Its row was read, and goes before anybody asks again.
      catalog.getVersion = async (backupId) => (backupId === newest ? null : getVersion.call(catalog, backupId))

      assert.deepEqual((await check(rig)).findings, [])
    })
  })

  test("tells damaged, locked and differing ones apart, those of the original service as well", async () => {
    await withTwo(async (rig, [newest, first]) => {
      const legacyRef = { ...ref, stamp: "20250101_000000" }
      const locked = putLegacy(rig.legacyDir, legacyRef, "{}", Buffer.alloc(32, 6))
      putLegacy(rig.legacyDir, { ...ref, stamp: "20250102_000000" }, "{}", legacyKey)
      putLegacy(rig.legacyDir, { vmId: "vm99", type: "app", stamp: "20250102_000000" }, "{}", legacyKey)
      rig.blobs.damage({ ...ref, backupId: first })
      const key = `${ref.vmId}/${ref.type}/${newest}`
      const blob = rig.blobs.blobs.get(key)
      assert.ok(blob)
      rig.blobs.blobs.set(key, { ...blob, header: { ...blob.header, mode: 0o777 } })

      const { checked, findings } = await check(rig)

      assert.deepEqual([...findings].sort(), [`damaged ${first}`, `differs ${newest}`, `locked ${locked}`])
      assert.deepEqual(checked, { versions: 4, chosen: 4, opened: 2, unmatched: 1 })
    })
  })

  test("tells a version whose row says another key than the one that opens it", async () => {
    await withTwo(async (rig, [newest]) => {
      await rig.catalog.markVersion(newest, { state: "ok", verifiedAt: null, keyId: "22".repeat(16) })
      assert.deepEqual((await check(rig)).findings, [`differs ${newest}`])
    })
  })

  test("tells a backup of the original service in whose place another one stands", async () => {
    await withTwo(async (rig) => {
      const put = (plain: string) => putLegacy(rig.legacyDir, { ...ref, stamp: "20250101_000000" }, plain, legacyKey)
      put('{"n": 1}')
      await rig.reconcile()
      assert.deepEqual((await check(rig)).findings, [])

      const id = put('{"n": 2}')
      assert.deepEqual((await check(rig)).findings, [`differs ${id}`])
    })
  })

  test("knows a backup of the original service whose name fits two configs by its row", async () => {
    await withTwo(async (rig) => {
      const name = { vmId: "vm01", type: "x_app" }
      const stamp = "20250101_000000"
      putLegacy(rig.legacyDir, { ...name, stamp }, "{}", legacyKey)
      const id = putLegacy(rig.legacyDir, { ...ref, stamp }, "{}", legacyKey)
      const other = { vmId: "vm01_x", type: "app" }
      await rig.reconcile()
      const row = (await rig.catalog.getVersion(id)) ?? assert.fail()
      await rig.catalog.importVersions([{ ...row, ...name, backupId: `backup_vm01_x_app_${stamp}.enc` }])

      const { checked } = await check(rig, () => true, [ref, other])

      assert.deepEqual(checked, { versions: 4, chosen: 4, opened: 4, unmatched: 0 })
    })
  })

  test("gives up where the store does not answer", async () => {
    await withTwo(async (rig) => {
      rig.blobs.failing.set("open", "backup_storage_unavailable")
      await assert.rejects(check(rig), (error: unknown) => error instanceof Fault)
      rig.blobs.failing.clear()
    })
  })
})
