import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type Catalog, itemsOf } from "../../src/domain/catalog.ts"
import type { NewVersion } from "../../src/domain/version.ts"
import { anImport, anOperation, at, aVersion } from "../sqlite/records.ts"
import type { CatalogUnderTest } from "./catalog.ts"

const page = { limit: 500, cursor: null }
const ref = { vmId: "vm01", type: "central" }

/** What keeping versions for long needs of a Catalog. */
export function keepingContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  suite(`${name} as a Catalog: keeping versions`, () => {
    let given: CatalogUnderTest
    let catalog: Catalog
    const operation = anOperation()
    const add = async (...versions: readonly NewVersion[]) => {
      for (const version of versions) await catalog.changeOperation(operation.operationId, {}, { add: [version] })
    }
    const ids = async (filter = {}) => {
      const versions = itemsOf<{ backupId: string }>(await catalog.listVersions(filter, page))
      return versions.map(({ backupId }) => backupId)
    }
    const ends = async () => {
      const versions = await catalog.versionsOf(ref)
      return versions.map(({ backupId, supersededAt }) => [backupId, supersededAt])
    }

    beforeEach(async () => {
      given = await make()
      catalog = given.catalog
      await catalog.addOperation(operation, null)
    })
    afterEach(() => given.close())

    test("names the versions of changes that have not ended", async () => {
      const [shown, hidden] = [aVersion(), aVersion({ provisional: true })]
      await add(shown, hidden)
      assert.deepEqual(await catalog.provisionalVersions(), [hidden])

      await catalog.changeOperation(operation.operationId, {}, { show: [hidden.backupId] })
      assert.deepEqual(await catalog.provisionalVersions(), [])
    })

    suite("importing", () => {
      test("enters a version at its place in time, and its neighbours end and begin there", async () => {
        const [first, last] = [
          aVersion({ backupId: "first", validFrom: at(0) }),
          aVersion({ backupId: "last", validFrom: at(20) }),
        ]
        await add(first, last)

        await catalog.importVersions([anImport({ backupId: "middle", validFrom: at(10) })])

        assert.deepEqual(await ends(), [
          ["first", at(10)],
          ["middle", at(20)],
          ["last", null],
        ])
        assert.equal((await catalog.newestVersion(ref))?.backupId, "last")
      })

      test("gives back every member as it was imported", async () => {
        const version = anImport({ reason: "why", state: "damaged", verifiedAt: at(5), trigger: "imported" })
        await catalog.importVersions([version])

        const rest = { supersededAt: null, note: null, pinned: false }
        assert.deepEqual(await catalog.getVersion(version.backupId), { ...version, ...rest })
      })

      test("keeps as null what a locked blob does not tell", async () => {
        const version = anImport({ size: null, digest: null, keyId: null, format: "legacy", state: "locked" })
        await catalog.importVersions([version])

        const found = await catalog.getVersion(version.backupId)
        assert.deepEqual([found?.size, found?.digest, found?.keyId], [null, null, null])
        const { size, digest, keyId } = JSON.parse((await catalog.versionJson(version.backupId)) ?? "")
        assert.deepEqual([size, digest, keyId], [null, null, null])
      })

      test("puts a version over the row of the same id, whose pin and note stay", async () => {
        const version = aVersion()
        await add(version)
        await catalog.annotateVersion(version.backupId, { pinned: true, note: "keep" })

        await catalog.importVersions([anImport({ backupId: version.backupId, digest: "a".repeat(64) })])

        const found = await catalog.getVersion(version.backupId)
        assert.deepEqual([found?.digest, found?.pinned, found?.note], ["a".repeat(64), true, "keep"])
        assert.equal((await ids()).length, 1)
      })

      test("lets two versions of one time follow each other", async () => {
        await catalog.importVersions([
          anImport({ backupId: "a", validFrom: at(1) }),
          anImport({ backupId: "b", validFrom: at(1) }),
        ])

        const later = new Date(Date.parse(at(1)) + 1).toISOString()
        assert.deepEqual(await ends(), [
          ["a", later],
          ["b", null],
        ])
      })

      test("puts lists in order of time once it is told to", async () => {
        await add(
          aVersion({ backupId: "new", validFrom: at(50) }),
          aVersion({ backupId: "other", vmId: "vm02", validFrom: at(20) }),
        )
        await catalog.importVersions([anImport({ backupId: "old", validFrom: at(10) })])
        await catalog.importVersions([anImport({ backupId: "older", vmId: "vm02", validFrom: at(5) })])

        await catalog.orderVersions()

        assert.deepEqual(await ids(), ["new", "other", "old", "older"])
        assert.deepEqual(await ids({ vmId: "vm02" }), ["other", "older"])
        await add(aVersion({ backupId: "newest", vmId: "vm03", validFrom: at(51) }))
        assert.deepEqual(await ids(), ["newest", "new", "other", "old", "older"])
      })

      test("moves nothing that is earlier than what was out of order: a page of it goes on where it was", async () => {
        const given = ["gone", "a", "b", "c", "e"].map((backupId, n) => anImport({ backupId, validFrom: at(10 * n) }))
        await catalog.importVersions(given)
        await catalog.removeVersions(["gone"])
        await catalog.importVersions([anImport({ backupId: "d", validFrom: at(35) })])
        const { nextCursor: cursor } = await catalog.listVersions({}, { limit: 3, cursor: null })

        await catalog.orderVersions()

        const rest = itemsOf<{ backupId: string }>(await catalog.listVersions({}, { limit: 9, cursor }))
        assert.deepEqual(
          [await ids(), rest.map(({ backupId }) => backupId)],
          [
            ["e", "d", "c", "b", "a"],
            ["b", "a"],
          ],
        )
      })

      test("finds nothing to put right where nothing was wrong", async () => {
        await add(aVersion(), aVersion())

        assert.equal(await catalog.orderVersions(), 0)
      })
    })

    suite("looking at what there is", () => {
      test("names every config that has versions, once", async () => {
        await add(aVersion(), aVersion(), aVersion({ type: "env" }), aVersion({ vmId: "vm02" }))

        assert.deepEqual(await catalog.versionedConfigs(), [
          ref,
          { vmId: "vm01", type: "env" },
          { vmId: "vm02", type: "central" },
        ])
      })

      test("names no config where there are no versions", async () => {
        assert.deepEqual(await catalog.versionedConfigs(), [])
      })

      test("tells rows as they were entered to be intact, in order of time, and of one config", async () => {
        await add(
          aVersion({ backupId: "a" }),
          aVersion({ type: "env" }),
          aVersion({ backupId: "b", reason: "ä\u0000" }),
        )
        await catalog.annotateVersion("a", { pinned: true, note: "x" })
        await catalog.markVersion("a", { state: "damaged", verifiedAt: at(1) })

        const rows = await catalog.versionsOf(ref)
        assert.deepEqual(
          rows.map(({ backupId, intact }) => [backupId, intact]),
          [
            ["a", true],
            ["b", true],
          ],
        )
      })

      test("does not show provisional versions", async () => {
        await add(aVersion({ provisional: true }))

        assert.deepEqual(await catalog.versionedConfigs(), [])
        assert.deepEqual(await catalog.versionsOf(ref), [])
      })

      test("counts versions, bytes and those that are not well, whatever comes and goes", async () => {
        await add(aVersion({ backupId: "a", size: 10 }), aVersion({ backupId: "b", size: 5 }))
        await catalog.importVersions([
          anImport({ backupId: "c", size: null, state: "locked" }),
          anImport({ backupId: "a", size: 7, state: "missing" }),
          anImport({ backupId: "d", size: 1, state: "damaged" }),
        ])
        await catalog.removeVersions(["b", "never-there"])

        assert.deepEqual(await catalog.totals(), { versions: 3, bytes: 8, damaged: 1, missing: 1, locked: 1 })
      })

      test("counts nothing of a write that failed", async () => {
        await assert.rejects(catalog.changeOperation("unknown", {}, { add: [aVersion()] }), {
          code: "operation_not_found",
        })

        assert.deepEqual(await catalog.totals(), { versions: 0, bytes: 0, damaged: 0, missing: 0, locked: 0 })
      })
    })

    suite("pins and notes", () => {
      test("changes what is named and leaves the other", async () => {
        await add(aVersion({ backupId: "a" }))

        await catalog.annotateVersion("a", { note: "first" })
        await catalog.annotateVersion("a", { pinned: true })
        assert.deepEqual(await catalog.annotatedVersions(), [{ backupId: "a", pinned: true, note: "first" }])

        await catalog.annotateVersion("a", { note: null })
        assert.deepEqual(await catalog.annotatedVersions(), [{ backupId: "a", pinned: true, note: null }])

        await catalog.annotateVersion("a", { pinned: false })
        assert.deepEqual(await catalog.annotatedVersions(), [])
      })

      test("does not annotate a version that is not there", async () => {
        await assert.rejects(catalog.annotateVersion("never", { pinned: true }), { code: "backup_not_found" })
      })

      test("lists pinned versions by themselves", async () => {
        await add(aVersion({ backupId: "a" }), aVersion({ backupId: "b" }))
        await catalog.annotateVersion("a", { pinned: true })

        assert.deepEqual(await ids({ pinned: true }), ["a"])
        assert.deepEqual(await ids({ pinned: false }), ["b"])
      })
    })

    suite("what may go", () => {
      const expired = async (cutoff: string, limit = 100) => {
        const { versions, total } = await catalog.expiredVersions(cutoff, limit)
        return { ids: versions.map(({ backupId }) => backupId), total }
      }

      test("is counted only where that is asked for", async () => {
        await add(...[1, 2, 3].map((n) => aVersion({ backupId: `v${n}`, validFrom: at(n) })))

        const { versions, total } = await catalog.expiredVersions(at(99), 1, "uncounted")

        assert.deepEqual([versions.map(({ backupId }) => backupId), total], [["v1"], 1])
      })

      test("is what was superseded by then, oldest first, and never the newest", async () => {
        await add(
          aVersion({ backupId: "a", validFrom: at(1) }),
          aVersion({ backupId: "b", validFrom: at(2) }),
          aVersion({ backupId: "c", validFrom: at(3) }),
        )

        assert.deepEqual(await expired(at(1)), { ids: [], total: 0 })
        assert.deepEqual(await expired(at(2)), { ids: ["a"], total: 1 })
        assert.deepEqual(await expired(at(99)), { ids: ["a", "b"], total: 2 })
        assert.deepEqual(await expired(at(99), 1), { ids: ["a"], total: 2 })
      })

      test("is no pinned one", async () => {
        await add(aVersion({ backupId: "a", validFrom: at(1) }), aVersion({ backupId: "b", validFrom: at(2) }))
        await catalog.annotateVersion("a", { pinned: true })

        assert.deepEqual(await expired(at(99)), { ids: [], total: 0 })
      })

      test("is the newest of a config that had left by then, unless it came back or is pinned", async () => {
        const gone = { vmId: "vm02", type: "central" }
        await add(aVersion({ backupId: "kept" }), aVersion({ backupId: "left", validFrom: at(1), ...gone }))

        await catalog.noteDepartures([{ ...gone, leftAt: at(100) }])
        await catalog.noteDepartures([{ ...gone, leftAt: at(200) }])
        assert.deepEqual(await catalog.departures(), [{ ...gone, leftAt: at(100) }])
        assert.deepEqual(await expired(at(99)), { ids: [], total: 0 })
        assert.deepEqual(await expired(at(100)), { ids: ["left"], total: 1 })

        await catalog.annotateVersion("left", { pinned: true })
        assert.deepEqual(await expired(at(100)), { ids: [], total: 0 })
        await catalog.annotateVersion("left", { pinned: false })
        await catalog.noteDepartures([{ ...gone, leftAt: null }])
        assert.deepEqual(await expired(at(100)), { ids: [], total: 0 })
        assert.deepEqual(await catalog.departures(), [])
      })

      test("is no version that is newer than the day on which its config left", async () => {
        await add(aVersion({ backupId: "later", validFrom: at(50) }))
        await catalog.noteDepartures([{ ...ref, leftAt: at(10) }])

        assert.deepEqual(await expired(at(49)), { ids: [], total: 0 })
        assert.deepEqual(await expired(at(50)), { ids: ["later"], total: 1 })
      })

      test("leaves what came before lasting until what comes after", async () => {
        await add(
          aVersion({ backupId: "a", validFrom: at(1) }),
          aVersion({ backupId: "b", validFrom: at(2) }),
          aVersion({ backupId: "c", validFrom: at(3) }),
        )

        await catalog.removeVersions(["b"])

        assert.deepEqual(await ends(), [
          ["a", at(3)],
          ["c", null],
        ])
      })
    })

    suite("facts", () => {
      test("are known by name, the last word counts, and what was never said is null", async () => {
        assert.equal(await catalog.fact("clock"), null)
        await catalog.setFact("clock", "1")
        await catalog.setFact("clock", "2")
        assert.equal(await catalog.fact("clock"), "2")
      })
    })
  })
}
