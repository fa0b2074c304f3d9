import type { Catalog } from "../domain/catalog.ts"
import type { CopyTarget, StoreFiles } from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import { enteredAs, isAsEntered, isUnproved } from "./legacy-versions.ts"

interface Parts {
  readonly catalog: Pick<Catalog, "getVersion" | "fact">
  readonly legacy: Pick<LegacyStore, "open" | "openSealed">
  readonly files: StoreFiles
  readonly target: CopyTarget
}

/**
 * The bytes of a legacy backup that go to the place of the copies. It has no checksum of its own, and nothing in it says which
 * one it is; its row may have been made anew from another one that was given its name. So it takes the place of no copy that
 * opens and holds another one, and of none at all where it is not proved to be the one that was entered. What does not open
 * there, rotten or sealed with another key, is kept beside it.
 * @returns a fault where it must not
 * @throws {Fault} as LegacyStore.open, StoreFiles, CopyTarget, Catalog
 */
export async function legacyToCopy(backupId: string, parts: Parts): Promise<Buffer | Fault> {
  const { catalog, legacy, files, target } = parts
  await legacy.open(backupId, null).catch(unlessLocked)
  const bytes = await files.read(backupId)
  if (!bytes) return new Fault("backup_missing", `${backupId} is gone.`)
  const theirs = await target.get(backupId)
  if (theirs === null || theirs.equals(bytes)) return bytes
  // Of these bytes: another file may stand there since.
  const plain = (await legacy.openSealed(bytes))?.plain ?? null
  const doubt = await doubtOf(backupId, plain, catalog)
  if (doubt) return left(`${doubt}, and the copy at ${target.name} is another one`)
  const copy = await legacy.openSealed(theirs)
  if (copy && plain?.equals(copy.plain) === false) {
    return left(
      `${backupId} opens, and its copy at ${target.name} opens, too, and holds another backup`,
      " config-manager open shows what each holds; move the wrong one away.",
    )
  }
  if (!copy) await target.put(await asideOf(backupId, theirs, (name) => target.get(name)), theirs)
  return bytes
}

/** Why a file is not known to be the backup that it is named as; null: it is. */
export async function doubtOf(
  backupId: string,
  plain: Buffer | null,
  catalog: Parts["catalog"],
): Promise<string | null> {
  if (plain === null) return `No loaded key opens ${backupId}`
  const digest = (await catalog.getVersion(backupId))?.digest ?? null
  const entered = await enteredAs(catalog, { backupId, digest })
  if (isUnproved(entered)) return `${backupId} is not known to be the backup that was entered`
  return isAsEntered(plain, entered) ? null : `${backupId} is not the backup that was entered`
}

function left(why: string, wayOut = ""): Fault {
  return new Fault("backup_corrupt", `${why}: it is left as it is.${wayOut}`)
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
  const aside = await asideOf(backupId, standing, (name) => files.read(name))
  await files.write(aside, standing)
  await files.write(backupId, copy)
  return aside
}

/** A name of its own: what was put aside before may stand nowhere else, as that of one which changed places with another. */
async function asideOf(
  backupId: string,
  standing: Buffer,
  read: (name: string) => Promise<Buffer | null>,
): Promise<string> {
  for (let name = `${backupId}.damaged`, copy = 2; ; name = `${backupId}.${copy}.damaged`, copy += 1) {
    const there = await read(name)
    if (there === null || there.equals(standing)) return name
  }
}

function unlessLocked(error: unknown): null {
  if (isFault(error, "backup_key_unavailable")) return null
  throw error
}
