import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import {
  type Catalog,
  itemsOf,
  type JsonPage,
  type OperationFilter,
  type VersionFilter,
} from "../../src/domain/catalog.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { NewVersion } from "../../src/domain/version.ts"
import { anOperation, aVersion } from "../sqlite/records.ts"
import type { CatalogUnderTest } from "./catalog.ts"

type Id = "backupId" | "operationId"
type List = (cursor: string | null, limit: number) => Promise<JsonPage>

function idsIn(page: JsonPage, id: Id): readonly string[] {
  return itemsOf<Record<Id, string>>(page).map((item) => item[id])
}

/** Walks all pages. `between` runs after each. */
async function walk(list: List, id: Id, limit: number, between: () => Promise<void> = async () => undefined) {
  const ids: string[] = []
  let cursor: string | null = null
  do {
    const page: JsonPage = await list(cursor, limit)
    ids.push(...idsIn(page, id))
    cursor = page.nextCursor
    await between()
  } while (cursor !== null)
  return ids
}

export function listContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  suite(`${name} as a Catalog: lists`, () => {
    let given: CatalogUnderTest
    let catalog: Catalog
    /** 3 VMs, 2 types, newest last. */
    let operations: Operation[]
    let versions: NewVersion[]
    const listVersions =
      (filter: VersionFilter): List =>
      (cursor, limit) =>
        catalog.listVersions(filter, { cursor, limit })
    const listOperations =
      (filter: OperationFilter): List =>
      (cursor, limit) =>
        catalog.listOperations(filter, { cursor, limit })

    beforeEach(async () => {
      given = await make()
      catalog = given.catalog
      const refs = Array.from({ length: 24 }, (_, i) => ({
        vmId: `vm0${i % 3}`,
        type: i % 2 === 0 ? "central" : "env",
      }))
      operations = refs.map((ref, i) =>
        anOperation({ ...ref, kind: i % 4 === 0 ? "backup" : "write", state: i % 5 === 0 ? "failed" : "succeeded" }),
      )
      versions = refs.map((ref, i) => aVersion({ ...ref, trigger: i % 4 === 0 ? "manual" : "found" }))
      await Promise.all(operations.map((operation) => catalog.addOperation(operation, null)))
      await catalog.changeOperation(operations[0]?.operationId ?? "", {}, { add: versions })
    })
    afterEach(() => given.close())

    /** Newest first, of those that `keep` keeps. */
    const expected = <T>(all: readonly T[], id: (item: T) => string, keep: (item: T) => boolean) =>
      all.filter(keep).map(id).reverse()

    test("shows an operation in the shape of the API", async () => {
      const operation = anOperation({
        vmId: "vm09",
        stages: [{ name: "read", ms: 3 }],
        problem: { code: "vm_timeout", status: 504, detail: "Slow." },
      })
      await catalog.addOperation(operation, null)

      const { json } = await catalog.listOperations({ vmId: "vm09" }, { limit: 1, cursor: null })

      assert.deepEqual(JSON.parse(json.toString()), { items: [operation], nextCursor: null })
    })

    test("shows a version in a list as by itself, without copies", async () => {
      const { json, nextCursor } = await catalog.listVersions({}, { limit: 1, cursor: null })

      const alone = JSON.parse((await catalog.versionJson(versions.at(-1)?.backupId ?? "")) ?? "")
      const { copies, ...rest } = alone
      assert.deepEqual(copies, [])
      assert.notEqual(nextCursor, null)
      assert.deepEqual(JSON.parse(json.toString()), { items: [rest], nextCursor })
    })

    for (const limit of [1, 5, 23, 24, 25, 500]) {
      test(`gives every row once, newest first, in pages of ${limit}`, async () => {
        const [newestVersions, newestOperations] = [
          expected(
            versions,
            (version) => version.backupId,
            () => true,
          ),
          expected(
            operations,
            (operation) => operation.operationId,
            () => true,
          ),
        ]

        assert.deepEqual(await walk(listVersions({}), "backupId", limit), newestVersions)
        assert.deepEqual(await walk(listOperations({}), "operationId", limit), newestOperations)
      })
    }

    test("says on the last page that it is the last, also when it is full", async () => {
      assert.equal((await catalog.listVersions({}, { limit: 24, cursor: null })).nextCursor, null)
      assert.notEqual((await catalog.listVersions({}, { limit: 23, cursor: null })).nextCursor, null)
    })

    test("gives no version twice and leaves none out while new ones are made and shown", async () => {
      const walked = await walk(listVersions({}), "backupId", 5, async () => {
        const version = aVersion({ vmId: "vm01", provisional: true })
        const operationId = operations[0]?.operationId ?? ""
        await catalog.changeOperation(operationId, {}, { add: [version] })
        await catalog.changeOperation(operationId, {}, { show: [version.backupId] })
      })

      assert.deepEqual(
        walked,
        expected(
          versions,
          (version) => version.backupId,
          () => true,
        ),
      )
    })

    const middle = () => versions[12]?.validFrom ?? ""
    const versionFilters: readonly (() => VersionFilter)[] = [
      () => ({ vmId: "vm01" }),
      () => ({ type: "env" }),
      () => ({ trigger: "manual" }),
      () => ({ vmId: "vm01", type: "env" }),
      () => ({ vmId: "vm01", trigger: "manual" }),
      () => ({ type: "central", trigger: "manual" }),
      () => ({ since: middle() }),
      () => ({ until: middle() }),
      () => ({ since: versions[6]?.validFrom ?? "", until: middle() }),
      () => ({ vmId: "vm01", since: middle() }),
      () => ({ vmId: "vm01", type: "env", until: middle() }),
      () => ({ type: "env", since: middle() }),
      () => ({ pinned: true }),
      () => ({ pinned: false }),
      () => ({ vmId: "vm09" }),
    ]
    for (const [index, filter] of versionFilters.entries()) {
      test(`filters versions (${index + 1})`, async () => {
        const { vmId, type, trigger, since, until, pinned } = filter()
        const keep = (version: NewVersion) =>
          (vmId ?? version.vmId) === version.vmId &&
          (type ?? version.type) === version.type &&
          (trigger ?? version.trigger) === version.trigger &&
          (since ?? "") <= version.validFrom &&
          version.validFrom < (until ?? "~") &&
          pinned !== true

        assert.deepEqual(
          await walk(listVersions(filter()), "backupId", 2),
          expected(versions, (version) => version.backupId, keep),
        )
      })
    }

    test("filters versions by the state they were last found in", async () => {
      const states = ["ok", "damaged", "missing", "locked"] as const
      const stateOf = (index: number) => states[index % 5] ?? "ok"
      for (const [index, { backupId }] of versions.entries()) {
        await catalog.markVersion(backupId, { state: stateOf(index), verifiedAt: null })
      }
      for (const state of states) {
        const all = expected(
          versions.filter((_, index) => stateOf(index) === state),
          ({ backupId }) => backupId,
          () => true,
        )
        const ofOne = all.filter((id) => versions.some(({ backupId, vmId }) => backupId === id && vmId === "vm01"))
        assert.ok(ofOne.length > 0 && ofOne.length < all.length)
        assert.deepEqual(await walk(listVersions({ state }), "backupId", 2), all)
        assert.deepEqual(await walk(listVersions({ state, vmId: "vm01" }), "backupId", 2), ofOne)
      }
    })

    test("finds the version that stood at a time", async () => {
      const own = versions.filter(({ vmId, type }) => vmId === "vm00" && type === "central")
      const [first, second] = own
      const find = async (at: string) =>
        idsIn(await catalog.listVersions({ vmId: "vm00", type: "central", at }, { limit: 5, cursor: null }), "backupId")

      assert.deepEqual(await find(first?.validFrom ?? ""), [first?.backupId])
      assert.deepEqual(await find(second?.validFrom ?? ""), [second?.backupId])
      assert.deepEqual(await find("2099-01-01T00:00:00.000Z"), [own.at(-1)?.backupId])
      assert.deepEqual(await find("2000-01-01T00:00:00.000Z"), [])
    })

    const operationFilters: readonly (() => OperationFilter)[] = [
      () => ({ vmId: "vm01" }),
      () => ({ type: "env" }),
      () => ({ kind: "backup" }),
      () => ({ state: "failed" }),
      () => ({ vmId: "vm01", type: "env" }),
      () => ({ vmId: "vm01", state: "failed" }),
      () => ({ kind: "backup", state: "failed" }),
      () => ({ since: operations[12]?.startedAt ?? "" }),
      () => ({ vmId: "vm01", since: operations[12]?.startedAt ?? "" }),
      () => ({ state: "failed", since: operations[12]?.startedAt ?? "" }),
      () => ({ vmId: "vm09" }),
    ]
    for (const [index, filter] of operationFilters.entries()) {
      test(`filters operations (${index + 1})`, async () => {
        const { vmId, type, kind, state, since } = filter()
        const keep = (operation: Operation) =>
          (vmId ?? operation.vmId) === operation.vmId &&
          (type ?? operation.type) === operation.type &&
          (kind ?? operation.kind) === operation.kind &&
          (state ?? operation.state) === operation.state &&
          (since ?? "") <= operation.startedAt

        assert.deepEqual(
          await walk(listOperations(filter()), "operationId", 2),
          expected(operations, (operation) => operation.operationId, keep),
        )
      })
    }

    for (const cursor of [
      "",
      "x",
      "AAAA",
      "!!",
      "7",
      "bnVsbA==",
      Buffer.from("versions seq -1  ").toString("base64url"),
    ]) {
      test(`refuses the cursor ${JSON.stringify(cursor)}`, async () => {
        await assert.rejects(catalog.listVersions({}, { limit: 1, cursor }), { code: "invalid_parameter" })
        await assert.rejects(catalog.listOperations({}, { limit: 1, cursor }), { code: "invalid_parameter" })
      })
    }

    test("refuses a cursor whose row moved since: what follows it is not what followed it", async () => {
      const page = (filter: VersionFilter, cursor: string | null) => catalog.listVersions(filter, { limit: 3, cursor })
      const { nextCursor: cursor } = await page({}, null)
      const { nextCursor: ofOne } = await page({ vmId: "vm01", type: "env" }, null)
      const { nextCursor: ofOperations } = await catalog.listOperations({}, { limit: 3, cursor: null })
      const followed = idsIn(await page({}, cursor), "backupId")
      const [oldest, second] = versions
      assert.ok(oldest && second)

      await catalog.importVersions([{ ...second, verifiedAt: null, state: "ok" }])
      await catalog.orderVersions()
      assert.deepEqual(idsIn(await page({}, cursor), "backupId"), followed)

      await catalog.removeVersions([oldest.backupId])
      await catalog.importVersions([{ ...oldest, verifiedAt: null, state: "ok" }])
      await catalog.orderVersions()
      await assert.rejects(page({}, cursor), { code: "invalid_parameter", message: /begin at its first page/ })
      await page({ vmId: "vm01", type: "env" }, ofOne)
      await catalog.listOperations({}, { limit: 3, cursor: ofOperations })
    })

    test("refuses a cursor of a catalog that this one took the place of, unless its row stands where it stood", async () => {
      const { nextCursor } = await catalog.listVersions({}, { limit: 3, cursor: null })
      const whole = await make()
      const purged = await make()
      const imports = versions.map((version) => ({ ...version, verifiedAt: null, state: "ok" as const }))
      await whole.catalog.importVersions(imports)
      await purged.catalog.importVersions(imports.slice(1))
      for (const anew of [whole, purged]) await anew.catalog.orderVersions()

      const page = { limit: 3, cursor: nextCursor }
      assert.deepEqual(
        idsIn(await whole.catalog.listVersions({}, page), "backupId"),
        idsIn(await catalog.listVersions({}, page), "backupId"),
      )
      await assert.rejects(purged.catalog.listVersions({}, page), { message: /begin at its first page/ })
      for (const anew of [whole, purged]) await anew.close()
    })

    test("refuses a cursor whose row moved for one that was shown late", async () => {
      const late = aVersion({ vmId: "vm00", provisional: true })
      const later = aVersion({ vmId: "vm01" })
      await catalog.addOperation(anOperation(), null, { add: [late, later] })
      const { nextCursor: cursor } = await catalog.listVersions({}, { limit: 1, cursor: null })
      await catalog.addOperation(anOperation(), null, { show: [late.backupId] })
      await catalog.listVersions({}, { limit: 1, cursor })

      await catalog.orderVersions()

      await assert.rejects(catalog.listVersions({}, { limit: 1, cursor }), { message: /begin at its first page/ })
    })

    test("goes on behind a row that has gone", async () => {
      const list = (cursor: string | null) => catalog.listVersions({}, { limit: 3, cursor })
      const first = await list(null)
      const last = idsIn(first, "backupId").at(-1) ?? ""
      const followed = idsIn(await list(first.nextCursor), "backupId")

      await catalog.removeVersions([last])
      await catalog.importVersions([])
      await catalog.orderVersions()

      assert.deepEqual(idsIn(await list(first.nextCursor), "backupId"), followed)
    })

    test("refuses a cursor that was changed, or comes from another list", async () => {
      const { nextCursor } = await catalog.listOperations({}, { limit: 1, cursor: null })
      const cursor = nextCursor ?? ""

      await assert.rejects(catalog.listOperations({}, { limit: 1, cursor: `${cursor}=` }), {
        code: "invalid_parameter",
      })
      await assert.rejects(catalog.listOperations({}, { limit: 1, cursor: `${cursor}A` }), {
        code: "invalid_parameter",
      })
      await assert.rejects(catalog.listVersions({}, { limit: 1, cursor }), { code: "invalid_parameter" })
    })
  })
}
