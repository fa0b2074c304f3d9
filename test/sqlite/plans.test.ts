import assert from "node:assert/strict"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import type { OperationFilter, VersionFilter } from "../../src/domain/catalog.ts"
import { operationJson, versionListJson } from "../../src/sqlite/json.ts"
import { type ListPlan, type ListTable, listSql } from "../../src/sqlite/list.ts"
import { migrate } from "../../src/sqlite/migrate.ts"
import { planOperations } from "../../src/sqlite/operations.ts"
import { planVersions } from "../../src/sqlite/versions.ts"
import { migrationsDir } from "./migrations.ts"

const versions: ListTable = { name: "versions", timeColumn: "valid_from", json: versionListJson }
const operations: ListTable = { name: "operations", timeColumn: "started_at", json: operationJson }

/** Every choice of some of the members, the empty one included. */
function combinations<T extends object>(members: T): readonly Partial<T>[] {
  const names = Object.keys(members) as (keyof T)[]
  return Array.from({ length: 2 ** names.length }, (_, bits) =>
    pick(
      members,
      names.filter((_name, i) => (bits & (1 << i)) !== 0),
    ),
  )
}

function pick<T extends object>(members: T, names: readonly (keyof T)[]): Partial<T> {
  const picked: Partial<T> = {}
  for (const name of names) picked[name] = members[name]
  return picked
}

suite("The lists", () => {
  let db: Database.Database
  beforeEach(() => {
    db = new Database(":memory:")
    migrate(db, { path: ":memory:", migrationsDir })
  })
  afterEach(() => void db.close())

  function explain(sql: string): string {
    const parameters = {
      vmId: "",
      type: "",
      trigger: "",
      kind: "",
      state: "",
      since: "",
      until: "",
      at: "",
      seq: 0,
      time: "",
      limit: 1,
      end: "",
    }
    return db
      .prepare<[object], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`)
      .all(parameters)
      .map(({ detail }) => detail)
      .join("\n")
  }

  function assertIndexed(table: ListTable, plan: ListPlan, filter: object): void {
    const { ends, page } = listSql(table, plan)
    // The rows of a page are made one by one as they are gathered: the only thing that is scanned.
    for (const found of [explain(ends), explain(page).replace(/^CO-ROUTINE (.*)\n([\s\S]*)\nSCAN \1$/, "$2")]) {
      assert.match(found, /^SEARCH /, `${JSON.stringify(filter)}: ${found}`)
      assert.doesNotMatch(found, /SCAN|TEMP B-TREE/, `${JSON.stringify(filter)}: ${found}`)
    }
  }

  test("of versions search an index for every combination of filters, and sort nothing", () => {
    const all: VersionFilter = { vmId: "a", type: "b", trigger: "found", since: "c", until: "d", at: "e", pinned: true }
    for (const filter of combinations(all)) assertIndexed(versions, planVersions(filter), filter)
    for (const filter of combinations({ ...all, pinned: false })) assertIndexed(versions, planVersions(filter), filter)
    for (const state of ["ok", "damaged"] as const) {
      for (const filter of combinations({ ...all, state })) assertIndexed(versions, planVersions(filter), filter)
    }
  })

  test("of operations search an index for every combination of filters, and sort nothing", () => {
    const all: OperationFilter = { vmId: "a", type: "b", kind: "write", state: "failed", since: "c" }
    for (const filter of combinations(all)) assertIndexed(operations, planOperations(filter), filter)
  })
})
