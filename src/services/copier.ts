import type { BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import {
  type CopiedVersion,
  type CopyCatalog,
  type CopyResult,
  type CopyTarget,
  type DueCopy,
  fileNameOf,
  type StoreFiles,
  sideFileNames,
} from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import { blobToCopy } from "./blob-copies.ts"
import { CopyPlace } from "./copy-place.ts"
import { legacyToCopy } from "./legacy-copies.ts"
import { type NotesCopy, requireThere } from "./notes-copy.ts"

interface Parts {
  readonly catalog: CopyCatalog & Pick<Catalog, "fact" | "setFact" | "getVersion">
  readonly blobs: BlobStore
  readonly legacy: Pick<LegacyStore, "open" | "openSealed">
  readonly files: StoreFiles
  readonly target: CopyTarget
  readonly notes: Pick<NotesCopy, "copy" | "forget">
  readonly clock: Clock
  /** 0 <= number < 1: so that many services do not all try again at once. */
  readonly random: () => number
  /** Told once when copying begins to fail, and null once it works again. */
  readonly onChange: (problem: string | null) => void
}

/** A piece of work that the place has answered. */
interface Ended {
  readonly work: DueCopy
  readonly result: CopyResult
}

const batch = 64
const [keyringName] = sideFileNames
const shortestPauseMs = 1000
const longestPauseMs = 15 * 60_000
/** How often it is looked whether the files beside the blobs have changed, and whether something is due. */
const lookEveryMs = 60_000
/** Copies may be behind for so long before readiness shows it. */
const patienceMs = 5 * 60_000

/** Keeps copies of all versions off this host. No operation waits for it, and none fails by it. */
export class Copier {
  readonly #parts: Parts
  readonly #place: CopyPlace
  #copiedKeyring: Buffer | null = null
  /** Whether the place was new in the round before. */
  #wasNew = false
  #running: Promise<void> | null = null
  #again = false
  #stopped = false
  #timer: NodeJS.Timeout | undefined
  #failures = 0
  /** As performance.now() tells it: a wall clock that is set back must not make a pause of seconds one of years. */
  #pausedUntil = 0
  #problem: string | null = null

  constructor(parts: Parts) {
    this.#parts = parts
    this.#place = new CopyPlace(parts)
  }

  /** Begins, and goes on until it is stopped. */
  start(): void {
    this.wake()
  }

  /** There may be something to do. Cheap, and may be called at any time. */
  wake(): void {
    if (this.#stopped) return
    if (this.#running) {
      this.#again = true
      return
    }
    const wait = this.#pausedUntil - performance.now()
    if (wait > 0) {
      this.#wakeIn(wait)
      return
    }
    this.#running = this.pass().finally(() => {
      this.#running = null
      if (this.#again) this.wake()
    })
  }

  /** Takes up nothing more. What is under way has `graceMs` to end: a mount that is away may never answer. */
  async stop(graceMs = 2000): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    if (!this.#running) return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs)
    })
    await Promise.race([this.#running, late])
    clearTimeout(timer)
  }

  /** How far the copies are behind. */
  async lag(): Promise<{ readonly waiting: number; readonly oldestMs: number; readonly isFailing: boolean }> {
    const { waiting, since } = await this.#parts.catalog.copyLag()
    return { waiting, oldestMs: this.#ageMs(since), isFailing: this.#problem !== null }
  }

  async health(): Promise<{ readonly ok: boolean; readonly detail: string }> {
    const { catalog, target } = this.#parts
    const { waiting, since, problem } = await catalog.copyLag()
    const { name } = target
    if ((await catalog.copyTarget()) !== name) return { ok: true, detail: `Copying to ${name} has not begun.` }
    const why = this.#problem ?? problem
    if (why === null && waiting === 0) return { ok: true, detail: `${name} has a copy of every version.` }
    const ageMs = this.#ageMs(since)
    const detail = `${waiting} copies to ${name} wait${since === null ? "" : `, the oldest since ${since}`}.`
    return { ok: ageMs < patienceMs && this.#problem === null, detail: why === null ? detail : `${detail} ${why}` }
  }

  /** Does all that is due. Where the place cannot be used the rest waits, longer each time. Never rejects; one at a time. */
  async pass(): Promise<void> {
    this.#again = false
    try {
      const isNew = await this.#place.claim()
      // Once more in the round after that: another store that claimed the place in the same moment, and lost it, may have
      // written over them before it knew.
      if (isNew || this.#wasNew) {
        this.#copiedKeyring = null
        this.#parts.notes.forget()
      }
      this.#wasNew = isNew
      await this.#copyAll().catch(async (error: unknown) => {
        // Nothing else may ever make room there.
        if (!isFault(error, "storage_full") || !(await this.#removeGone())) throw error
        await this.#copyAll()
      })
      this.#tell(null)
    } catch (error) {
      // The end of the service cuts connections: no problem of the place.
      if (!this.#stopped) this.#pause(error)
    }
    await this.#planNext()
  }

  async #copyAll(): Promise<void> {
    await this.#copyKeyring()
    await this.#parts.notes.copy(this.#place)
    await this.#copyVersions()
  }

  /** Takes the copies of versions away that have gone, before their turn. @returns whether there were any */
  async #removeGone(): Promise<boolean> {
    const { catalog, clock } = this.#parts
    for (let isAny = false; ; isAny = true) {
      const gone = await catalog.dueCopies(clock().toISOString(), batch, "removing")
      if (gone.length === 0 || this.#stopped) return isAny
      const ended: Ended[] = []
      for (const work of gone) ended.push(await this.#do(work))
      await this.#note(ended)
    }
  }

  async #copyKeyring(): Promise<void> {
    const { files, target } = this.#parts
    const bytes = await files.read(keyringName)
    if (bytes === null || this.#copiedKeyring?.equals(bytes)) return
    requireThere(await this.#place.whyLost())
    if (!(await target.get(keyringName))?.equals(bytes)) await target.put(keyringName, bytes)
    requireThere(await this.#place.renew())
    this.#copiedKeyring = bytes
  }

  async #copyVersions(): Promise<void> {
    const { catalog, clock, target } = this.#parts
    while (!this.#stopped) {
      const waiting = [...(await catalog.dueCopies(clock().toISOString(), batch))]
      if (waiting.length === 0) return
      const ended: Ended[] = []
      const lane = async (): Promise<void> => {
        for (let work = waiting.shift(); work && !this.#stopped; work = waiting.shift())
          ended.push(await this.#do(work))
      }
      const lanes = await Promise.allSettled(Array.from({ length: target.parallel }, lane))
      await this.#note(ended)
      const failed = lanes.find((result) => result.status === "rejected")
      if (failed) throw failed.reason
    }
  }

  /** @throws what the place refused: it may be away as a whole. What is wrong with a version here does not stop the others. */
  async #do(work: DueCopy): Promise<Ended> {
    try {
      return { work, result: await this.#attempt(work) }
    } catch (error) {
      // Its turn comes again after the others': a file that this place never takes must not keep them waiting.
      await this.#parts.catalog.noteCopy(work, this.#failed(work, error))
      throw error
    }
  }

  /** Only what went to the marked place is done: a mount may go meanwhile, and leave an empty directory that takes anything. */
  async #note(ended: readonly Ended[]): Promise<void> {
    if (ended.length === 0) return
    const isAny = ended.some(({ result }) => result.kind === "copied")
    // One that cannot be asked now did take what it answered before.
    const lost = await (isAny ? this.#place.renew() : this.#place.whyLost()).catch((error: unknown) => {
      if (isFault(error)) return null
      throw error
    })
    requireThere(lost)
    await Promise.all(ended.map(({ work, result }) => this.#parts.catalog.noteCopy(work, result)))
  }

  async #attempt(work: DueCopy): Promise<CopyResult> {
    const { target, clock } = this.#parts
    if (work.work === "removing") {
      await target.remove(fileNameOf(work))
      return { kind: "removed" }
    }
    const bytes = await this.#sealed(work)
    if (bytes instanceof Fault) return this.#failed(work, bytes)
    await target.put(fileNameOf(work), bytes)
    return { kind: "copied", at: clock().toISOString() }
  }

  /** The bytes to copy, or why this version has none. */
  async #sealed(version: CopiedVersion): Promise<Buffer | Fault> {
    try {
      if (version.format === "legacy") return await legacyToCopy(version.backupId, this.#parts)
      return await blobToCopy(version, this.#parts)
    } catch (error) {
      if (isFault(error, "backup_missing", "backup_corrupt")) return error
      throw error
    }
  }

  #failed({ attempts }: DueCopy, error: unknown): CopyResult {
    const nextAt = new Date(this.#now() + this.#pauseMs(attempts)).toISOString()
    return { kind: "failed", problem: sentenceOf(error), nextAt }
  }

  #pause(error: unknown): void {
    this.#pausedUntil = performance.now() + this.#pauseMs(this.#failures)
    this.#failures += 1
    this.#tell(sentenceOf(error))
  }

  #tell(problem: string | null): void {
    if (problem === null) this.#failures = 0
    if ((problem === null) !== (this.#problem === null)) this.#parts.onChange(problem)
    this.#problem = problem
  }

  /** Doubles with each failure; a fifth more or less at random. */
  #pauseMs(failures: number): number {
    const pause = Math.min(longestPauseMs, shortestPauseMs * 2 ** Math.min(failures, 30))
    return pause * (0.8 + 0.4 * this.#parts.random())
  }

  async #planNext(): Promise<void> {
    const next = await this.#parts.catalog.nextCopyAt().catch(() => null)
    const due = next === null ? lookEveryMs : Date.parse(next) - this.#now()
    const pause = this.#pausedUntil - performance.now()
    // Where the place cannot be used it is tried again when its pause is over, whether or not something is to be copied.
    this.#wakeIn(pause > 0 ? pause : Math.max(due, 0))
  }

  #wakeIn(ms: number): void {
    if (this.#stopped) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.wake(), Math.min(ms, lookEveryMs)).unref()
  }

  #ageMs(since: string | null): number {
    return since === null ? 0 : Math.max(0, this.#now() - Date.parse(since))
  }

  #now(): number {
    return this.#parts.clock().getTime()
  }
}

/** What is no fault is a bug: its text is not for clients. */
function sentenceOf(error: unknown): string {
  return isFault(error) ? error.message : "Copying fails for a reason that should not be."
}
