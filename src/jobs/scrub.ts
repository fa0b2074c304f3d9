import type { Logger } from "pino"
import type { Scrubbed, Scrubber } from "../services/scrubber.ts"

interface Options {
  readonly scrubber: Pick<Scrubber, "round">
  readonly logger: Pick<Logger, "info" | "warn" | "error">
  /** Told of each round that ended. */
  readonly onRound: (found: Scrubbed) => void
  /** Only a test gives other times. */
  readonly firstMs?: number
  readonly everyMs?: number
}

const hourMs = 60 * 60_000
/** Not with the rest of a start. */
const minuteMs = 60_000

/** Looks at some versions every hour. */
export class ScrubJob {
  readonly #options: Options
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(options: Options) {
    this.#options = options
  }

  start(): void {
    this.#planNext(this.#options.firstMs ?? minuteMs)
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    clearTimeout(this.#timer)
    await this.#running
  }

  #planNext(ms: number): void {
    if (this.#stopping.signal.aborted) return
    this.#timer = setTimeout(() => {
      this.#running = this.#run()
    }, ms).unref()
  }

  async #run(): Promise<void> {
    const { scrubber, logger, onRound, everyMs = hourMs } = this.#options
    try {
      const found = await scrubber.round(this.#stopping.signal)
      const level = found.bad > 0 || found.copiesQueued > 0 ? "warn" : "info"
      onRound(found)
      if (found.looked > 0) logger[level](found, "versions looked at")
    } catch (err) {
      logger.error({ err }, "versions could not be looked at")
    }
    this.#planNext(everyMs)
  }
}
