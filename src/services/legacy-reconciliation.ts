import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { LegacyRef } from "../domain/legacy-store.ts"
import type { ImportedVersion, StoredVersion } from "../domain/version.ts"
import {
  type Entered,
  enteredAs,
  isUnproved,
  legacyVersion,
  noteSealed,
  ownerOf,
  renderingRevision,
} from "./legacy-versions.ts"
import type { Counts, ReconciliationParts } from "./reconciliation.ts"
import { noteFound, noteUnlisted } from "./retention-clock.ts"
import { typeOfVersion } from "./version-type.ts"

/** Fact: the configs, by their keys, of which there were files whose names fit another one, too. */
const ambiguousFact = "legacy_ambiguous"

/** What files were found to have sealed. */
type Sealed = Map<LegacyRef, Pick<Entered, "sealed" | "isLate">>

/** Makes the catalog say which backups of the original service stand in the store. */
export class LegacyReconciliation {
  readonly #parts: ReconciliationParts
  readonly #counts: Counts
  readonly #isNewCatalog: boolean

  constructor(parts: ReconciliationParts, counts: Counts, isNewCatalog: boolean) {
    this.#parts = parts
    this.#counts = counts
    this.#isNewCatalog = isNewCatalog
  }

  /** After blobs and notes were taken in: configs that left the settings are known by their versions, and by the day they left. */
  async run(): Promise<void> {
    const { catalog, legacy, inventory } = this.#parts
    const versioned = await catalog.versionedConfigs()
    const departures = await catalog.departures()
    const known = [...configsOf(inventory()), ...versioned, ...departures, ...(await this.#ambiguousBefore())]
    const { refs, unmatched, ambiguous } = await legacy.list(known, (backupId) => ownerOf(catalog, backupId))
    this.#counts.unmatched = unmatched
    await this.#tellAmbiguous(ambiguous)
    const files = Map.groupBy(refs, keyOf)
    const configs = new Map([...versioned, ...refs].map((ref) => [keyOf(ref), ref]))
    for (const [key, ref] of configs) await this.#config(ref, files.get(key) ?? [])
  }

  /** One of two that leaves the settings is known on: what may be its own is not the other's. */
  async #ambiguousBefore(): Promise<readonly ConfigRef[]> {
    const keys = (await this.#parts.catalog.fact(ambiguousFact))?.split(" ") ?? []
    return keys.map((key) => key.split("/")).map(([vmId = "", type = ""]) => ({ vmId, type }))
  }

  async #tellAmbiguous(ambiguous: ReadonlyMap<string, readonly ConfigRef[]>): Promise<void> {
    const { catalog, onFinding } = this.#parts
    if (ambiguous.size === 0) return
    const configs = [...ambiguous.values(), await this.#ambiguousBefore()].flat()
    await catalog.setFact(ambiguousFact, [...new Set(configs.map(keyOf))].join(" "))
    for (const [start, fitting] of ambiguous) {
      onFinding(
        `There are files named ${start}TIME.enc that may be of ${fitting.map(keyOf).join(" or ")}, and nothing says of which: ` +
          "they are in no list. config-manager open shows what one of them holds.",
      )
    }
  }

  async #config(ref: ConfigRef, files: readonly LegacyRef[]): Promise<void> {
    const { catalog } = this.#parts
    const rows = (await catalog.versionsOf(ref)).filter(({ format }) => format === "legacy")
    const known = new Map(rows.map((row) => [row.backupId, row]))
    const stands = new Set(files.map(({ backupId }) => backupId))
    for (const row of rows.filter(({ backupId }) => !stands.has(backupId))) await this.#gone(row)
    const imports: ImportedVersion[] = []
    const renewed: ImportedVersion[] = []
    const sealed: Sealed = new Map()
    const { format, yamlVersion } = typeOfVersion(this.#parts.inventory(), ref.type)
    const writing = [renderingRevision, format, yamlVersion].join(" ")
    const writtenAs = `legacy_written:${keyOf(ref)}`
    const isWrittenAsBefore = (await catalog.fact(writtenAs)) === writing
    for (const file of files) {
      const row = known.get(file.backupId) ?? null
      // Not each at each start: there may be thousands.
      if (isWrittenAsBefore && row?.intact && row.state === "ok") continue
      const version = await this.#read(file, row, sealed)
      if (row?.intact && row.state === "ok") {
        if (this.#isOutdated(row, version)) renewed.push({ ...row, digest: version.digest, size: version.size })
        continue
      }
      if (version.state === "missing") continue
      if (version.state !== "ok") this.#counts[version.state] += 1
      if (!row?.intact || version.state === "ok") imports.push(version)
      else if (row.state !== version.state) {
        await catalog.markVersion(row.backupId, { state: version.state, verifiedAt: row.verifiedAt })
      }
    }
    // Before its row: one that is entered is known by it from then on.
    await Promise.all([...sealed].map(([file, found]) => noteSealed(catalog, file, found)))
    this.#counts.imported += imports.length
    this.#counts.corrected += renewed.length
    if (imports.length + renewed.length > 0) {
      const news = imports.filter(({ backupId }) => !known.has(backupId))
      await noteFound(catalog, news)
      await noteUnlisted(catalog, news, this.#isNewCatalog)
      await catalog.importVersions([...imports, ...renewed])
    }
    if (files.length > 0 && !isWrittenAsBefore) await catalog.setFact(writtenAs, writing)
  }

  /** Whether a row does not say what a restore would write today: its type has another format, or the same is written otherwise. */
  #isOutdated(row: StoredVersion, { state, digest }: ImportedVersion): boolean {
    const isKnown = this.#parts.inventory().types.some(({ type }) => type === row.type)
    return isKnown && state === "ok" && digest !== row.digest
  }

  async #gone({ backupId, intact, state, verifiedAt }: StoredVersion): Promise<void> {
    const { catalog, onFinding } = this.#parts
    if (intact) {
      this.#counts.missing += 1
      if (state !== "missing") await catalog.markVersion(backupId, { state: "missing", verifiedAt })
      return
    }
    this.#counts.rowsRemoved += 1
    await catalog.forgetVersions([backupId])
    onFinding(`The row of version ${backupId} is damaged, and its file is gone: it is not listed any more.`)
  }

  /** @param row what is known of it: by that, damage and another backup under its name are told; @param news what it sealed, where that is not noted yet */
  async #read(file: LegacyRef, row: StoredVersion | null, news: Sealed): Promise<ImportedVersion> {
    const { catalog, legacy } = this.#parts
    const inventory = this.#parts.inventory()
    const vm = inventory.vms.find(({ vmId }) => vmId === file.vmId)
    const path = (vm && inventory.pathOf(vm, file.type)) ?? ""
    const type = typeOfVersion(inventory, file.type)
    const known = await enteredAs(catalog, row?.intact ? row : { backupId: file.backupId, digest: null })
    const isLate = row?.intact ? isUnproved(known) : known.isLate
    if (!row?.intact && known.sealed === null) news.set(file, { sealed: null, isLate: true })
    return legacyVersion(file, legacy, type, path, row?.keyId, row?.intact ? known : null, (sealed) => {
      if (sealed !== known.sealed) news.set(file, { sealed, isLate })
    })
  }
}

function configsOf({ vms, types }: Inventory): readonly ConfigRef[] {
  return vms.flatMap(({ vmId }) => types.map(({ type }) => ({ vmId, type })))
}
