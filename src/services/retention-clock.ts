import { randomUUID } from "node:crypto"
import { setTimeout as sleep } from "node:timers/promises"
import { type Catalog, itemsOf } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { StoreFiles } from "../domain/copies.ts"
import { isFault } from "../domain/fault.ts"
import { dayMs, leastRetentionDays } from "../domain/retention.ts"
import {
  believedTime,
  clockText,
  lastSeen,
  laterOf,
  newClockRecord,
  parseClockRecord,
  type RetentionClockRecord,
  sight,
  vouchesFor,
} from "../domain/retention-clock.ts"
import type { ImportedVersion, Version } from "../domain/version.ts"

const factName = "retention_clock"
export const clockFileName = "clock.json"
/** Fact: the earliest time of all versions that came to light late (`noteFound`). */
const foundFact = "earliest_found"
/** How often it is written at most: so much running time can be lost, and versions are then kept for so much longer. */
const persistMs = 60_000
/** A record that is behind another by more was not only cut short by a kill: it is an older copy. */
const mostBehindMs = 2 * persistMs
/** How long the end of the process waits for the file: a store that hangs must not hold it up. */
const lastWriteMs = 1000
/** A clock that was set back by more is noted at once. */
const setBackMs = 60_000

/**
 * Called before versions are entered that had been put aside, or that the original service made: they come to light later than
 * the time of retention may have begun to be kept, and who knows what stamped them.
 */
export async function noteFound(catalog: Facts, versions: readonly ImportedVersion[]): Promise<void> {
  const before = await catalog.fact(foundFact)
  const times = versions.filter(({ state }) => state === "ok").map(({ validFrom }) => validFrom)
  const [earliest] = [...times, ...(before ? [before] : [])].sort()
  if (earliest !== undefined && earliest !== before) await catalog.setFact(foundFact, earliest)
}

/**
 * Facts: the earliest time of all versions that stood in the store and in no list, made by operations that the catalog does not
 * know (`noteUnlisted`). "": there were none, or it was seen to what that means. The second: where the catalog was lost.
 */
const unlistedFact = "earliest_unlisted"
const relistedFact = "earliest_relisted"

/** Called before versions are entered that nobody here knows: what the catalog has seen of clocks may say nothing of theirs. */
export async function noteUnlisted(
  catalog: Facts,
  versions: readonly ImportedVersion[],
  isNewCatalog: boolean,
): Promise<void> {
  const name = isNewCatalog ? relistedFact : unlistedFact
  const before = await catalog.fact(name)
  const [earliest] = [...versions.map(({ validFrom }) => validFrom), ...(before ? [before] : [])].sort()
  if (earliest !== undefined && earliest !== before) await catalog.setFact(name, earliest)
}

/** Whether a catalog, or the one that it was made anew from, has kept the time of retention: one that was lost has not. */
export async function knowsTime(catalog: Pick<Catalog, "fact">): Promise<boolean> {
  return (await catalog.fact(factName)) !== null
}

type Facts = Pick<Catalog, "fact" | "setFact">

interface Parts {
  readonly catalog: Pick<Catalog, "fact" | "setFact" | "earliestVersion" | "listVersions">
  readonly files: StoreFiles
  readonly clock: Clock
  /** A clock in ms that cannot be set. */
  readonly monotonic: () => number
  readonly retentionDays: () => number
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
}

/**
 * The time that retention goes by (domain/retention-clock.ts), kept over restarts in the catalog, and beside the blobs, whose
 * times it is about, for a catalog that is lost or replaced by an older one.
 */
