import type { Database } from "better-sqlite3"
import type { Catalog, JsonPage, PageRequest, VersionChanges, VersionFilter } from "../domain/catalog.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { ImportedVersion, NewVersion, StoredVersion, Version } from "../domain/version.ts"
import { versionListJson } from "./json.ts"
import { KeysetList, type ListPlan, rowOrder } from "./list.ts"
import { canChangeTo, rowCheck } from "./row-check.ts"
import { prepareVersions, type VersionRow } from "./version-statements.ts"

/** The statements over versions. Those that write run inside a transaction of the write queue. */
export class VersionTable {
  readonly #statements: ReturnType<typeof prepareVersions>
  readonly #list: KeysetList

  constructor(db: Database) {
    this.#statements = prepareVersions(db)
    this.#list = new KeysetList(db, { name: "versions", timeColumn: "valid_from", json: versionListJson })
  }

  change({ add = [], show = [], remove = [] }: VersionChanges): void {
    for (const version of add) this.#add(version)
    for (const backupId of show) this.#show(backupId)
    for (const backupId of remove) this.#remove(backupId)
  }

  mark(backupId: string, { state, verifiedAt, keyId }: Parameters<Catalog["markVersion"]>[1]): void {
    this.#statements.mark.run(state, verifiedAt, backupId)
    if (keyId === undefined) return
    const version = this.get(backupId)
    const row = version && this.of(version).find((each) => each.backupId === backupId)
    if (row?.intact) this.#statements.rekey.run(keyId, rowCheck({ ...row, keyId }), backupId)
  }

  newest({ vmId, type }: ConfigRef): Version | null {
    return versionOf(this.#statements.newest.get(vmId, type))
  }

  get(backupId: string): Version | null {
    return versionOf(this.#statements.get.get(backupId))
  }

  previous(backupId: string): Version | null {
    return versionOf(this.#statements.previous.get({ backupId }))
  }

  json(backupId: string): string | null {
    return this.#statements.json.get(backupId) ?? null
  }

  newestTimes(vmId: string): ReadonlyMap<string, string> {
    return new Map(this.#statements.newestTimes.all(vmId).map(({ type, time }) => [type, time]))
  }

  /** @throws {Fault} `backup_not_found` */
  annotate(backupId: string, { pinned, note }: { readonly pinned?: boolean; readonly note?: string | null }): void {
    const values = { backupId, pinned: pinned === undefined ? null : Number(pinned), note: note ?? null }
    const { changes } = this.#statements.annotate.run({ ...values, noted: Number(note !== undefined) })
    if (changes === 0) throw new Fault("backup_not_found", `No backup "${backupId}" is in the catalog.`)
  }

  earliest(): string | null {
    return this.#statements.earliest.get() ?? null
  }

  annotated(): readonly Pick<Version, "backupId" | "pinned" | "note">[] {
    return this.#statements.annotated.all().map((row) => ({ ...row, pinned: row.pinned === 1 }))
  }

  lost(limit: number): readonly Version[] {
    return this.#statements.lost.all(limit).flatMap((row) => versionOf(row) ?? [])
  }

  locked(limit: number): readonly Version[] {
    return this.#statements.locked.all(limit).flatMap((row) => versionOf(row) ?? [])
  }

  oldestVerified(now: string, limit: number): readonly Version[] {
    const { verifiedLater, verifiedBefore } = this.#statements
    const later = verifiedLater.all(now, limit)
    return [...later, ...verifiedBefore.all(now, limit - later.length)].flatMap((row) => versionOf(row) ?? [])
  }

  configs(): readonly ConfigRef[] {
    return this.#statements.configs.all()
  }

  of({ vmId, type }: ConfigRef): readonly StoredVersion[] {
    return this.#statements.ofConfig.all(vmId, type).map(({ rowCheck: check, isJson, ...row }) => {
      const intact = check === rowCheck(row) && isJson === 1 && canChangeTo(row)
      return { ...row, pinned: row.pinned === 1, intact }
    })
  }

  provisional(): readonly NewVersion[] {
    const rows = this.#statements.provisional.all()
    return rows.map(([backupId, version]) => ({ ...(JSON.parse(version) as NewVersion), backupId }))
  }

  import(versions: readonly ImportedVersion[]): void {
    if (versions.length > 0) this.#statements.newEpoch.run()
    for (const version of versions) this.#import(version)
  }

  #import(version: ImportedVersion): void {
    const { vmId, type, backupId } = version
    const standing = this.#statements.standing.get(backupId)
    const { pinned = 0, note = null } = standing ?? {}
    this.#remove(backupId)
    let validFrom = version.validFrom
    // One row per config and time: the index holds it, and `at=` would otherwise find two.
    while (this.#statements.taken.get(vmId, type, validFrom)) {
      validFrom = new Date(Date.parse(validFrom) + 1).toISOString()
    }
    const row = { ...version, validFrom }
    // Its number as well: a page that somebody reads stays as it is.
    const seq = standing?.validFrom === validFrom ? standing.seq : null
    this.#statements.import.run({ ...row, seq, pinned, note, rowCheck: rowCheck(row) })
    const { before, after } = this.#statements.neighbours.get({ vmId, type, validFrom }) ?? {
      before: null,
      after: null,
    }
    this.#statements.supersede.run(after, backupId)
    if (before !== null) this.#statements.supersede.run(validFrom, before)
  }

