import { join } from "node:path"
import { loadKeysForReading, requireKeyOfBefore } from "../blobs/keyring.ts"
import { DiskLegacyStore } from "../blobs/legacy.ts"
import { DiskNotes } from "../blobs/notes.ts"
import { DiskBlobStore } from "../blobs/store.ts"
import type { Reindexed } from "../cli/reindex.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { isFault } from "../domain/fault.ts"
import { StartError } from "../domain/start-error.ts"
import type { StoredVersion } from "../domain/version.ts"
import { faces } from "../http/problem.ts"
import { Reconciliation } from "../services/reconciliation.ts"
import { type Rewrapped, rewrapAll } from "../services/rewrapping.ts"
import { StoreCheck, type StoreChecked, type StoreFinding } from "../services/store-check.ts"
import { Turns } from "../services/turns.ts"
import { VersionNotes } from "../services/version-notes.ts"
import type { Settings } from "../settings.ts"
import { SqliteCatalog } from "../sqlite/catalog.ts"
import { acquireLocks, keySourcesOf, migrationsDir, openStores, type Secrets } from "./stores.ts"

/** Versions that did not come back. */
const mostNamed = 20

/** Makes the catalog anew from the backups, with the directories for itself. @throws {StartError} @throws {Fault} */
export async function reindex(
  settings: Settings,
  secrets: Secrets,
  onFinding: (sentence: string) => void,
): Promise<Reindexed> {
  const locks = acquireLocks(settings)
  try {
    return await remakeCatalog(settings, await openStores(settings, { secrets, newKey: false }), onFinding)
  } finally {
    for (const lock of locks) lock.release()
  }
}

/** The caller has the locks. @throws {StartError} @throws {Fault} */
export async function remakeCatalog(
  settings: Settings,
  stores: Awaited<ReturnType<typeof openStores>>,
  onFinding: (sentence: string) => void,
): Promise<Reindexed> {
  const catalog = SqliteCatalog.remake(catalogOf(settings))
  try {
    return await fill(settings, stores, catalog, onFinding)
  } finally {
    catalog.close()
  }
}

async function fill(
  settings: Settings,
  stores: Awaited<ReturnType<typeof openStores>>,
  catalog: SqliteCatalog,
  onFinding: (sentence: string) => void,
): Promise<Reindexed> {
  const { location } = settings.backups
  const inventory = () => settings.inventory
  const clock = () => new Date()
  const turns = new Turns()
  const notes = new VersionNotes({
    catalog,
    notes: new DiskNotes(location),
    inventory,
    clock,
    turns,
    onProblem: onFinding,
  })
  const found = await new Reconciliation({
    ...stores,
    catalog,
    inventory,
    clock,
    statusOf: (code) => faces[code].status,
    applyNotes: () => notes.applyNotes(),
    onFinding,
  }).run()
  const { operations = 0, open = 0, lost = 0, aside = null } = catalog.remade ?? {}
  const missing = aside === null ? 0 : await tellMissing(aside, catalog, onFinding)
  const { versions } = await catalog.totals()
  return { ...found, location, aside, versions, operations, open, lost, missing }
}

/** Names the first of those that the catalog from before lists and the new one does not. @returns how many there are */
async function tellMissing(
  aside: string,
  catalog: SqliteCatalog,
  onFinding: (sentence: string) => void,
): Promise<number> {
  let missing = 0
  for await (const { vmId, type, backupId } of listedIn(aside)) {
    if (await catalog.getVersion(backupId)) continue
    missing += 1
    if (missing > mostNamed) continue
    const where = `${vmId}/${type}`
    onFinding(
      `Version ${backupId} of ${where} is in no list any more: the catalog from before lists it, and it did not come back.`,
    )
  }
  if (missing > mostNamed) onFinding(`And ${missing - mostNamed} more versions.`)
  return missing
}

/** As far as it can be read: rows that rotted name nothing. */
async function* listedIn(path: string): AsyncGenerator<StoredVersion> {
  let catalog: SqliteCatalog | null = null
  try {
    catalog = SqliteCatalog.read({ path, migrationsDir })
    for (const ref of await catalog.versionedConfigs()) {
      yield* (await catalog.versionsOf(ref)).filter(({ intact }) => intact)
    }
  } catch (error) {
    if (!isFault(error) && !(error instanceof StartError)) throw error
  } finally {
    catalog?.close()
  }
}

/** Moves all blobs to the key that seals now, with the directories for itself. @throws {StartError} @throws {Fault} */
export async function rewrap(
  settings: Settings,
  secrets: Secrets,
  onFinding: (sentence: string) => void,
): Promise<Rewrapped & { readonly keyId: string }> {
  const locks = acquireLocks(settings)
  try {
    // That the key is another one than before is what this command is for; but not one that came by a mistake.
    await requireKeyOfBefore({ ...keySourcesOf(settings, secrets), newKey: true })
    const stores = await openStores(settings, { secrets, newKey: true })
    const catalog = SqliteCatalog.open(catalogOf(settings))
    try {
      return { ...(await rewrapAll({ ...stores, catalog, onFinding })), keyId: stores.blobs.keyId }
    } finally {
      catalog.close()
    }
  } finally {
    for (const lock of locks) lock.release()
  }
}

/** What `verify` reads: without a lock, beside a service that may be running. */
export interface StoreReading {
  /** Why the catalog is left out; null: it is not. */
  readonly withoutCatalog: string | null
  /** @param share of the versions that are opened, taken by chance; at least one @throws {Fault} */
  check(share: number, onFinding: (finding: StoreFinding) => void): Promise<StoreChecked>
  close(): void
}

/** @throws {StartError} */
export async function readStore(settings: Settings, secrets: Secrets): Promise<StoreReading> {
  const { location } = settings.backups
  const keyring = await loadKeysForReading({ ...keySourcesOf(settings, secrets), newKey: false })
  const { blobs, legacy } = await readStores(location, keyring)
  const { catalog, why } = readCatalog(settings)
  const { vms, types } = settings.inventory
  const configs: readonly ConfigRef[] = vms.flatMap(({ vmId }) => types.map(({ type }) => ({ vmId, type })))
  return {
    withoutCatalog: why,
    check: (share, onFinding) => {
      // The first always: to open none and find nothing would say that all is well, under a wrong key, too.
      let first = true
      const isChosen = (): boolean => {
        const chosen = first || Math.random() < share
        first = false
        return chosen
      }
      return new StoreCheck({ blobs, legacy, catalog, configs, isChosen, onFinding }).run()
    },
    close: () => catalog?.close(),
  }
}

async function readStores(location: string, keyring: Awaited<ReturnType<typeof loadKeysForReading>>) {
  try {
    const blobs = await DiskBlobStore.read({ location, keyring })
    return { blobs, legacy: await DiskLegacyStore.open({ location, keys: keyring.legacy }) }
  } catch (cause) {
    if (isFault(cause)) throw new StartError(cause.message, { cause })
    throw cause
  }
}

export function readCatalog(settings: Settings): {
  readonly catalog: SqliteCatalog | null
  readonly why: string | null
} {
  try {
    return { catalog: SqliteCatalog.read(catalogOf(settings)), why: null }
  } catch (error) {
    if (error instanceof StartError) return { catalog: null, why: error.message }
    throw error
  }
}

function catalogOf({ stateDir }: Settings) {
  return { path: join(stateDir, "catalog.db"), migrationsDir }
}
