import type { BlobStore } from "../domain/blob-store.ts"
import type { Catalog, ExpiredVersions } from "../domain/catalog.ts"
import { keyOf } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import { soughtAtStart, soughtNotesFact, soughtNow } from "../domain/notes.ts"
import { cutoffOf, dayMs, endOf, isGuarded, isHollow, leastRetentionDays } from "../domain/retention.ts"
import type { Version } from "../domain/version.ts"
import { unknownBackup } from "./backups.ts"
import type { ConfigLocks } from "./config-locks.ts"
import { isInSettings } from "./departures.ts"
import { lookAtNewest } from "./newest-look.ts"
import type { RetentionClock } from "./retention-clock.ts"
import type { Turns } from "./turns.ts"
import type { Copies, Verifier } from "./verifier.ts"
import type { VersionNotes } from "./version-notes.ts"

export interface PurgeOptions {
  /** Says what would go; nothing goes, and nothing is guarded. */
  readonly dryRun: boolean
  /** Also where more than half of all versions would go. */
  readonly force: boolean
}

export interface PurgeReport {
  /** Ids of what went, or would go, oldest first. */
  readonly removed: readonly string[]
  /** How many versions are left. */
  readonly kept: number
}

interface Parts {
  readonly catalog: Catalog
  readonly blobs: BlobStore
  readonly legacy: LegacyStore
  readonly inventory: () => Inventory
  readonly locks: ConfigLocks
  readonly versionNotes: VersionNotes
  readonly verifier: Pick<Verifier, "look">
  /** null: there are none. */
  readonly copies: Copies | null
  readonly retentionClock: RetentionClock
  readonly retentionDays: () => number
  /** Aborts when the service ends: what was not begun is left for the next purge. */
  readonly stopping: AbortSignal
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
  /** Told when versions were removed. */
  readonly onRemoved: () => void
  readonly turns: Turns
}

type Expired = ExpiredVersions["versions"][number]

/** What one purge removes at most; the next goes on. */
export const mostPurged = 10_000
/** Rows of one transaction: it must not hold others up. */
const rowsTogether = 100
/** How long notes that were lost here, or may be earlier ones, are sought at the place of the copies: what they pin stays so long. */
const mostSoughtDays = 30
/** Blobs that are removed at the same time. */
const blobsTogether = 8

/** Lets versions go whose time is over, and refuses to let others go (API 4). */
export class Retention {
  readonly #parts: Parts
  #held: string | null = null
  /** One purge at a time. */
  #purging: Promise<unknown> = Promise.resolve()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Removes versions that may go, oldest first: rows, then blobs; at most `mostPurged`.
   * @throws {Fault} `purge_guard` where more than half of all would go, or what is pinned is not known, and it is not forced
   */
  purge(options: PurgeOptions): Promise<PurgeReport> {
    const done = this.#purging.then(() => this.#purge(options))
    this.#purging = done.catch(() => undefined)
    return done
  }

  /** The purge that nobody asks for: held back by the guard it removes nothing, and `health` says so. @throws {Fault} as Catalog */
  async purgeUnasked(): Promise<PurgeReport | null> {
    try {
      return await this.purge({ dryRun: false, force: false })
    } catch (error) {
      if (error instanceof Fault && error.code === "purge_guard") return null
      throw error
    }
  }

