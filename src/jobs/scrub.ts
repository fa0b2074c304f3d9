import type { Logger } from "pino"
import type { Scrubber } from "../services/scrubber.ts"

const everyMs = 60 * 60_000
/** Not with the rest of a start. */
const firstMs = 60_000

/** Looks at some versions every hour. */
export class ScrubJob {
  readonly #scrubber: Scrubber
  readonly #logger: Logger
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()

  constructor({ scrubber, logger }: { readonly scrubber: Scrubber; readonly logger: Logger }) {
    this.#scrubber = scrubber
    this.#logger = logger
  }

  start(): void {
    this.#planNext(firstMs)
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
    try {
      const found = await this.#scrubber.round(this.#stopping.signal)
      const level = found.bad > 0 || found.copiesQueued > 0 ? "warn" : "info"
      if (found.looked > 0) this.#logger[level](found, "versions looked at")
    } catch (err) {
      this.#logger.error({ err }, "versions could not be looked at")
    }
    this.#planNext(everyMs)
  }
}
