import { type BlobRef, type BlobStore, MisplacedFault } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { type Fault, isFault } from "../domain/fault.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import type { ImportedVersion } from "../domain/version.ts"
import { inBatches, readTogether } from "./batches.ts"

/** How many blobs were in which state. */
export interface Rewrapped {
  /** Moved to the active key by this call. */
  readonly wrapped: number
  /** Sealed for the active key alone before. */
  readonly already: number
  /** No loaded key opens them: left as they are. */
  readonly locked: number
  readonly damaged: number
  /** Cannot be replaced where they stand, for the file system refuses it or the place is another's: they open as before. */
  readonly stuck: number
  /** Listed and sealed for another key, with no file here: a copy of it elsewhere needs that key. */
  readonly missing: number
  /** Put aside and in no list: they, or whole copies of them elsewhere, may need another key. */
  readonly aside: number
  /** Backups of the original service that another key than the active one opens: they cannot be moved. */
  readonly legacy: number
}

interface Parts {
  readonly blobs: BlobStore
  readonly legacy: Pick<LegacyStore, "names" | "open">
  readonly catalog: Catalog
  /** Told of each blob that was left as it is, in a sentence. */
  readonly onFinding: (sentence: string) => void
}

type Fate = Exclude<keyof Rewrapped, "legacy" | "missing" | "aside">

/** Blobs of one transaction of the catalog. */
const together = 200

/**
 * Moves all blobs to the active key, which is what makes an old key dispensable. Whatever ends it, every blob opens with the
 * old key or the new, and the next call goes on. Nobody else may use store and catalog meanwhile.
 * @throws {Fault} where store or catalog fail
 */
export async function rewrapAll({ blobs, legacy, catalog, onFinding }: Parts): Promise<Rewrapped> {
  const counts = { wrapped: 0, already: 0, locked: 0, damaged: 0, stuck: 0, missing: 0, aside: 0, legacy: 0 }
  const wrap = async (ref: BlobRef): Promise<Fate> => {
    try {
      return (await blobs.rewrap(ref)) ? "wrapped" : "already"
    } catch (error) {
      if (await isStuck(error, blobs)) {
        onFinding(`${ref.vmId}/${ref.type}/${ref.backupId}.cmb was not moved. ${(error as Fault).message}`)
        return "stuck"
      }
      if (!isFault(error, "backup_key_unavailable", "backup_corrupt", "backup_missing")) throw error
      onFinding(error.message)
      return error.code === "backup_key_unavailable" ? "locked" : "damaged"
    }
  }
  for await (const { ref, backupIds } of blobs.list()) {
    const rows = await rowsOf(ref, catalog)
    await inBatches(backupIds, together, async (batch) => {
      const fates = await readTogether(batch, (backupId) => wrap({ ...ref, backupId }))
      for (const fate of fates) counts[fate] += 1
      // A row that is entered anew has its copy made anew: what was moved has another than stands here now, whatever its row said.
      const anew = batch.flatMap((backupId, index) => {
        const row = rows.get(backupId)
        const isStale = fates[index] === "wrapped" || (fates[index] === "already" && row?.keyId !== blobs.keyId)
        return row && isStale ? [{ ...row, keyId: blobs.keyId }] : []
      })
      if (anew.length > 0) await catalog.importVersions(anew)
    })
  }
  const files = new Set(await legacy.names())
  counts.legacy = await tellLegacy(files, { blobs, legacy, onFinding })
  for (const ref of await catalog.versionedConfigs()) {
    const rows = (await catalog.versionsOf(ref)).filter(({ keyId }) => keyId !== blobs.keyId)
    counts.legacy += rows.filter(({ format, backupId }) => format === "legacy" && !files.has(backupId)).length
    for (const row of rows.filter(({ format }) => format === "cmb1")) {
      if (await stands(row, blobs)) continue
      counts.missing += 1
      onFinding(`The file of version ${row.backupId} is gone; a copy of it elsewhere needs the key ${row.keyId}.`)
    }
  }
  counts.aside = await tellAside({ blobs, catalog, onFinding })
  return counts
}

/** Whether it is one file that cannot be replaced where it stands. A fault without a cause is the store's: what it gives back is not what it took. */
async function isStuck(error: unknown, blobs: BlobStore): Promise<boolean> {
  if (error instanceof MisplacedFault) return true
  if (!isFault(error, "backup_storage_unavailable", "storage_full") || error.cause === undefined) return false
  return (await blobs.health()).ok
}

/** They are known by their files: one may have no row, or be of no known config. @returns how many need another key, or may */
async function tellLegacy(
  files: ReadonlySet<string>,
  { blobs, legacy, onFinding }: Omit<Parts, "catalog">,
): Promise<number> {
  let told = 0
  for (const name of files) {
    const keyId = await legacy.open(name, null).then((opened) => opened.keyId, unlessUnavailable)
    if (keyId === blobs.keyId) continue
    told += 1
    onFinding(
      `${name} goes on needing ${keyId === null ? "a key that is not loaded, or is damaged" : `the key ${keyId}`}.`,
    )
  }
  return told
}

function unlessUnavailable(error: unknown): null {
  if (isFault(error, "backup_key_unavailable", "backup_corrupt", "backup_missing")) return null
  throw error
}

/** What was put aside may come home from its copy some day, or be whole: it opens with the key that it was sealed with. */
async function tellAside({ blobs, catalog, onFinding }: Omit<Parts, "legacy">): Promise<number> {
  let told = 0
  for await (const { ref, backupIds } of blobs.listAside()) {
    for (const backupId of backupIds) {
      if ((await catalog.getVersion(backupId)) !== null) continue
      told += 1
      onFinding(`Version ${backupId} of ${ref.vmId}/${ref.type} was put aside and is in no list.`)
    }
  }
  return told
}

/** Whether a file stands there, whatever it holds. */
async function stands(ref: BlobRef, blobs: BlobStore): Promise<boolean> {
  try {
    await blobs.header(ref)
    return true
  } catch (error) {
    if (isFault(error, "backup_missing")) return false
    if (isFault(error, "backup_corrupt")) return true
    throw error
  }
}

/** Rows of blobs, by id. They follow their blobs, also where an earlier call ended in between. */
async function rowsOf(ref: ConfigRef, catalog: Catalog): Promise<ReadonlyMap<string, ImportedVersion>> {
  const rows = new Map<string, ImportedVersion>()
  for (const { intact, supersededAt, note, pinned, ...row } of await catalog.versionsOf(ref)) {
    if (intact && row.format === "cmb1") rows.set(row.backupId, row)
  }
  return rows
}
