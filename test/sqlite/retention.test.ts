import assert from "node:assert/strict"
import { join } from "node:path"
import { suite, test } from "node:test"
import fc from "fast-check"
import { itemsOf } from "../../src/domain/catalog.ts"
import { dayMs, mayGo } from "../../src/domain/retention.ts"
import type { Trigger, Version, VersionState } from "../../src/domain/version.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { migrationsDir } from "./migrations.ts"
import { anImport } from "./records.ts"

const page = { limit: 500, cursor: null }
const at = (day: number): string => new Date(Date.UTC(2026, 0, 1) + day * dayMs).toISOString()

const days = { min: 0, max: 12 }
/** A few configs, each with versions of some days, some pinned, and perhaps the day it left the settings. */
const history = fc.array(
  fc.record({
    versions: fc.uniqueArray(
      fc.record({
        day: fc.integer(days),
        pinned: fc.boolean(),
        size: fc.constantFrom(9, 0, null),
        trigger: fc.constantFrom("found" as const, "written" as const),
        state: fc.constantFrom("ok" as const, "ok" as const, "damaged" as const, "missing" as const, "locked" as const),
      }),
      { selector: ({ day }) => day, maxLength: 6 },
    ),
    leftOn: fc.option(fc.integer(days)),
  }),
  { maxLength: 4 },
)

suite("What the catalog lets go", () => {
  test("is what the rule lets go, and every state after the cutoff is still there without it", async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.integer(days), async (configs, cutoffDay) => {
        const dir = makeTemporary("retention")
        const catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
        try {
          await fill(catalog, configs)
          await hold(catalog, at(cutoffDay))
        } finally {
          catalog.close()
          await removeTemporary(dir)
        }
      }),
      { numRuns: 60 },
    )
  })
})

type History = readonly {
  readonly versions: readonly {
    readonly day: number
    readonly pinned: boolean
    readonly size: number | null
    readonly trigger: Trigger
    readonly state: VersionState
  }[]
  readonly leftOn: number | null
}[]

async function fill(catalog: SqliteCatalog, configs: History): Promise<void> {
  for (const [index, { versions, leftOn }] of configs.entries()) {
    const ref = { vmId: `vm${index}`, type: "central" }
    await catalog.importVersions(
      versions.map(({ day, size, trigger, state }) =>
        anImport({ ...ref, size, trigger, state, validFrom: at(day), backupId: `${ref.vmId}-${day}` }),
      ),
    )
    const pinned = versions.filter((version) => version.pinned)
    await Promise.all(pinned.map(({ day }) => catalog.annotateVersion(`${ref.vmId}-${day}`, { pinned: true })))
    if (leftOn !== null) await catalog.noteDepartures([{ ...ref, leftAt: at(leftOn) }])
  }
}

async function hold(catalog: SqliteCatalog, cutoff: string): Promise<void> {
  const all = itemsOf<Version>(await catalog.listVersions({}, page))
  const left = new Map((await catalog.departures()).map(({ vmId, leftAt }) => [vmId, leftAt]))
  const due = all.filter((version) => {
    const later = all.filter(({ vmId, validFrom }) => vmId === version.vmId && validFrom > version.validFrom)
    return mayGo(version, left.get(version.vmId) ?? null, later, cutoff)
  })

  const { versions, total } = await catalog.expiredVersions(cutoff, 500)
  const ids = versions.map(({ backupId }) => backupId)
  assert.deepEqual(ids.toSorted(), due.map(({ backupId }) => backupId).sort())
  assert.equal(total, due.length)
  assert.deepEqual((await catalog.expiredVersions(cutoff, 2)).versions, versions.slice(0, 2))
  const ends = versions.filter(({ supersededAt }) => supersededAt !== null).map(({ supersededAt }) => supersededAt)
  assert.deepEqual(ends, ends.toSorted(), "not oldest first")

  const before = await statesAfter(catalog, cutoff, all)
  await catalog.removeVersions(ids)
  assert.deepEqual(await statesAfter(catalog, cutoff, all), before)
  assert.equal((await catalog.expiredVersions(cutoff, 500)).total, 0)
}

/** Which version of each config stood at each instant after the cutoff, until its config left. */
async function statesAfter(
  catalog: SqliteCatalog,
  cutoff: string,
  all: readonly Version[],
): Promise<readonly unknown[]> {
  const left = new Map((await catalog.departures()).map(({ vmId, leftAt }) => [vmId, leftAt]))
  const states: unknown[] = []
  for (const vmId of new Set(all.map((version) => version.vmId))) {
    for (let day = days.min; day <= days.max; day += 0.5) {
      const departed = left.get(vmId)
      const last = all
        .filter((version) => version.vmId === vmId)
        .reduce((max, { validFrom }) => (validFrom > max ? validFrom : max), "")
      const isGone = departed !== undefined && departed <= at(day) && last <= at(day)
      if (at(day) < cutoff || isGone) continue
      const found = itemsOf<Version>(await catalog.listVersions({ vmId, type: "central", at: at(day) }, page))
      states.push([vmId, day, found.map(({ backupId }) => backupId)])
    }
  }
  return states
}
