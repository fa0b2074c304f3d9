import type { Catalog, OperationChange, VersionChanges } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { digestOf } from "../domain/digest.ts"
import { Fault, type FileState, isFault } from "../domain/fault.ts"
import type { Journal, OpenOperation, Operation, Phase, Stage } from "../domain/operation.ts"
import type { ReadOptions, RemoteFile, Session, SwapReport } from "../domain/transport.ts"
import { problemOf, type StatusOf } from "./attempt.ts"
import type { Standing, VersionKeeper } from "./version-keeper.ts"

/** How a push ended: its bytes stand there, or they do not and this is why. */
export type Settled = { readonly applied: true } | { readonly applied: false; readonly fault: Fault }

/** Told of each operation that ends. */
export type OperationObserver = (operation: Operation, fault: Fault | null) => void

/** What stood on the VM before, where this process still knows it; a later process opens the version instead. */
export type Before = Standing | null

/** What the process that began the push still knows of it. */
export interface Known {
  readonly before: Before
  readonly stages: readonly Stage[]
  /** Why it ended before the rename was sent. */
  readonly fault?: Fault
  /** Opens the config to others again, the moment its end is durable. */
  readonly release?: () => void
}

type Verdict = "applied" | "not_applied" | "edited_before" | "wrong_attributes" | "neither"

interface Parts {
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly clock: Clock
  readonly statusOf: StatusOf
  readonly observe: OperationObserver
}

/**
 * The last steps of a push, from what is seen on the VM after the rename may have been sent (DESIGN 3.2, steps 9 and 11,
 * rollback, unknown outcome). The push itself and the recovery of a lost one take the same road.
 */
export class Settlement {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Looks at what stands on the VM and brings the operation to its end.
   * @param seen what the swap itself read back; null: find out, the staging file first (a rename still under way finds nothing then)
   * @throws {Fault} when the VM does not answer or the rollback fails: the outcome is still open, the journal too
   */
  async settle(
    session: Session,
    open: OpenOperation,
    options: ReadOptions,
    seen: SwapReport | null,
    known: Known,
  ): Promise<Settled> {
    const found = seen ?? (await look(session, open.journal, options))
    switch (judge(open, found)) {
      case "applied":
        await session.remove([open.journal.oldPath])
        return this.#succeed(open, known)
      case "not_applied":
        await session.remove([open.journal.oldPath])
        return open.journal.phase === "rolling_back"
          ? this.fail(open, "rolled_back", takenBack(), known)
          : this.fail(open, "unchanged", notApplied(), known)
      case "edited_before":
        return this.#giveBackTheEdit(session, open, options, found, known)
      case "wrong_attributes":
        return this.#rollBack(session, open, options, found, known)
      case "neither":
        await session.remove([open.journal.oldPath])
        return this.fail(open, "unknown", edited("after the new bytes were put in place"), known)
    }
  }

  /** Ends an operation whose bytes do not stand on the VM: the version made for them goes, row before blob. */
  async fail(open: OpenOperation, fileState: FileState, fault: Fault, known: Known): Promise<Settled> {
    const { operation, journal } = open
    // Bytes that stood before and now stand nowhere are kept even where the caller wanted no version.
    const keepsFound = journal.keepVersions || fileState === "unknown"
    const gone = [journal.madeWrittenId, keepsFound ? null : journal.madeFoundId].filter((id) => id !== null)
    const found =
      journal.phase !== "prepared" && operation.backupId === journal.madeFoundId ? journal.madeFoundId : null
    const show = keepsFound && !journal.keepVersions && found !== null ? [found] : []
    const backupId = gone.includes(operation.backupId ?? "") ? null : operation.backupId
    const told = fault.with({ fileState, operationId: operation.operationId, backupId })
    const state = fileState === "rolled_back" ? "rolled_back" : "failed"
    const problem = problemOf(told, this.#parts.statusOf)
    const change = { state, fileState, problem, backupId, versionId: null } as const
    await this.#end(open, change, { show, remove: gone }, told, known)
    await this.#parts.keeper.dropBlobs(operation, gone)
    return { applied: false, fault: told }
  }

  async #succeed(open: OpenOperation, known: Known): Promise<Settled> {
    const { operation, journal } = open
    const gone = journal.keepVersions || journal.madeFoundId === null ? [] : [journal.madeFoundId]
    const show = journal.madeWrittenId === null ? [] : [journal.madeWrittenId]
    const backupId = journal.keepVersions ? operation.backupId : null
    const versionId = journal.madeWrittenId
    const change = { state: "succeeded", fileState: "written", problem: null, backupId, versionId } as const
    await this.#end(open, change, { show, remove: gone }, null, known)
    await this.#parts.keeper.dropBlobs(operation, gone)
    return { applied: true }
  }

