import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import { dayMs, leastRetentionDays } from "../domain/retention.ts"
import {
  believedTime,
  newClockRecord,
  parseClockRecord,
  type RetentionClockRecord,
  sight,
} from "../domain/retention-clock.ts"

const factName = "retention_clock"
/** How often it is written at most: so much running time can be lost, and versions are then kept for so much longer. */
const persistMs = 60_000
/** A clock that was set back by more is noted at once. */
const setBackMs = 60_000

interface Parts {
  readonly catalog: Catalog
  readonly clock: Clock
  /** A clock in ms that cannot be set. */
  readonly monotonic: () => number
  readonly retentionDays: () => number
}

/** The time that retention goes by (domain/retention-clock.ts), kept in the catalog over restarts. */
export class RetentionClock {
  readonly #parts: Parts
  #record: RetentionClockRecord | null = null
  #loading: Promise<RetentionClockRecord> | null = null
  /** By the clock that cannot be set: when it was last looked at, and written. */
  #sightedAt = 0
  #persistedAt = Number.NEGATIVE_INFINITY
  /** How far the believed time was ahead of the running time when it was written last. */
  #persistedLeadMs = Number.POSITIVE_INFINITY

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** What time it is for retention. @throws {Fault} as Catalog, where it was not kept when it had to be */
  async now(): Promise<Date> {
    const record = await this.#load()
    this.look()
    if (this.#parts.monotonic() - this.#persistedAt >= persistMs) await this.persist()
    return believedTime(this.#record ?? record)
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

  #sight(): void {
    if (!this.#record) return
    const { clock, monotonic, retentionDays } = this.#parts
    const at = monotonic()
    const windowMs = Math.max(retentionDays(), leastRetentionDays) * dayMs
    this.#record = sight(this.#record, clock(), at - this.#sightedAt, windowMs)
    this.#sightedAt = at
  }

  async #write(): Promise<void> {
    this.#persistedAt = this.#parts.monotonic()
    this.#persistedLeadMs = this.#leadMs()
    try {
      await this.#parts.catalog.setFact(factName, JSON.stringify(this.#record))
    } catch (error) {
      this.#persistedLeadMs = Number.POSITIVE_INFINITY
      throw error
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
    const kept = parseClockRecord((await this.#parts.catalog.fact(factName)) ?? "")
    const record = kept ?? newClockRecord(await this.#lastStamp())
    this.#sightedAt = this.#parts.monotonic()
    this.#record ??= record
    if (kept) this.#persistedLeadMs = this.#leadMs()
    return this.#record
  }

  /** The time of the newest version: until then, at least, the clock is taken to have been right. */
  async #lastStamp(): Promise<Date> {
    const { items } = await this.#parts.catalog.listVersions({}, { limit: 1, cursor: null })
    const [newest] = JSON.parse(items) as readonly { readonly validFrom: string }[]
    return newest ? new Date(newest.validFrom) : this.#parts.clock()
  }
}