export class RetentionClock {
  readonly #parts: Parts
  #record: RetentionClockRecord | null = null
  #loading: Promise<RetentionClockRecord> | null = null
  /** By the clock that cannot be set: when it was last looked at, and written. */
  #sightedAt = 0
  #persistedAt = Number.NEGATIVE_INFINITY
  /** How far the believed time was ahead of the running time when it was written last. */
  #persistedLeadMs = Number.POSITIVE_INFINITY
  /** What is to stand in the file next; null: nothing else. */
  #nextText: string | null = null
  /** Resolves when nothing is being written to the file. */
  #writing: Promise<void> | null = null

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** What time it is for retention. @throws {Fault} as Catalog, where it was not kept when it had to be */
  async now(): Promise<Date> {
    const record = await this.#load()
    this.look()
    await this.#holdUnknown()
    if (this.#parts.monotonic() - this.#persistedAt >= persistMs) await this.persist()
    return believedTime(this.#record ?? record)
  }

  /** Where what came to light was made before the record began, nothing is older than it says. */
  async #holdUnknown(): Promise<void> {
    const earliest = await this.#parts.catalog.fact(foundFact)
    if (!this.#record || !earliest) return
    // One that rotted in the catalog says nothing: it may have been any time.
    const stamp = new Date(Date.parse(earliest) || 0)
    if (vouchesFor(this.#record, stamp, this.#windowMs())) return
    this.#record = sight(this.#record, stamp, 0, this.#windowMs())
    await this.persist()
  }

  /**
   * Notes what the wall clock shows: before it stamps versions, so that a moment in which it was wrong is not missed. One that
   * was set back may be right again in the next process, and this one killed before: it is written ahead of what is stamped.
   */
  look(): void {
    this.#sight()
    if (this.#leadMs() < this.#persistedLeadMs - setBackMs) this.#write().catch(() => {})
  }

  /** How far the believed time is behind the wall clock, in ms. 0: not asked yet, or not behind. */
  lagMs(): number {
    return this.#record ? Math.max(0, this.#parts.clock().getTime() - believedTime(this.#record).getTime()) : 0
  }

  /** Keeps it for the next process. @throws {Fault} as Catalog */
  async persist(): Promise<void> {
    if (!this.#record) return
    this.#sight()
    await this.#write()
  }

  /** Resolves when nothing is being written to the file any more, or after a moment: before it, a kill leaves half of it. */
  async written(): Promise<void> {
    await Promise.race([this.#writing, sleep(lastWriteMs, undefined, { ref: false })])
  }

  #sight(): void {
    if (!this.#record) return
    const { clock, monotonic } = this.#parts
    const at = monotonic()
    this.#record = sight(this.#record, clock(), at - this.#sightedAt, this.#windowMs())
    this.#sightedAt = at
  }

  #windowMs(): number {
    return Math.max(this.#parts.retentionDays(), leastRetentionDays) * dayMs
  }

  async #write(): Promise<void> {
    if (!this.#record) return
    this.#persistedAt = this.#parts.monotonic()
    this.#persistedLeadMs = this.#leadMs()
    const text = clockText(this.#record)
    this.#nextText = text
    // Nobody waits for it: the store may hang, and as long as it does nothing more is begun.
    this.#writing ??= this.#writeFile().finally(() => {
      this.#writing = null
    })
    try {
      await this.#parts.catalog.setFact(factName, text)
    } catch (error) {
      this.#persistedLeadMs = Number.POSITIVE_INFINITY
      throw error
    }
  }

  async #writeFile(): Promise<void> {
    const { files, onProblem } = this.#parts
    for (let text = this.#nextText; text !== null; text = this.#nextText) {
      this.#nextText = null
      await files
        .write(clockFileName, Buffer.from(text))
        .catch((error: unknown) => onProblem(`the time of retention was not kept in ${clockFileName}`, error))
    }
  }

  #leadMs(): number {
    return this.#record ? believedTime(this.#record).getTime() - this.#record.ranMs : Number.POSITIVE_INFINITY
  }

  async #load(): Promise<RetentionClockRecord> {
    if (this.#record) return this.#record
    this.#loading ??= this.#read().finally(() => {
      this.#loading = null
    })
    return this.#loading
  }

  async #read(): Promise<RetentionClockRecord> {
    const inCatalog = parseClockRecord((await this.#parts.catalog.fact(factName)) ?? "")
    const beside = parseClockRecord(await this.#textBeside())
    const latest = inCatalog && beside ? laterOf(inCatalog, beside) : (inCatalog ?? beside)
    // One that has not run yet has seen nothing.
    const kept = latest && latest.ranMs > 0 ? latest : null
    const record = kept ?? newClockRecord(await this.#earliestStamp())
    const isOlder = await this.#isOlderThanStore(record)
    this.#sightedAt = this.#parts.monotonic()
    this.#record ??= { ...record, id: record.id || randomUUID() }
    if (kept) this.#persistedLeadMs = this.#leadMs()
    const isAhead = !isOlder && latest === beside && (beside?.ranMs ?? 0) > (inCatalog?.ranMs ?? 0) + mostBehindMs
    const isGoingOn = !isOlder && kept !== null && beside !== null
    await this.#holdUnlisted(unlistedFact, () => isAhead)
    await this.#holdUnlisted(relistedFact, (made, stamp) => isGoingOn && vouchesFor(made, stamp, this.#windowMs()))
    return this.#record
  }

  /**
   * Where what was in no list may have been made by a clock that this record has not seen, nothing is older than it says for as
   * long as versions are kept. All is known where the catalog alone was lost, or is an older copy, and `clock.json` goes on from it.
   */
  async #holdUnlisted(name: string, isKnown: (record: RetentionClockRecord, earliest: Date) => boolean): Promise<void> {
    const { catalog } = this.#parts
    const earliest = await catalog.fact(name)
    if (!earliest || !this.#record) return
    const stamp = new Date(Date.parse(earliest) || 0)
    if (!isKnown(this.#record, stamp)) {
      this.#record = sight(this.#record, stamp, 0, this.#windowMs())
      await this.#write()
    }
    await catalog.setFact(name, "")
  }

  /** One that was put back has not seen the newest versions made, nor the clock that stamped others of those days. */
  async #isOlderThanStore(record: RetentionClockRecord): Promise<boolean> {
    const [newest] = itemsOf<Version>(await this.#parts.catalog.listVersions({}, { limit: 1, cursor: null }))
    return newest !== undefined && Date.parse(newest.validFrom) > lastSeen(record) + mostBehindMs
  }

  /** A file that cannot be read must not keep a clock that is wrong from being noticed: it counts as if it were not there. */
  async #textBeside(): Promise<string> {
    const { files, onProblem } = this.#parts
    try {
      return String((await files.read(clockFileName)) ?? "")
    } catch (error) {
      if (!isFault(error)) throw error
      onProblem(`${clockFileName} cannot be read, so that it does not count`, error)
      return ""
    }
  }

  /** Which of the versions' times was stamped by a clock that was wrong nobody knows any more: all may have been. */
  async #earliestStamp(): Promise<Date> {
    const { catalog, clock } = this.#parts
    const [earliest, now] = [await catalog.earliestVersion(), clock()]
    return earliest !== null && Date.parse(earliest) < now.getTime() ? new Date(earliest) : now
  }
}