  async #end(
    open: OpenOperation,
    change: Omit<OperationChange, "phase">,
    versions: VersionChanges,
    fault: Fault | null,
    known: Known,
  ): Promise<void> {
    const { operation } = open
    const ended = { ...change, stages: known.stages, finishedAt: this.#parts.clock().toISOString() }
    await this.#parts.catalog.changeOperation(operation.operationId, { ...ended, phase: "done" }, versions)
    known.release?.()
    this.#parts.observe({ ...operation, ...ended }, fault)
  }

  /** Somebody edited the file between our last look and the rename: their bytes, now under the second name, go back. */
  async #giveBackTheEdit(
    session: Session,
    open: OpenOperation,
    options: ReadOptions,
    found: SwapReport,
    known: Known,
  ): Promise<Settled> {
    await this.#enter(open, "rolling_back")
    await session.rename(open.journal.oldPath, open.journal.path)
    const live = await session.read(open.journal.path, options)
    if (!live || !found.old || !live.bytes.equals(found.old.bytes)) {
      return this.fail(open, "unknown", edited("while it was being replaced"), known)
    }
    return this.fail(open, "rolled_back", edited("just before the new bytes were put in place"), known)
  }

  async #rollBack(
    session: Session,
    open: OpenOperation,
    options: ReadOptions,
    found: SwapReport,
    known: Known,
  ): Promise<Settled> {
    const rollingBack = await this.#enter(open, "rolling_back")
    try {
      await this.#putBack(session, rollingBack, found, known.before)
      const again = await look(session, open.journal, options)
      if (judge(rollingBack, again) !== "not_applied") throw new Error("the old bytes were not read back")
    } catch (cause) {
      if (session.dead) throw cause
      throw new Fault(
        "rollback_failed",
        "The new file could not be given its mode and owner, and the old one could not be put back; this is tried again until it works.",
        { cause, fileState: "written" },
      )
    }
    await session.remove([open.journal.oldPath])
    return this.fail(rollingBack, "rolled_back", takenBack(), known)
  }

  async #putBack(session: Session, open: OpenOperation, found: SwapReport, before: Before): Promise<void> {
    const { operation, journal } = open
    if (operation.previousDigest === null) {
      await session.remove([journal.path])
      return session.syncDirectory(journal.path)
    }
    if (found.old) return session.rename(journal.oldPath, journal.path)
    const old = before ?? (await this.#openVersion(operation))
    const { uid, gid } = old
    await session.stage(journal.stagingPath, { bytes: old.bytes, mode: old.mode, owner: { uid, gid }, keepOwner: true })
    return session.rename(journal.stagingPath, journal.path)
  }

  async #openVersion(operation: Operation): Promise<Standing> {
    if (operation.backupId === null) throw new Fault("backup_missing", "No version of the old bytes was kept.")
    const { header, bytes } = await this.#parts.keeper.blobs.open({ ...operation, backupId: operation.backupId })
    return { bytes, digest: digestOf(bytes), mode: header.mode, uid: header.uid, gid: header.gid }
  }

  async #enter(open: OpenOperation, phase: Phase): Promise<OpenOperation> {
    await this.#parts.catalog.changeOperation(open.operation.operationId, { phase })
    return { operation: open.operation, journal: { ...open.journal, phase } }
  }
}

/** What stands at the live path and under the second name. Something that is no regular file of ours counts as neither. */
async function look(session: Session, journal: Journal, options: ReadOptions): Promise<SwapReport> {
  await session.remove([journal.stagingPath])
  const read = async (path: string): Promise<RemoteFile | null> => {
    try {
      return await session.read(path, { ...options, followSymlinks: false })
    } catch (error) {
      if (isFault(error, "not_a_regular_file", "remote_file_too_large")) return null
      throw error
    }
  }
  return { live: await read(journal.path), old: await read(journal.oldPath) }
}

function judge({ operation, journal }: OpenOperation, { live, old }: SwapReport): Verdict {
  const liveDigest = live && digestOf(live.bytes)
  const isNew = live !== null && liveDigest === operation.digest
  const attributesFit = live !== null && fits(live, journal)
  if (isNew && operation.digest === operation.previousDigest && !attributesFit) return "not_applied"
  if (!isNew) return liveDigest === operation.previousDigest ? "not_applied" : "neither"
  if (old && digestOf(old.bytes) !== operation.previousDigest) return "edited_before"
  return attributesFit && journal.phase !== "rolling_back" ? "applied" : "wrong_attributes"
}

function fits(live: RemoteFile, journal: Journal): boolean {
  const ownerFits = journal.uid === null || (live.uid === journal.uid && live.gid === journal.gid)
  return live.mode === journal.mode && ownerFits
}

function notApplied(): Fault {
  return new Fault(
    "connection_lost",
    "The connection to the VM was lost before the new bytes were in place; the file is as it was.",
  )
}

function takenBack(): Fault {
  return new Fault(
    "write_failed",
    "The file was not as it should be after it was put in place (bytes, mode and owner); the old one was put back.",
  )
}

function edited(when: string): Fault {
  return new Fault(
    "concurrent_modification",
    `Somebody else changed the file on the VM ${when}; what they wrote was left in place.`,
  )
}
