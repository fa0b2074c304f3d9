import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { Catalog } from "../../src/domain/catalog.ts"
import { aJournal, anOperation, at, aVersion } from "../sqlite/records.ts"
import type { CatalogUnderTest } from "./catalog.ts"

export function operationContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  suite(`${name} as a Catalog: operations`, () => {
    let given: CatalogUnderTest
    let catalog: Catalog
    beforeEach(async () => {
      given = await make()
      catalog = given.catalog
    })
    afterEach(() => given.close())

    test("gives an operation back as it was entered", async () => {
      const operation = anOperation({
        state: "failed",
        fileState: "rolled_back",
        finishedAt: at(9),
        reason: "\u{1F600} 'quoted' \"twice\"",
        stages: [{ name: "read", ms: 1.5 }],
        problem: { code: "write_failed", status: 502, detail: "It failed." },
      })
      await catalog.addOperation(operation, null)

      assert.deepEqual(await catalog.getOperation(operation.operationId), operation)
    })

    test("does not find an operation that was never entered", async () => {
      assert.equal(await catalog.getOperation("nobody"), null)
    })

    test("refuses a second operation of the same id", async () => {
      const operation = anOperation()
      await catalog.addOperation(operation, null)

      await assert.rejects(catalog.addOperation(operation, null))
    })

    test("changes what is named and leaves the rest", async () => {
      const operation = anOperation({ reason: "why", backupId: "b" })
      await catalog.addOperation(operation, aJournal())
      const problem = { code: "vm_timeout", status: 504, detail: "Too slow." } as const
      const change = { state: "failed", fileState: "unchanged", stages: [{ name: "stage", ms: 2 }], problem } as const

      await catalog.changeOperation(operation.operationId, { ...change, backupId: null, digest: undefined })

      assert.deepEqual(await catalog.getOperation(operation.operationId), { ...operation, ...change, backupId: null })
    })

    test("refuses to change an operation that is not there, and its versions with it", async () => {
      const version = aVersion()

      await assert.rejects(catalog.changeOperation("nobody", {}), { code: "operation_not_found" })
      await assert.rejects(catalog.changeOperation("nobody", { state: "failed" }, { add: [version] }), {
        code: "operation_not_found",
      })

      assert.equal(await catalog.getVersion(version.backupId), null)
    })

    test("changes nothing of an operation whose versions cannot be changed", async () => {
      const operation = anOperation()
      await catalog.addOperation(operation, aJournal())
      const version = aVersion()

      await assert.rejects(
        catalog.changeOperation(operation.operationId, { phase: "kept" }, { add: [version], show: ["nobody"] }),
      )

      assert.equal((await catalog.openOperations())[0]?.journal.phase, "prepared")
      assert.equal(await catalog.getVersion(version.backupId), null)
    })

    test("one change that fails does not fail those that share its turn", async () => {
      const [first, last] = [anOperation(), anOperation()]

      const results = await Promise.allSettled([
        catalog.addOperation(first, null),
        catalog.changeOperation("nobody", { state: "failed" }),
        catalog.addOperation(first, null),
        catalog.addOperation(last, null),
      ])

      assert.deepEqual(
        results.map(({ status }) => status),
        ["fulfilled", "rejected", "rejected", "fulfilled"],
      )
      assert.notEqual(await catalog.getOperation(first.operationId), null)
      assert.notEqual(await catalog.getOperation(last.operationId), null)
    })

    test("knows the operations that have not ended, oldest first, with their journals", async () => {
      const [first, second, ended, finished] = [anOperation(), anOperation(), anOperation(), anOperation()]
      const journal = aJournal({
        uid: 0,
        gid: 5,
        madeFoundId: "f",
        madeWrittenId: "w",
        become: true,
        keepVersions: false,
      })
      await catalog.addOperation(second, journal)
      await catalog.addOperation(first, aJournal())
      await catalog.addOperation(ended, aJournal())
      await catalog.addOperation(finished, null)
      await catalog.changeOperation(second.operationId, { phase: "swapping" })
      await catalog.changeOperation(ended.operationId, { phase: "done", state: "succeeded" })

      assert.deepEqual(await catalog.openOperations(), [
        { operation: second, journal: { ...journal, phase: "swapping" } },
        { operation: first, journal: aJournal() },
      ])
    })

    test("refuses a phase for an operation that had ended when it was entered", async () => {
      const operation = anOperation({ state: "unchanged" })
      await catalog.addOperation(operation, null)

      await assert.rejects(catalog.changeOperation(operation.operationId, { phase: "kept" }))

      assert.deepEqual(await catalog.openOperations(), [])
    })

    test("is healthy, and takes no more writes once it is closed", async () => {
      assert.equal((await catalog.health()).ok, true)
      catalog.close()

      await assert.rejects(catalog.addOperation(anOperation(), null))
    })
  })
}