  /** @returns how many rows had a wrong `superseded_at` */
  order(): number {
    this.#statements.count.run()
    const wrong = this.#statements.chain.run().changes
    const from = this.#statements.disorder.get() ?? null
    if (from === null) return wrong
    this.#statements.renumber.run(from)
    this.#statements.newEpoch.run()
    return wrong
  }

  list(filter: VersionFilter, page: PageRequest): JsonPage {
    const { pinned: _, ...values } = filter
    const parameters = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
    const { epoch, numberOf } = this.#statements
    return this.#list.page(planVersions(filter), parameters as Record<string, string>, page, {
      epoch: epoch.get() ?? "",
      stands: ({ seq, time }) => numberOf.get(seq, time) !== undefined,
    })
  }

  #add(version: NewVersion): void {
    if (!version.provisional) {
      this.#enter(version)
      return
    }
    if (this.get(version.backupId)) throw new Error(`Version ${version.backupId} is there already.`)
    this.#statements.addProvisional.run(version.backupId, JSON.stringify(version))
  }

  /**
   * One that is shown already stays as it is. Later versions may have come since it was added (the edit that a push found, a
   * backup of the original service that the next start found): it takes its place among them, as it would in a catalog made anew.
   */
  #show(backupId: string): void {
    const text = this.#statements.takeProvisional.get(backupId)
    const isThere = this.get(backupId) !== null
    if (text === undefined && isThere) return
    if (text === undefined) throw new Error(`Version ${backupId} was never added.`)
    if (isThere) throw new Error(`Version ${backupId} is there already.`)
    const { provisional: _, ...version } = JSON.parse(text) as NewVersion
    this.#import({ ...version, verifiedAt: null, state: "ok" })
  }

  /** From now on `version` is the newest of its config. */
  #enter(version: NewVersion): void {
    const before = this.newest(version)
    if (before && version.validFrom <= before.validFrom) {
      throw new Error(`Version ${version.backupId} is not later than the newest of its config, ${before.backupId}.`)
    }
    const { provisional: _, ...row } = version
    this.#statements.insert.run({ ...row, rowCheck: rowCheck(row) })
    if (before) this.#statements.supersede.run(version.validFrom, before.backupId)
  }

  /** The one before then lasted until the one after: what a catalog made anew from the blobs would say. */
  #remove(backupId: string): void {
    this.#statements.removeProvisional.run(backupId)
    const gone = this.get(backupId)
    if (!gone) return
    const before = this.previous(backupId)
    this.#statements.remove.run(backupId)
    if (before) this.#statements.supersede.run(gone.supersededAt, before.backupId)
  }
}

/**
 * One config's versions follow each other in time, so that both orders are the same one there. Over all VMs a span of time
 * is found by the index on the time; over one VM its rows are few enough to be looked through.
 */
export function planVersions(filter: VersionFilter): ListPlan {
  const conditions: string[] = []
  if (filter.vmId !== undefined) conditions.push("vm_id = @vmId")
  if (filter.type !== undefined) conditions.push("type = @type")
  if (filter.trigger !== undefined) conditions.push("trigger = @trigger")
  // Written out, as the next: a parameter would keep SQLite from using the partial index.
  if (filter.state !== undefined) conditions.push(...stateConditions[filter.state])
  if (filter.pinned !== undefined) conditions.push(`pinned = ${filter.pinned ? 1 : 0}`)
  if (filter.since !== undefined) conditions.push("valid_from >= @since")
  if (filter.until !== undefined) conditions.push("valid_from < @until")
  if (filter.at !== undefined) conditions.push("valid_from <= @at AND (superseded_at IS NULL OR superseded_at > @at)")
  return { ...chooseIndex(filter), conditions }
}

const lost = "state <> 'ok'"
const stateConditions: Readonly<Record<Version["state"], readonly string[]>> = {
  ok: ["state = 'ok'"],
  damaged: [lost, "state = 'damaged'"],
  missing: [lost, "state = 'missing'"],
  locked: [lost, "state = 'locked'"],
}

function chooseIndex(filter: VersionFilter): Pick<ListPlan, "index" | "order"> {
  if (filter.vmId !== undefined && filter.type !== undefined) return { index: "versions_config", order: "time" }
  if (filter.pinned === true) return { index: "versions_pinned", order: "seq" }
  if (filter.vmId !== undefined) return { index: "versions_vm", order: "seq" }
  if (filter.state !== undefined && filter.state !== "ok") return { index: "versions_state", order: "seq" }
  if ((filter.since ?? filter.until ?? filter.at) !== undefined) return { index: "versions_time", order: "time" }
  if (filter.trigger !== undefined) return { index: "versions_trigger", order: "seq" }
  if (filter.type !== undefined) return { index: "versions_type", order: "seq" }
  return { index: rowOrder, order: "seq" }
}

function versionOf(row: VersionRow | undefined): Version | null {
  return row ? { ...row, pinned: row.pinned === 1 } : null
}
