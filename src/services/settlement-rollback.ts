import type { Catalog } from "../domain/catalog.ts"
import { digestOf } from "../domain/digest.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import { type Fault, type FileState, isFault } from "../domain/fault.ts"
import type { Journal, OpenOperation } from "../domain/operation.ts"
import type { Seen, Session, SwapReport } from "../domain/transport.ts"
import type { ReplacedFiles } from "./replaced-files.ts"
import type { Known } from "./settlement.ts"
import { edited, neither, oldOnesGone, rollbackFailed, takenBack } from "./settlement-faults.ts"
import { isInPlace, judge, look, see } from "./verdict.ts"

interface Parts {
  readonly catalog: Catalog
  readonly failpoint: Failpoint
  readonly replaced: ReplacedFiles
}

/** How a push ended that was to be taken back. */
export interface Undone {
  readonly fileState: FileState
  readonly fault: Fault
}

/** Takes a push back whose rename was done (DESIGN 3.2, rollback). */
export class Rollback {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Somebody edited the file between our last look and the rename: their file, now under the second name, goes back. */
  async giveBackTheEdit(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<Undone> {
    const rollingBack = await this.#enter(open)
    const { journal } = rollingBack
    if (!(await stillStands(session, rollingBack, found))) return this.#leave(session, rollingBack, known)
    await session.rename(journal.oldPath, journal.path, journal.stagingPath)
    await this.#parts.failpoint("put_back")
    await this.#parts.replaced.keepReplaced(session, rollingBack, known)
    const { live, old } = await look(session, journal)
    // Of one file with two names a rename leaves both.
    if (old !== null) await this.#parts.replaced.removeOld(session, rollingBack, old, known)
    if (isSame(live, found.old)) return { fileState: "rolled_back", fault: edited() }
    return { fileState: "unknown", fault: neither() }
  }

  /** The new bytes stand there with another mode or owner than they were to have: the old ones go back. */
  async rollBack(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<Undone> {
    const rollingBack = await this.#enter(open)
    if (!(await stillStands(session, rollingBack, found))) return this.#leave(session, rollingBack, known)
    const { replaced, failpoint } = this.#parts
    try {
      if (!(await this.#putBack(session, rollingBack, found, known)))
        return await this.#leave(session, rollingBack, known)
      await failpoint("put_back")
      await replaced.keepReplaced(session, rollingBack, known)
      const again = await look(session, open.journal)
      if (judge(rollingBack, again) !== "not_applied") throw new Error("the old bytes were not read back")
      await replaced.removeOld(session, rollingBack, again.old, known)
    } catch (cause) {
      if (session.dead) throw cause
      if (isFault(cause, "backup_missing", "backup_corrupt")) return this.#giveUp(session, rollingBack, cause)
      throw rollbackFailed(cause, await isInPlace(session, open).catch(() => false))
    }
    return { fileState: "rolled_back", fault: takenBack() }
  }

  /** The old bytes can be had from nowhere: no later try can do better, and the config is not to be closed for good. */
  async #giveUp(session: Session, { journal }: OpenOperation, cause: Fault): Promise<Undone> {
    await session.remove([journal.stagingPath])
    return { fileState: "written", fault: oldOnesGone(cause) }
  }

  /** Somebody has written to what was to be taken back: that stays. */
  async #leave(session: Session, open: OpenOperation, known: Known): Promise<Undone> {
    await this.#parts.replaced.clearStaging(session, open, known)
    const old = await see(session, open.journal, open.journal.oldPath)
    await this.#parts.replaced.removeOld(session, open, old, known)
    return { fileState: "unknown", fault: neither() }
  }

  /** @returns false: somebody wrote to the file before anything was put back */
  async #putBack(session: Session, open: OpenOperation, found: SwapReport, known: Known): Promise<boolean> {
    const { operation, journal } = open
    if (operation.previousDigest === null) {
      await session.rename(journal.path, journal.stagingPath)
      return true
    }
    // What an earlier try left under that name would keep a rename from giving it to what is replaced now.
    if (found.old) await this.#parts.replaced.clearStaging(session, open, known)
    else await this.#stageOld(session, open, known)
    // Both took their time.
    if (!(await stillStands(session, open, found))) return false
    await session.rename(journal.oldPath, journal.path, journal.stagingPath)
    return true
  }

  /** Writes the old bytes down under the second name, which there was none of, or an earlier try has removed. */
  async #stageOld(session: Session, open: OpenOperation, known: Known): Promise<void> {
    const { operation, journal } = open
    const staged = await see(session, journal, journal.stagingPath)
    // A rename of an earlier try may still be under way, and would give the second name to what it finds: only a file that was
    // whole was ever renamed, so a whole one is used as it stands, and one that is not has no rename on its way.
    // It may also be all that is left of them.
    if (!isWhole(staged, open)) {
      const { bytes, mode, uid, gid } = known.before ?? (await this.#parts.replaced.openVersion(operation))
      await session.remove([journal.stagingPath])
      await session.stage(journal.stagingPath, { bytes, mode, owner: { uid, gid }, keepOwner: keepsOwner(journal) })
    }
    await session.rename(journal.stagingPath, journal.oldPath)
  }

  async #enter({ operation, journal }: OpenOperation): Promise<OpenOperation> {
    const phase = "rolling_back"
    await this.#parts.catalog.changeOperation(operation.operationId, { phase })
    await this.#parts.failpoint("rolling_back")
    return { operation, journal: { ...journal, phase } }
  }
}

/** Looked at right before anything is put back over it: what somebody writes meanwhile may stand nowhere else. */
async function stillStands(session: Session, { journal }: OpenOperation, found: SwapReport): Promise<boolean> {
  return isSame(await see(session, journal, journal.path), found.live)
}

/** Whether a staging file holds all of the old bytes, with their mode and owner. */
function isWhole(staged: Seen, { operation, journal }: OpenOperation): boolean {
  const { before } = journal
  if (staged === null || staged === "odd" || before === null) return false
  const isOwned = !keepsOwner(journal) || (staged.uid === before.uid && staged.gid === before.gid)
  return digestOf(staged.bytes) === operation.previousDigest && staged.mode === before.mode && isOwned
}

/** Where the new file could do without the owner (`keep_owner: false`), the old one on its way back can. */
function keepsOwner({ uid }: Journal): boolean {
  return uid !== null
}

function isSame(a: Seen, b: Seen): boolean {
  if (a === null || b === null || a === "odd" || b === "odd") return a === b
  return a.bytes.equals(b.bytes)
}
