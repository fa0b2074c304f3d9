import { digestOf } from "../domain/digest.ts"
import { isFault } from "../domain/fault.ts"
import type { Journal, OpenOperation } from "../domain/operation.ts"
import type { RemoteFile, Seen, Session, SwapReport } from "../domain/transport.ts"

/**
 * What stands on the VM, held against what a push was to do:
 * `applied` the new bytes with their mode and owner; `not_applied` what stood there before; `wrong_attributes` the new bytes
 * with another mode or owner; `edited_before` the new bytes, put in place of somebody else's edit; `neither` anything else.
 */
export type Verdict = "applied" | "not_applied" | "edited_before" | "wrong_attributes" | "neither"

/**
 * Reads what stands at the live path and under the second name. The staging file goes first: a rename that is still under
 * way somewhere finds nothing then, so that what is read here is final (DESIGN 3.2).
 */
export async function look(session: Session, journal: Journal): Promise<SwapReport> {
  await session.remove([journal.stagingPath])
  return lookAt(session, journal)
}

/** The same while the staging file may hold the old bytes on their way back: what is read here may change yet. */
export async function lookAt(session: Session, journal: Journal): Promise<SwapReport> {
  const live = await see(session, journal, journal.path)
  return { live, old: await see(session, journal, journal.oldPath) }
}

/** What stands at `path`, one of the journal's. */
export async function see(session: Session, { maxBytes }: Journal, path: string): Promise<Seen> {
  try {
    return await session.read(path, { maxBytes, followSymlinks: false })
  } catch (error) {
    if (isFault(error, "not_a_regular_file", "remote_file_too_large")) return "odd"
    throw error
  }
}

/** Whether the rename was not sent yet, as far as the journal knows. */
export function isEarly({ journal: { phase } }: OpenOperation): boolean {
  return phase === "prepared" || phase === "kept"
}

/** Whether the new bytes stand at the live path; of a change of mode or owner alone it is these that tell. */
export async function isInPlace(session: Session, { operation, journal }: OpenOperation): Promise<boolean> {
  const live = await see(session, journal, journal.path)
  if (live === null || live === "odd" || digestOf(live.bytes) !== operation.digest) return false
  return operation.digest !== operation.previousDigest || (hasAttributes(live, journal) && !isBefore(live, journal))
}

/**
 * Whether a rename that was refused may have been done: what stands there is the new bytes, or is not what stood before, which
 * somebody may have written over either.
 */
export async function mayHaveReplaced(session: Session, open: OpenOperation): Promise<boolean> {
  const { operation, journal } = open
  if (await isInPlace(session, open)) return true
  // Nothing stood there that could tell: of a rename that was not done the staging file is left.
  if (operation.previousDigest === null) return !(await session.exists(journal.stagingPath))
  const live = await see(session, journal, journal.path)
  // Something that is no file keeps a rename out by itself, unless what stood before is seen to have another name by then.
  if (live === "odd") {
    const old = await see(session, journal, journal.oldPath)
    return old !== null && old !== "odd"
  }
  return live === null || digestOf(live.bytes) !== operation.previousDigest
}

/**
 * Whether what was to be put in place may be all that stood before, its owner too where that could not be given: then only a
 * staging file that is gone shows that it was.
 */
export function isAlike({ operation, journal: { before, mode, uid } }: OpenOperation): boolean {
  return operation.digest === operation.previousDigest && uid === null && before?.mode === mode
}

/** @param isRenamed whether the rename is known to have been done, whatever stands there */
export function judge(open: OpenOperation, { live, old }: SwapReport, isRenamed = false): Verdict {
  const { operation, journal } = open
  if (live === null) return operation.previousDigest === null ? "not_applied" : "neither"
  if (live === "odd") return "neither"
  const digest = digestOf(live.bytes)
  const isNew = digest === operation.digest
  if (isNew && hasAttributes(live, journal)) {
    if (isEdit(open, old) && !isWanted(open, old)) return "edited_before"
    if (journal.phase === "rolling_back") return "wrong_attributes"
    return isAlike(open) && isBefore(live, journal) && !isRenamed ? "not_applied" : "applied"
  }
  // A restore may change mode or owner alone: then they tell what the bytes cannot.
  if (digest === operation.previousDigest && (!isNew || isBefore(live, journal))) return "not_applied"
  if (!isNew || digest === operation.previousDigest) return "neither"
  return isEdit(open, old) ? "edited_before" : "wrong_attributes"
}

/** Whether the second name holds something else than what was read before: bytes, mode or owner were edited before the rename. */
function isEdit({ operation, journal }: OpenOperation, old: Seen): boolean {
  if (old === null || old === "odd") return old === "odd"
  return digestOf(old.bytes) !== operation.previousDigest || (journal.before !== null && !isBefore(old, journal))
}

/**
 * Whether the second name holds what the push was to put in place: somebody else did so just before, or the VM made the name
 * after the rename. Nothing is to be given back; and of one file with two names a rename would leave both.
 */
function isWanted({ operation, journal }: OpenOperation, seen: Seen): boolean {
  return seen !== null && seen !== "odd" && digestOf(seen.bytes) === operation.digest && hasAttributes(seen, journal)
}

function hasAttributes(live: RemoteFile, { mode, uid, gid }: Journal): boolean {
  return live.mode === mode && (uid === null || (live.uid === uid && live.gid === gid))
}

function isBefore(live: RemoteFile, { before }: Journal): boolean {
  return before !== null && live.mode === before.mode && live.uid === before.uid && live.gid === before.gid
}
