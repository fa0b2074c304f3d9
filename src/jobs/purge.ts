import type { Logger } from "pino"
import type { BackupRuns } from "../services/backup-runs.ts"
import type { Retention } from "../services/retention.ts"
import type { RetentionClock } from "../services/retention-clock.ts"

interface Parts {
  readonly retention: Pick<Retention, "purgeUnasked" | "health">
  readonly retentionClock: Pick<RetentionClock, "now" | "persist">
  readonly backupRuns: Pick<BackupRuns, "prune">
  readonly logger: Pick<Logger, "info" | "warn" | "error">
}

interface PurgeTimes {
  /** From the start to the first purge, which a service that is restarted each night would never see otherwise. */
  readonly firstMs: number
  readonly everyMs: number
  /** After a version was made: what comes meanwhile is served by the same purge. */
  readonly soonMs: number
  /** Between two purges at least. */
  readonly pauseMs: number
}

const usual: PurgeTimes = { firstMs: 60_000, everyMs: 24 * 60 * 60 * 1000, soonMs: 2_000, pauseMs: 60_000 }

/** Purges once a day, and soon after a version was made. One timer at a time, which keeps no process alive. */
export class PurgeJob {
  readonly #parts: Parts
  readonly #times: PurgeTimes
  #timer: NodeJS.Timeout | undefined
  /** By performance.now(): when the timer goes off, and when the last purge ended. */
  #dueAt = Number.POSITIVE_INFINITY
  #endedAt = Number.NEGATIVE_INFINITY
  #running: Promise<void> | null = null
  /** A version was made while a purge was running. */
  #again = false
  #stopped = false
  /** Told once, and again only after it went well. */
  #isHeld = false

  constructor(parts: Parts, times: PurgeTimes = usual) {
    this.#parts = parts
    this.#times = times
  }

  start(): void {
    this.#plan(performance.now() + this.#times.firstMs)
  }

  /** Also called where what held a purge back is gone. */
  versionMade(): void {
    this.#again = true
    if (!this.#running) this.#planSoon()
  }

  /** No purge begins any more; resolves once none is running. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
    await this.#parts.retentionClock.persist().catch((error: unknown) => this.#tell(error))
  }

  #planSoon(): void {
    const now = performance.now()
    this.#plan(Math.max(now + this.#times.soonMs, this.#endedAt + this.#times.pauseMs))
  }

  /** The earlier time counts. */
  #plan(at: number): void {
    if (this.#stopped || at >= this.#dueAt) return
    clearTimeout(this.#timer)
    this.#dueAt = at
    this.#timer = setTimeout(() => this.#begin(), Math.max(0, at - performance.now())).unref()
  }

  #begin(): void {
    this.#dueAt = Number.POSITIVE_INFINITY
    this.#again = false
    this.#running = this.#run().finally(() => {
      this.#running = null
      this.#endedAt = performance.now()
      this.#plan(this.#endedAt + this.#times.everyMs)
      if (this.#again) this.#planSoon()
    })
  }

  async #run(): Promise<void> {
    const { retention, retentionClock, backupRuns, logger } = this.#parts
    try {
      const report = await retention.purgeUnasked()
      if (report === null && !this.#isHeld) logger.warn(`purge held back: ${retention.health().detail}`)
      this.#isHeld = report === null
      const removed = report?.removed.length ?? 0
      if (removed > 0) logger.info({ removed, kept: report?.kept }, "purge")
      await backupRuns.prune(await retentionClock.now())
    } catch (error) {
      this.#tell(error)
    }
  }

  #tell(err: unknown): void {
    this.#parts.logger.error({ err }, "the purge failed; it is tried again with the next version, or in a day")
  }
}
