import type { Catalog } from "../domain/catalog.ts"
import type { CopyTarget, StoreFiles } from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import { enteredAs, isAsEntered } from "./legacy-versions.ts"

interface Parts {
  readonly catalog: Pick<Catalog, "getVersion" | "fact">
  readonly legacy: Pick<LegacyStore, "open">
  readonly files: StoreFiles
  readonly target: CopyTarget
}

/**
 * The bytes of a legacy backup that go to the place of the copies. It has no checksum of its own, and nothing in it says which
 * one it is: where no key proves it whole, or its row names another or no digest, it must not take the place of a copy that may be the last
 * good one.
 * @returns a fault where it must not
 * @throws {Fault} as LegacyStore.open, StoreFiles, CopyTarget, Catalog
 */
export async function legacyToCopy(
  backupId: string,
  { catalog, legacy, files, target }: Parts,
): Promise<Buffer | Fault> {
  const plain = await legacy.open(backupId, null).then((opened) => opened.plain, unlessLocked)
  const bytes = await files.read(backupId)
  if (!bytes) return new Fault("backup_missing", `${backupId} is gone.`)
  const digest = (await catalog.getVersion(backupId))?.digest ?? null
  const isProved = plain !== null && isAsEntered(plain, await enteredAs(catalog, { backupId, digest }))
  const theirs = isProved ? null : await target.get(backupId)
  if (theirs === null || theirs.equals(bytes)) return bytes
  const isNot = digest === null ? "is not known to be" : "is not"
  const why = plain === null ? `No loaded key opens ${backupId}` : `${backupId} ${isNot} the backup that was entered`
  return new Fault("backup_corrupt", `${why}, and the copy at ${target.name} is another one: it is left as it is.`)
}

/**
 * Puts the copy of a legacy backup, which is known to be better, in the place of what stands here, which is kept beside it.
 * Whatever write a kill comes after, one of the two stands there, and the other is not lost. @returns what it is kept as
 */
export async function replaceLegacy(
  backupId: string,
  standing: Buffer,
  copy: Buffer,
  files: StoreFiles,
): Promise<string> {
  const aside = await asideOf(backupId, standing, files)
  await files.write(aside, standing)
  await files.write(backupId, copy)
  return aside
}

/** A name of its own: what was put aside before may stand nowhere else, as that of one which changed places with another. */
async function asideOf(backupId: string, standing: Buffer, files: StoreFiles): Promise<string> {
  for (let name = `${backupId}.damaged`, copy = 2; ; name = `${backupId}.${copy}.damaged`, copy += 1) {
    const there = await files.read(name)
    if (there === null || there.equals(standing)) return name
  }
}

function unlessLocked(error: unknown): null {
  if (isFault(error, "backup_key_unavailable")) return null
  throw error
}
