import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type Catalog, itemsOf, type VersionChanges } from "../../src/domain/catalog.ts"
import { anOperation, at, aVersion } from "../sqlite/records.ts"
import type { CatalogUnderTest } from "./catalog.ts"

const page = { limit: 500, cursor: null }

export function versionContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  suite(`${name} as a Catalog: versions`, () => {
    let given: CatalogUnderTest
    let catalog: Catalog
    const operation = anOperation()
    const change = (versions: VersionChanges) => catalog.changeOperation(operation.operationId, {}, versions)
    const listed = async () => {
      const versions = itemsOf<{ backupId: string }>(await catalog.listVersions({}, page))
      return versions.map(({ backupId }) => backupId)
    }

    beforeEach(async () => {
      given = await make()
      catalog = given.catalog
      await catalog.addOperation(operation, null)
    })
    afterEach(() => given.close())

    test("gives a version back as it was added, and fills in the rest", async () => {
      const version = aVersion({ reason: "why", operationId: "o", trigger: "manual" })
      await change({ add: [version] })

      const { provisional: _, ...kept } = version
      const rest = { supersededAt: null, note: null, pinned: false, verifiedAt: null, state: "ok" }
      assert.deepEqual(await catalog.getVersion(version.backupId), { ...kept, ...rest })
      assert.deepEqual(await catalog.newestVersion(version), { ...kept, ...rest })
    })

    test("keeps what a legacy backup does not know as null", async () => {
      const version = aVersion({ mode: null, uid: null, gid: null, format: "legacy", trigger: "imported" })
      await change({ add: [version] })

      const found = await catalog.getVersion(version.backupId)
      assert.deepEqual([found?.mode, found?.uid, found?.gid], [null, null, null])
      assert.equal(JSON.parse((await catalog.versionJson(version.backupId)) ?? "").mode, null)
    })

    test("shows a version in the shape of the API, with its copies", async () => {
      const version = aVersion({ mode: 0o40, uid: 1000, gid: 1001 })
      await change({ add: [version] })

      const json = await catalog.versionJson(version.backupId)

      const { provisional: _, ...kept } = version
      const rest = { supersededAt: null, note: null, pinned: false, verifiedAt: null, state: "ok" }
      assert.deepEqual(JSON.parse(json ?? ""), { ...kept, ...rest, mode: "0040", copies: [] })
    })

    test("a version supersedes the newest of its config, and of no other", async () => {
      const [first, other, second] = [aVersion(), aVersion({ type: "env" }), aVersion()]
      await change({ add: [first] })
      await change({ add: [other] })
      await change({ add: [second] })

      assert.equal((await catalog.getVersion(first.backupId))?.supersededAt, second.validFrom)
      assert.equal((await catalog.getVersion(other.backupId))?.supersededAt, null)
      assert.equal((await catalog.newestVersion(first))?.backupId, second.backupId)
      assert.equal((await catalog.previousVersion(second.backupId))?.backupId, first.backupId)
      assert.equal(await catalog.previousVersion(first.backupId), null)
      assert.equal(await catalog.previousVersion(other.backupId), null)
    })

    test("a provisional version is nowhere, and supersedes nothing", async () => {
      const [shown, hidden] = [aVersion(), aVersion({ provisional: true })]
      await change({ add: [shown, hidden] })

      assert.equal(await catalog.getVersion(hidden.backupId), null)
      assert.equal(await catalog.versionJson(hidden.backupId), null)
      assert.equal(await catalog.previousVersion(hidden.backupId), null)
      assert.equal((await catalog.newestVersion(shown))?.backupId, shown.backupId)
      assert.equal((await catalog.newestVersion(shown))?.supersededAt, null)
      assert.deepEqual([...(await catalog.newestTimes("vm01"))], [["central", shown.validFrom]])
      assert.deepEqual(await listed(), [shown.backupId])
    })

    test("a version that is shown counts from then on", async () => {
      const [before, version] = [aVersion(), aVersion({ provisional: true })]
      await change({ add: [before, version] })

      await change({ show: [version.backupId] })

      assert.equal((await catalog.getVersion(before.backupId))?.supersededAt, version.validFrom)
      assert.equal((await catalog.newestVersion(before))?.backupId, version.backupId)
      assert.deepEqual(await listed(), [version.backupId, before.backupId])
    })

    test("a version is in the lists by when it was shown, not by when it was added", async () => {
      const [slow, quick] = [aVersion({ provisional: true }), aVersion({ vmId: "vm02" })]
      await change({ add: [slow] })
      await change({ add: [quick] })

      await change({ show: [slow.backupId] })

      assert.deepEqual(await listed(), [slow.backupId, quick.backupId])
    })

    test("adds, shows and removes in this order in one change", async () => {
      const [found, written] = [aVersion({ provisional: true }), aVersion({ provisional: true })]

      await change({ add: [found, written], show: [found.backupId, written.backupId], remove: [found.backupId] })

      assert.deepEqual(await listed(), [written.backupId])
    })

    test("showing what is shown already changes nothing", async () => {
      const version = aVersion({ provisional: true })
      await change({ add: [version], show: [version.backupId] })

      await change({ show: [version.backupId] })

      assert.deepEqual(await listed(), [version.backupId])
    })

    test("refuses to show what was never added", async () => {
      await assert.rejects(change({ show: ["nobody"] }))
    })

    test("refuses a version that is not later than the newest of its config", async () => {
      const newest = aVersion({ validFrom: at(100_000) })
      await change({ add: [newest] })

      await assert.rejects(change({ add: [aVersion({ validFrom: at(100_000) })] }), /not later/)

      assert.deepEqual(await listed(), [newest.backupId])
      assert.equal((await catalog.newestVersion(newest))?.supersededAt, null)
    })

    test("a version that is shown after later ones have come takes its place among them", async () => {
      const [before, slow] = [aVersion({ validFrom: at(1) }), aVersion({ validFrom: at(2), provisional: true })]
      const newest = aVersion({ validFrom: at(3) })
      await change({ add: [before, slow] })
      await change({ add: [newest] })

      await change({ show: [slow.backupId] })

      assert.equal((await catalog.newestVersion(newest))?.backupId, newest.backupId)
      const ends = [before, slow, newest].map(
        async ({ backupId }) => (await catalog.getVersion(backupId))?.supersededAt,
      )
      assert.deepEqual(await Promise.all(ends), [slow.validFrom, newest.validFrom, null])
    })

    for (const [first, second] of [
      [false, false],
      [false, true],
      [true, true],
    ]) {
      test(`refuses a second version of the same id (provisional: ${first}, ${second})`, async () => {
        const version = aVersion({ provisional: first })
        await change({ add: [version] })

        await assert.rejects(change({ add: [aVersion({ backupId: version.backupId, provisional: second })] }))
      })
    }

    test("refuses to show a version whose id another has taken meanwhile", async () => {
      const version = aVersion({ provisional: true })
      await change({ add: [version] })
      await change({ add: [aVersion({ backupId: version.backupId, vmId: "vm02" })] })

      await assert.rejects(change({ show: [version.backupId] }))
    })

    test("removes the versions named and no others", async () => {
      const [kept, hidden, gone] = [aVersion(), aVersion({ provisional: true }), aVersion({ type: "env" })]
      await change({ add: [kept, hidden, gone] })

      await change({ remove: [hidden.backupId, gone.backupId, "nobody"] })

      assert.deepEqual(await listed(), [kept.backupId])
      assert.equal(await catalog.getVersion(gone.backupId), null)
      await assert.rejects(change({ show: [hidden.backupId] }))
    })

    test("when a version is removed, the one before lasts until the one after", async () => {
      const [first, second, third] = [aVersion(), aVersion(), aVersion()]
      await change({ add: [first, second, third] })

      await change({ remove: [second.backupId] })
      assert.equal((await catalog.getVersion(first.backupId))?.supersededAt, third.validFrom)

      await change({ remove: [third.backupId] })
      assert.equal((await catalog.newestVersion(first))?.backupId, first.backupId)
      assert.equal((await catalog.getVersion(first.backupId))?.supersededAt, null)
    })

    test("notes what a verification found, and nothing for a version that is gone", async () => {
      const version = aVersion()
      await change({ add: [version] })

      await catalog.markVersion(version.backupId, { state: "damaged", verifiedAt: at(5) })
      await catalog.markVersion("nobody", { state: "missing", verifiedAt: null })

      const found = await catalog.getVersion(version.backupId)
      assert.deepEqual([found?.state, found?.verifiedAt], ["damaged", at(5)])
    })

    test("notes the key that a verification found, and the row goes on being relied on", async () => {
      const version = aVersion()
      await change({ add: [version] })

      await catalog.markVersion(version.backupId, { state: "ok", verifiedAt: at(5), keyId: "22".repeat(16) })

      const [row] = await catalog.versionsOf(version)
      assert.deepEqual([row?.keyId, row?.intact, row?.verifiedAt], ["22".repeat(16), true, at(5)])
    })

    test("knows when each config of a VM was last kept", async () => {
      const [old, env, central] = [aVersion(), aVersion({ type: "env" }), aVersion()]
      await change({ add: [old, env, central, aVersion({ vmId: "vm02", type: "other" })] })

      assert.deepEqual(
        await catalog.newestTimes("vm01"),
        new Map([
          ["central", central.validFrom],
          ["env", env.validFrom],
        ]),
      )
      assert.deepEqual(await catalog.newestTimes("vm03"), new Map())
    })

    test("finds nothing where nothing is", async () => {
      assert.equal(await catalog.newestVersion({ vmId: "vm01", type: "central" }), null)
      assert.equal(await catalog.getVersion("nobody"), null)
      assert.equal(await catalog.versionJson("nobody"), null)
      const { json, nextCursor } = await catalog.listVersions({}, page)
      assert.equal(json.toString(), '{"items":[],"nextCursor":null}')
      assert.equal(nextCursor, null)
    })
  })
}
