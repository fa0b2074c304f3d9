import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { Catalog } from "../../src/domain/catalog.ts"
import type { CopyCatalog, DueCopy } from "../../src/domain/copies.ts"
import type { NewVersion } from "../../src/domain/version.ts"
import { anImport, anOperation, aVersion } from "../sqlite/records.ts"
import type { CatalogUnderTest } from "./catalog.ts"

const target = "sftp://copies@far:22/backups"
/** Triggers go by the real clock. */
const now = () => new Date().toISOString()
const soon = () => new Date(Date.now() + 60_000).toISOString()

/** What the catalog keeps of copies off this host. */
export function copyContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  suite(`${name} as a Catalog: copies`, () => {
    let given: CatalogUnderTest
    let catalog: Catalog & CopyCatalog
    const operation = anOperation()
    const add = (...versions: readonly NewVersion[]) =>
      catalog.changeOperation(operation.operationId, {}, { add: versions })
    const due = async () =>
      (await catalog.dueCopies(soon(), 100)).map(({ work, backupId }) => `${work} ${backupId}`).sort()
    const copy = async (backupId: string) =>
      catalog.noteCopy({ backupId, work: "queued" }, { kind: "copied", at: now() })

    beforeEach(async () => {
      given = await make()
      catalog = given.catalog
      await catalog.addOperation(operation, null)
    })
    afterEach(() => given.close())

    test("queues nothing while there is no place for copies", async () => {
      await add(aVersion({ backupId: "a" }))
      await catalog.removeVersions(["a"])

      assert.deepEqual(await due(), [])
      assert.equal(await catalog.nextCopyAt(), null)
      assert.deepEqual(await catalog.copyLag(), { waiting: 0, since: null, problem: null })
    })

    test("queues what is there when a place is named, and what comes afterwards", async () => {
      await add(aVersion({ backupId: "a" }))
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "b", vmId: "vm02", provisional: true }), aVersion({ backupId: "c" }))
      await catalog.importVersions([anImport({ backupId: "d", format: "legacy" })])

      assert.deepEqual(await due(), ["queued a", "queued c", "queued d"])
      await catalog.changeOperation(operation.operationId, {}, { show: ["b"] })
      assert.deepEqual(await due(), ["queued a", "queued b", "queued c", "queued d"])
    })

    test("takes nothing away there for a version that is only forgotten", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }), aVersion({ backupId: "b" }))
      await copy("a")

      await catalog.forgetVersions(["a", "b", "never there"])

      assert.deepEqual([await catalog.getVersion("a"), await catalog.getVersion("b")], [null, null])
      assert.deepEqual(await due(), [])
    })

    test("tells of one kind of work alone where it is asked for", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }), aVersion({ backupId: "b" }))
      await copy("a")
      await catalog.removeVersions(["a"])

      const named = async (work: DueCopy["work"]) =>
        (await catalog.dueCopies(soon(), 100, work)).map(({ backupId }) => backupId)
      assert.deepEqual([await named("removing"), await named("queued")], [["a"], ["b"]])
    })

    test("tells of a copy that is to be taken away until it was", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }), aVersion({ backupId: "b" }))
      await copy("a")
      assert.equal(await catalog.isLeaving("a"), false)
      await catalog.removeVersions(["a"])
      await catalog.forgetVersions(["b"])
      assert.deepEqual([await catalog.isLeaving("a"), await catalog.isLeaving("b")], [true, false])

      await catalog.noteCopy({ backupId: "a", work: "removing" }, { kind: "removed" })

      assert.equal(await catalog.isLeaving("a"), false)
    })

    test("tells what is needed to find the file", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a", vmId: "vm07", type: "env" }))

      const [found] = await catalog.dueCopies(soon(), 1)
      const nextAt = (await catalog.nextCopyAt()) ?? ""
      const expected: DueCopy = {
        ...{ backupId: "a", vmId: "vm07", type: "env", format: "cmb1" },
        ...{ work: "queued", attempts: 0, nextAt },
      }
      assert.deepEqual(found, expected)
    })

    test("has nothing to do for what was copied, and the version tells of it", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      assert.equal(await catalog.isCopied("a"), false)

      const at = now()
      await catalog.noteCopy({ backupId: "a", work: "queued" }, { kind: "copied", at })

      assert.deepEqual(await due(), [])
      assert.equal(await catalog.isCopied("a"), true)
      const { copies } = JSON.parse((await catalog.versionJson("a")) ?? "")
      assert.deepEqual(copies, [{ target, state: "copied", since: at, attempts: 0, problem: null }])
    })

    test("tries again what failed, not before its time, and says why it failed", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      const nextAt = new Date(Date.now() + 1_200_000).toISOString()

      await catalog.noteCopy({ backupId: "a", work: "queued" }, { kind: "failed", problem: "It is away.", nextAt })

      assert.deepEqual(await due(), [])
      assert.equal(await catalog.nextCopyAt(), nextAt)
      assert.deepEqual((await catalog.dueCopies(nextAt, 1))[0]?.attempts, 1)
      const lag = await catalog.copyLag()
      assert.deepEqual([lag.waiting, lag.problem], [1, "It is away."])
      assert.ok(lag.since !== null && lag.since <= now())
    })

    test("takes a copy away once its version has gone, whether or not it was made", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      await add(aVersion({ backupId: "b" }))
      await copy("a")
      await catalog.removeVersions(["a", "b"])
      assert.deepEqual(await due(), ["removing a", "removing b"])

      await catalog.noteCopy({ backupId: "a", work: "removing" }, { kind: "removed" })

      assert.deepEqual(await due(), ["removing b"])
    })

    test("does not take a copy for made that is to be taken away by now", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      await catalog.removeVersions(["a"])

      await copy("a")

      assert.deepEqual(await due(), ["removing a"])
    })

    test("copies anew what was entered anew, and what it is told to", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      await add(aVersion({ backupId: "b" }))
      await copy("a")
      await copy("b")

      await catalog.importVersions([anImport({ backupId: "a" })])
      await catalog.queueCopy("b", now())

      assert.deepEqual(await due(), ["queued a", "queued b"])
    })

    test("copies what is to be copied anew while a copy is under way once more, and counts its waiting from before", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      const { since } = await catalog.copyLag()
      const [work] = await catalog.dueCopies(soon(), 1)
      assert.ok(work)
      await catalog.queueCopy("a", new Date(Date.now() + 1000).toISOString())
      await catalog.noteCopy(work, { kind: "copied", at: now() })
      assert.deepEqual(await due(), ["queued a"])
      assert.equal((await catalog.copyLag()).since, since)

      const [again] = await catalog.dueCopies(soon(), 1)
      assert.ok(again)
      await catalog.noteCopy(again, { kind: "copied", at: now() })

      assert.deepEqual(await due(), [])
    })

    test("leaves the copy of a row that is forgotten, also where it was to be made anew", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "copied" }))
      await add(aVersion({ backupId: "queued" }))
      await copy("copied")

      await catalog.forgetVersions(["copied", "queued"])

      assert.deepEqual(await due(), [])
      assert.equal((await catalog.copyLag()).waiting, 0)
    })

    test("tries again at once what was to wait for years, for the clock was wrong", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      const nextAt = new Date(Date.now() + 10 * 365 * 24 * 3_600_000).toISOString()
      await catalog.noteCopy({ backupId: "a", work: "queued" }, { kind: "failed", problem: "It is away.", nextAt })

      assert.deepEqual(await due(), ["queued a"])
    })

    test("copies everything anew to another place, and nothing to the same", async () => {
      await catalog.setCopyTarget(target, now())
      await add(aVersion({ backupId: "a" }))
      await copy("a")

      await catalog.setCopyTarget(target, now())
      assert.deepEqual(await due(), [])
      await catalog.setCopyTarget("/mnt/other", now())
      assert.deepEqual(await due(), ["queued a"])
      await catalog.setCopyTarget(null, now())
      assert.deepEqual(await due(), [])
      assert.deepEqual(JSON.parse((await catalog.versionJson("a")) ?? "").copies, [])
    })

    test("copies everything anew to the same place when it is told to, and still takes away what has gone", async () => {
      await catalog.setCopyTarget(target, now())
      for (const backupId of ["a", "b", "gone"]) await add(aVersion({ backupId }))
      await copy("a")
      await copy("gone")
      await catalog.removeVersions(["gone"])

      await catalog.queueCopies(now())

      assert.deepEqual(await due(), ["queued a", "queued b", "removing gone"])
    })

    test("takes away what goes while everything is copied anew", async () => {
      await catalog.setCopyTarget(target, now())
      for (const backupId of ["a", "b"]) await add(aVersion({ backupId }))
      await copy("a")

      await Promise.all([catalog.queueCopies(now()), catalog.removeVersions(["a"])])

      assert.deepEqual(await due(), ["queued b", "removing a"])
    })

    test("gives the newest version that is copied, and well, of our own", async () => {
      await catalog.setCopyTarget(target, now())
      assert.equal(await catalog.newestCopied(), null)
      const made = { a: {}, b: {}, legacy: { format: "legacy" }, lost: { state: "missing" }, queued: {} } as const
      await catalog.importVersions(Object.entries(made).map(([backupId, over]) => anImport({ backupId, ...over })))
      for (const backupId of ["b", "a", "legacy", "lost"]) await copy(backupId)

      const { vmId, type } = anImport({ backupId: "b" })
      assert.deepEqual(await catalog.newestCopied(), { backupId: "b", vmId, type, format: "cmb1" })
    })

    test("gives the versions that were looked at longest ago first", async () => {
      await add(aVersion({ backupId: "a" }))
      await add(aVersion({ backupId: "b" }))
      await add(aVersion({ backupId: "c" }))
      await catalog.markVersion("a", { state: "ok", verifiedAt: now() })

      assert.deepEqual(
        (await catalog.oldestVerified(soon(), 2)).map(({ backupId }) => backupId),
        ["b", "c"],
      )
    })

    test("gives those first that were looked at in the future, for the clock was wrong", async () => {
      await add(aVersion({ backupId: "a" }))
      await add(aVersion({ backupId: "b" }))
      await catalog.markVersion("b", { state: "ok", verifiedAt: new Date(Date.now() + 3_600_000).toISOString() })

      const found = async (limit: number) =>
        (await catalog.oldestVerified(now(), limit)).map(({ backupId }) => backupId)
      assert.deepEqual(await found(1), ["b"])
      assert.deepEqual(await found(5), ["b", "a"])
    })

    test("gives those apart that cannot be had, and locked ones not at all", async () => {
      await catalog.importVersions([
        anImport({ backupId: "ok" }),
        anImport({ backupId: "damaged", state: "damaged" }),
        anImport({ backupId: "missing", state: "missing" }),
        anImport({ backupId: "locked", state: "locked" }),
      ])

      const lost = (await catalog.lostVersions(10)).map(({ backupId }) => backupId)
      assert.deepEqual(lost.sort(), ["damaged", "missing"])
      assert.equal((await catalog.lostVersions(1)).length, 1)
      assert.deepEqual(
        (await catalog.oldestVerified(soon(), 10)).map(({ backupId }) => backupId),
        ["ok"],
      )
    })

    test("gives locked ones apart, but for those of the original service, in no order", async () => {
      await catalog.importVersions([
        anImport({ backupId: "ok" }),
        anImport({ backupId: "damaged", state: "damaged" }),
        anImport({ backupId: "legacy", state: "locked", format: "legacy" }),
        anImport({ backupId: "one", state: "locked" }),
        anImport({ backupId: "two", state: "locked" }),
      ])

      const locked = async (limit: number) => (await catalog.lockedVersions(limit)).map(({ backupId }) => backupId)
      assert.deepEqual((await locked(10)).sort(), ["one", "two"])
      const first = new Set<string>()
      for (let n = 0; n < 100; n += 1) first.add((await locked(10))[0] ?? "")
      assert.equal(first.size, 2)
    })
  })
}
