import type { Catalog } from "../domain/catalog.ts"
import { digestOf } from "../domain/digest.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import { Fault } from "../domain/fault.ts"
import type { OpenOperation, Operation } from "../domain/operation.ts"
import type { Seen, Session } from "../domain/transport.ts"
import { see } from "./verdict.ts"
import { type Standing, standingOf, standsFor, type VersionKeeper } from "./version-keeper.ts"

interface Parts {
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly failpoint: Failpoint
}

/** What stands under the two names of a push, and may stand nowhere else: it becomes a version before its name goes. */
export class ReplacedFiles {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Removes the second name of an operation that has ended, if it came late. The config's lock is held. @throws {Fault} */
  async removeLate(session: Session, open: OpenOperation): Promise<void> {
    await this.removeOld(session, open, await see(session, open.journal, open.journal.oldPath))
  }

  /**
   * The rename that took a created file away again came late, a second time: what it took away is somebody else's. It goes back,
   * or, where something stands there by now, becomes a version. The config's lock is held. @throws {Fault}
   */
  async giveBackLate(session: Session, open: OpenOperation): Promise<void> {
    const { path, stagingPath } = open.journal
    const taken = await see(session, open.journal, stagingPath)
    if (taken === null) return
    if (!(await session.exists(path))) return session.rename(stagingPath, path)
    if (taken === "odd") return
    await this.#keepFound(open, standingOf(taken))
    await session.remove([stagingPath])
  }

  /**
   * Removes the second name. What stands under it is what stood before, and kept; where it is an edit that somebody made in
   * the last moment, it may stand nowhere else, so it becomes a version first. Something odd is left where it is.
   */
  async removeOld(session: Session, open: OpenOperation, old: Seen): Promise<void> {
    if (old === "odd") return
    if (old !== null && digestOf(old.bytes) !== open.operation.previousDigest)
      await this.#keepFound(open, standingOf(old))
    await session.remove([open.journal.oldPath])
    await this.#parts.failpoint("old_removed")
  }

  /**
   * What a rollback replaced stands under the name of the staging file: the new bytes, or what somebody made of them after our
   * last look. The latter may stand nowhere else, so it becomes a version before that name goes.
   * @returns whether it shows that something was put back
   */
  async keepReplaced(session: Session, open: OpenOperation): Promise<boolean> {
    const { digest, previousDigest } = open.operation
    const replaced = await see(session, open.journal, open.journal.stagingPath)
    if (replaced === null || replaced === "odd") return false
    const standing = standingOf(replaced)
    // The old bytes on their way back, where no second name holds them.
    if (standing.digest === previousDigest) return false
    if (standing.digest !== digest) await this.#keepFound(open, standing)
    return true
  }

  /** The bytes that stood there before, out of their version. @throws {Fault} as BlobStore.open */
  async openVersion(operation: Operation): Promise<Standing> {
    if (operation.backupId === null) throw new Fault("backup_missing", "No version of the old bytes was kept.")
    const { header, bytes } = await this.#parts.keeper.blobs.open({ ...operation, backupId: operation.backupId })
    return standingOf({ bytes, mode: header.mode, uid: header.uid, gid: header.gid })
  }

  async #keepFound({ operation, journal }: OpenOperation, standing: Standing): Promise<void> {
    const { keeper, catalog } = this.#parts
    const newest = await catalog.newestVersion(operation)
    if (standsFor(newest, standing)) return
    const { operationId, vmId, type, actor, reason } = operation
    const origin = { ref: { vmId, type }, path: journal.path, operationId, actor, reason }
    const found = keeper.planFound(origin, standing, newest, false)
    await keeper.put([found])
    await catalog.changeOperation(operationId, {}, { add: [found.row] })
  }
}