  /**
   * Removes one version, row and then blob.
   * @throws {Fault} `backup_not_found`, `backup_protected`, `operation_in_doubt`; those of BlobStore.remove once its row is gone
   */
  async remove(backupId: string, signal: AbortSignal): Promise<void> {
    const { catalog, locks, turns, versionNotes } = this.#parts
    const version = await catalog.getVersion(backupId)
    if (!version) throw unknownBackup(backupId)
    await versionNotes.ready()
    // A push that is under way may rely on the newest version of its config.
    const release = await locks.acquire(version, signal)
    try {
      await this.#requireUnprotected(backupId)
      if (!(await lookAtNewest(version, this.#parts))) throw notSeen(version)
      await turns.take(async () => {
        await this.#requireUnprotected(backupId)
        await catalog.removeVersions([backupId])
      })
    } finally {
      release()
    }
    const [problem] = await this.#removeBlobs([version])
    if (problem !== undefined) throw stillStanding(backupId, problem)
  }

  /** How things stand with the purge that nobody asks for. */
  health(): { readonly ok: boolean; readonly detail: string } {
    if (this.#held !== null) return { ok: false, detail: this.#held }
    return { ok: true, detail: "No purge is held back." }
  }

  async #purge({ dryRun, force }: PurgeOptions): Promise<PurgeReport> {
    const { catalog, versionNotes, retentionClock, retentionDays, turns } = this.#parts
    await versionNotes.ready()
    const cutoff = cutoffOf(await retentionClock.now(), retentionDays())
    if (!dryRun) {
      await turns.take(async () => {
        await versionNotes.noteReturns()
        await this.#dateSearch()
      })
    }
    const { versions, total } = await catalog.expiredVersions(cutoff, dryRun ? mostPurged : 1)
    const { versions: all } = await catalog.totals()
    if (dryRun) return { removed: idsOf(versions), kept: all - versions.length }
    const why = isGuarded(total, all) ? heldBack(total, all) : await this.#pinsUnknown()
    this.#held = force || total === 0 ? null : why
    if (this.#held !== null) throw new Fault("purge_guard", this.#held)
    const removed = await this.#removeAll(cutoff)
    return { removed, kept: (await catalog.totals()).versions }
  }

  /** @returns why it is not known what is pinned, in a sentence; null: it is, or was sought for long enough */
  async #pinsUnknown(): Promise<string | null> {
    const { catalog, copies, retentionClock } = this.#parts
    if (copies === null) return null
    const sought = await catalog.fact(soughtNotesFact)
    if (!sought) return null
    const soughtMs = (await retentionClock.now()).getTime() - Date.parse(sought)
    return soughtMs > mostSoughtDays * dayMs ? null : soughtAt(copies.target.name)
  }

  /** The caller has the turn: a search that ended meanwhile must not begin again. */
  async #dateSearch(): Promise<void> {
    const { catalog, retentionClock } = this.#parts
    const sought = await catalog.fact(soughtNotesFact)
    if (sought !== soughtNow && sought !== soughtAtStart) return
    await catalog.setFact(soughtNotesFact, (await retentionClock.now()).toISOString())
  }

  async #removeAll(cutoff: string): Promise<readonly string[]> {
    const removed: string[] = []
    /** By config, whether the store could be asked for what its versions go because of. */
    const seen = new Map<string, boolean>()
    while (!this.#parts.stopping.aborted) {
      const { going, unseen } = await this.#removeRows(
        cutoff,
        Math.min(rowsTogether, mostPurged - removed.length),
        seen,
      )
      if (going.length === 0 && unseen.length === 0) break
      removed.push(...idsOf(going))
      this.#tellLeft(await this.#removeBlobs(going))
      for (const ref of unseen) seen.set(keyOf(ref), seen.get(keyOf(ref)) ?? (await lookAtNewest(ref, this.#parts)))
    }
    return removed
  }

  /**
   * Looks again for each batch: what was pinned meanwhile, or came back into the settings, is none of it; nor is what lost its
   * place meanwhile, by a clock that was set back.
   * @returns with `unseen` those that may go once the newest of their config was looked at
   */
  #removeRows(cutoff: string, most: number, seen: ReadonlyMap<string, boolean>) {
    const { catalog, inventory, turns, retentionClock, retentionDays } = this.#parts
    return turns.take(async () => {
      const now = cutoffOf(await retentionClock.now(), retentionDays())
      const { versions } = await catalog.expiredVersions(now < cutoff ? now : cutoff, most, "uncounted")
      const due = versions.filter((each) => each.supersededAt !== null || !isInSettings(inventory(), each))
      const going = due.filter((each) => seen.get(keyOf(each)))
      if (going.length > 0) await catalog.removeVersions(idsOf(going))
      return { going, unseen: due.filter((each) => !seen.has(keyOf(each))) }
    })
  }

  /** A blob that stays is entered as a version again by the next start, and goes then. @returns why each of those stays */
  async #removeBlobs(versions: readonly Expired[]): Promise<readonly unknown[]> {
    const left = [...versions]
    const problems: unknown[] = []
    const work = async (): Promise<void> => {
      for (let next = left.shift(); next; next = left.shift()) {
        await this.#removeBlob(next).catch((error: unknown) => problems.push(error))
      }
    }
    await Promise.all(Array.from({ length: blobsTogether }, work))
    this.#parts.onRemoved()
    return problems
  }

  #tellLeft(problems: readonly unknown[]): void {
    if (problems.length === 0) return
    const text = `the files of ${problems.length} removed backups could not be removed, and are listed again after the next start`
    this.#parts.onProblem(text, problems[0])
  }

