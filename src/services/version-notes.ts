import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { keyOf } from "../domain/config-type.ts"
import { isFault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import {
  type DepartureNote,
  joinedNotes,
  type Note,
  type Notes,
  parseSalvaged,
  type SalvagedAnnotation,
  salvagedFact,
  stateOf,
  type VersionNote,
  withoutCopies,
} from "../domain/notes.ts"
import type { ImportedVersion } from "../domain/version.ts"
import { unknownBackup } from "./backups.ts"
import { inBatches } from "./batches.ts"
import { applyDepartures, bothWays, isInSettings } from "./departures.ts"
import { endSearch, lookForLoss, lookForRot } from "./note-search.ts"
import { NoteTimes } from "./note-times.ts"
import { clearedNotes, noteLast, noteSalvaged, notesBeyond, undoneBy } from "./notes-beyond.ts"
import { NotesHealth } from "./notes-health.ts"
import { noteFound } from "./retention-clock.ts"
import type { Turns } from "./turns.ts"

/** Members left out stay as they are. */
export interface Annotation {
  readonly pinned?: boolean
  readonly note?: string | null
}

interface Parts {
  readonly catalog: Catalog
  readonly notes: Notes
  readonly inventory: () => Inventory
  readonly clock: Clock
  /** Shared with the purge: nothing is pinned between its look and its deed. */
  readonly turns: Turns
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
}

/** Notes that say nothing any more are cleared away once there are more of them than this. */
const mostVoid = 1000
/** Versions that are put right at the same time: the catalog refuses what it cannot keep up with. */
const together = 1000

/**
 * What is known of versions and configs beside their blobs: pins, notes, and which configs have left the settings. Each is
 * noted durably beside the blobs first, then in the catalog; where a process ends in between, `applyNotes` goes on.
 */
export class VersionNotes {
  readonly #parts: Parts
  /** Whether the catalog says what the notes say. Where it may not, nothing is noted by what it says. */
  #applied = false
  /** How many were noted since they were applied. */
  #added = 0
  /** Whether it was looked whether notes were lost: once, for whatever is noted afterwards hides that they were. */
  #looked = false
  readonly #times = new NoteTimes()
  readonly #health = new NotesHealth()
  /** Configs that came back, while that could not be noted: where they leave again, the day on which they left before is no more. */
  readonly #back = new Set<string>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Resolves once the notes were applied in this process: what is pinned can be relied on then. @throws as `applyNotes` */
  async ready(): Promise<void> {
    if (!this.#applied) await this.applyNotes()
  }

  /** Whether they are applied, as far as is known; tried again where they could not be. */
  health(): ReturnType<NotesHealth["state"]> {
    return this.#health.state(() => this.applyNotes())
  }

  /** Pins or unpins a version, or changes its note. @throws {Fault} `backup_not_found`, as Notes.append, as Catalog */
  annotate(backupId: string, { pinned, note }: Annotation): Promise<void> {
    const { catalog } = this.#parts
    return this.#inTurn(async () => {
      const version = await catalog.getVersion(backupId)
      if (!version) throw unknownBackup(backupId)
      const change = {
        ...(pinned !== undefined && pinned !== version.pinned && { pinned }),
        ...(note !== undefined && note !== version.note && { note }),
      }
      if (Object.keys(change).length === 0) return
      const at = this.#now()
      const before = { at, backupId, pinned: version.pinned, note: version.note }
      await this.#keep([{ at, backupId, ...change }], () => catalog.annotateVersion(backupId, change), [before])
    })
  }

  /** Notes which configs that have versions left the settings since it was last looked at, and which came back. @returns how many did */
  takeStock(): Promise<number> {
    const { catalog } = this.#parts
    return this.#inTurn(async () => {
      const gone = new Map((await catalog.departures()).map((departure) => [keyOf(departure), departure]))
      const configs = [...(await catalog.versionedConfigs()), ...gone.values()]
      const at = this.#now()
      const changes = new Map<string, readonly DepartureNote[]>()
      for (const { vmId, type } of configs) {
        const key = keyOf({ vmId, type })
        const left = !isInSettings(this.#parts.inventory(), { vmId, type })
        if (left !== gone.has(key)) changes.set(key, [{ at, vmId, type, left }])
        else if (left && this.#back.has(key)) changes.set(key, bothWays({ at, vmId, type }))
        if (!left && gone.has(key)) this.#back.add(key)
      }
      await this.#note([...changes.values()].flat())
      this.#back.clear()
      return changes.size
    })
  }

  /** As `takeStock`, of configs that had left alone: those that are back are protected again. The caller has the turn. */
  async noteReturns(): Promise<void> {
    if (!this.#applied) await this.#apply()
    const inventory = this.#parts.inventory()
    const back = (await this.#parts.catalog.departures()).filter((departure) => isInSettings(inventory, departure))
    await this.#note(back.map(({ vmId, type }) => ({ at: this.#now(), vmId, type, left: false })))
  }

  /**
   * Makes the catalog say what the notes say, after it was made anew, or an earlier process ended between the two. What only
   * the catalog knows, since the notes were lost, is noted again.
   * @returns how many rows of the catalog were not so
   * @throws {Fault} as Notes, as Catalog
   */
  applyNotes(): Promise<number> {
    return this.#parts.turns.take(() => this.#apply())
  }

  /**
   * Takes in notes that stood elsewhere and may be gone here: each with its time, so that a later note of ours counts. They may be a
   * clone's: they unpin nothing that is pinned here, and let no config have left earlier. @throws {Fault} as Notes, as Catalog
   */
  takeIn(theirs: readonly Note[]): Promise<void> {
    const { notes, turns } = this.#parts
    return turns.take(async () => {
      const ours = await notes.read()
      const all = joinedNotes(theirs, ours)
      if (all.length === ours.length) return
      this.#applied = false
      this.#times.see(all)
      await notes.replace([...all, ...this.#times.dated(undoneBy(all, ours, this.#now()))])
      await this.#apply()
      // That it came back may have been cleared away here: noted before it leaves again.
      await this.noteReturns()
    })
  }

  /** Enters versions that came back, with what was noted of them: no purge comes in between. @throws {Fault} as Notes, as Catalog */
  enter(versions: readonly ImportedVersion[]): Promise<void> {
    const { catalog, turns } = this.#parts
    return turns.take(async () => {
      await noteFound(catalog, versions)
      await catalog.importVersions(versions)
      // The order over all configs is left to the next start: it takes long, and would move pages that somebody reads.
      await this.#apply()
    })
  }

  /** Notes that were sought elsewhere are sought no more. @returns as `endSearch` of note-search.ts */
  endSearch(): Promise<boolean> {
    return this.#parts.turns.take(() => endSearch(this.#parts.catalog))
  }

  #apply(): Promise<number> {
    return this.#health.watch(() => this.#applyNow())
  }

  async #applyNow(): Promise<number> {
    const { catalog, notes } = this.#parts
    const isWhole = await lookForRot(this.#parts)
    const found = withoutCopies(await notes.read())
    if (!this.#looked) await lookForLoss(catalog, found)
    this.#looked = true
    this.#times.see(found)
    const beyond = this.#times.dated(await notesBeyond(catalog, { notes: found, isWhole, at: this.#now() }))
    if (beyond.length > 0) await notes.append(beyond)
    const read = [...found, ...beyond]
    const salvaged = this.#times.dated(await this.#salvaged(read))
    if (salvaged.length > 0) await notes.append(salvaged)
    const all = [...read, ...salvaged]
    const { versions, departures } = stateOf(all)
    const { applied, lost, without } = await this.#applyToVersions(versions)
    const lostPins = this.#times.dated(lost)
    const [moved, lostDays] = await applyDepartures(this.#parts.catalog, departures)
    const cleared = clearedNotes(all)
    const standing = [...cleared, ...lostPins, ...lostDays]
    const isReplaced = !isWhole || all.length - cleared.length > mostVoid
    if (isReplaced) await notes.replace(standing)
    else await notes.append([...lostPins, ...lostDays])
    await noteLast(catalog, isReplaced ? standing : [...all, ...lostPins, ...lostDays])
    // What else was salvaged stands in the notes now; what is noted later must not be held against it.
    await noteSalvaged(catalog, without)
    this.#applied = true
    this.#added = 0
    return applied + moved
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#parts.turns.take(async () => {
      if (!this.#applied) await this.#apply()
      return work()
    })
  }

  /** Pins and notes that a catalog had which was replaced, and of which the notes say nothing. */
  async #salvaged(notes: readonly Note[]): Promise<readonly Note[]> {
    const { versions } = stateOf(notes)
    const had = parseSalvaged((await this.#parts.catalog.fact(salvagedFact)) ?? "")
    const lost = had.filter(({ backupId }) => !versions.has(backupId))
    return lost.map(({ backupId, pinned, note }) => ({ at: this.#now(), backupId, pinned, note }))
  }

  /**
   * @returns how many rows were changed, what the rows alone know, and what is pinned and has no row: it was not removed, so that
   *   its file was put aside, and may come home from its copy
   */
  async #applyToVersions(noted: ReadonlyMap<string, Required<VersionNote>>): Promise<{
    readonly applied: number
    readonly lost: readonly Note[]
    readonly without: readonly SalvagedAnnotation[]
  }> {
    const { catalog } = this.#parts
    const rows = new Map((await catalog.annotatedVersions()).map((row) => [row.backupId, row]))
    const wrong = [...noted.values()].filter(({ backupId, pinned, note }) => {
      const row = rows.get(backupId) ?? { pinned: false, note: null }
      return row.pinned !== pinned || row.note !== note
    })
    let applied = 0
    const without: SalvagedAnnotation[] = []
    const annotate = async ({ backupId, pinned, note }: Required<VersionNote>): Promise<void> => {
      const isThere = await catalog.annotateVersion(backupId, { pinned, note }).then(() => true, unlessGone)
      if (isThere) applied += 1
      else if (pinned) without.push({ backupId, pinned, note })
    }
    await inBatches(wrong, together, async (batch) => void (await Promise.all(batch.map(annotate))))
    const lost = [...rows.values()].filter(({ backupId }) => !noted.has(backupId))
    return {
      applied,
      lost: lost.map(({ backupId, pinned, note }) => ({ at: this.#now(), backupId, pinned, note })),
      without,
    }
  }

  async #note(changes: readonly DepartureNote[]): Promise<void> {
    if (changes.length === 0) return
    const rows = changes.map(({ vmId, type, at, left }) => ({ vmId, type, leftAt: left ? at : null }))
    await this.#keep(changes, () => this.#parts.catalog.noteDepartures(rows))
  }

  /**
   * Where only the notes are kept they are applied before the next thing is noted: what the caller was told to have failed
   * would otherwise come to count with the next start, over what was answered since.
   * @param before what is noted after them where the catalog refuses them: what failed must not come with the next start
   */
  async #keep(changes: readonly Note[], inCatalog: () => Promise<void>, before: readonly Note[] = []): Promise<void> {
    const { catalog } = this.#parts
    // What is refused is not to be found among the notes by the next start.
    await catalog.requireWritable()
    const notes = this.#times.dated(changes)
    await this.#parts.notes.append(notes)
    this.#applied = false
    try {
      await Promise.all([inCatalog(), noteLast(catalog, notes)])
    } catch (error) {
      // As far as it goes: the caller is told of the first fault.
      await this.#parts.notes.append(this.#times.dated(before)).catch(() => undefined)
      throw error
    }
    this.#added += notes.length
    // A service may run for years: what says nothing any more is cleared away when the notes are applied.
    this.#applied = this.#added <= mostVoid
  }

  #now(): string {
    return this.#parts.clock().toISOString()
  }
}

/** Notes of versions that are gone change nothing. */
function unlessGone(error: unknown): false {
  if (isFault(error, "backup_not_found")) return false
  throw error
}