  #removeBlob(version: Expired): Promise<void> {
    const { blobs, legacy } = this.#parts
    return version.format === "legacy" ? legacy.remove(version.backupId) : blobs.remove(version)
  }

  async #requireUnprotected(backupId: string): Promise<void> {
    const { catalog, inventory, retentionClock } = this.#parts
    const version = await catalog.getVersion(backupId)
    if (!version) throw unknownBackup(backupId)
    const later = (await catalog.versionsOf(version)).filter(({ validFrom }) => validFrom > version.validFrom)
    const stands = later.every(isHollow)
    const { vmId, type, pinned, supersededAt } = version
    if (pinned) throw protectedBy(version, "it is pinned. Unpin it first: PATCH it with pinned: false")
    if (stands && isInSettings(inventory(), version)) {
      const what = supersededAt === null ? "the newest of" : "the newest with content of"
      const since =
        supersededAt === null
          ? ""
          : ", whose file was only found empty since, or of which all later versions cannot be had"
      throw protectedBy(
        version,
        `it is ${what} ${vmId}/${type}${since}: it goes once another has taken its place for long`,
      )
    }
    const unknown = await this.#pinsUnknown()
    if (unknown !== null) throw protectedBy(version, `it may be pinned. ${unknown}`)
    const departures = await catalog.departures()
    const departure = departures.find((each) => each.vmId === vmId && each.type === type)
    const now = await retentionClock.now()
    const end = endOf(version, departure?.leftAt ?? null, later)
    if (end !== null && end <= cutoffOf(now, leastRetentionDays)) return
    const since = stands ? "its config left the settings" : "other bytes took its place"
    const until = untilWhen(end === null ? now : new Date(end), this.#parts.retentionClock.lagMs())
    throw protectedBy(version, `${since} less than ${leastRetentionDays} days ago. It is kept until ${until}`)
  }
}

/** @param lagMs how far the believed time is behind the wall clock */
function untilWhen(end: Date, lagMs: number): string {
  const until = new Date(end.getTime() + leastRetentionDays * dayMs).toISOString()
  const days = Math.floor(lagMs / dayMs)
  if (days === 0) return until
  return (
    `${until} in the time that retention goes by, which is ${days} days behind this machine's clock: the service did not run then, ` +
    "or the clock was set, or the catalog was lost that knew. It catches up after 90 days of running"
  )
}

function protectedBy({ backupId }: Version, why: string): Fault {
  return new Fault("backup_protected", `Backup ${backupId} stays: ${why}.`)
}

function stillStanding(backupId: string, problem: unknown): unknown {
  if (!(problem instanceof Fault)) return problem
  const text =
    `Backup ${backupId} is in no list any more, but its file could not be removed: where it stands at the next start it is ` +
    `listed again, and can be removed then. ${problem.message}`
  return new Fault(problem.code, text, { cause: problem })
}

function notSeen({ vmId, type }: Version): Fault {
  const text = `The backups of ${vmId}/${type} cannot be looked at now, and nothing of them goes: try again later.`
  return new Fault("backup_storage_unavailable", text)
}

function heldBack(going: number, all: number): string {
  return (
    `The purge would remove ${going} of ${all} backups, more than half; nothing was removed. Look at ` +
    "POST /backups/purge?dryRun=true and at this machine's clock, then send POST /backups/purge?force=true where it is meant so."
  )
}

function soughtAt(place: string): string {
  return (
    `notes.jsonl was lost with the catalog, or may be older than its copy at ${place}: what is pinned may be known to that alone, ` +
    `which could not be read since the start. Until then, or for ${mostSoughtDays} days, nothing is removed. POST /backups/purge?force=true does not wait.`
  )
}

function idsOf(versions: readonly Pick<Version, "backupId">[]): readonly string[] {
  return versions.map(({ backupId }) => backupId)
}
