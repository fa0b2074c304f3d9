import { type CopiedVersion, type CopyTarget, fileNameOf } from "../domain/copies.ts"
import { Fault } from "../domain/fault.ts"

interface Parts {
  readonly target: CopyTarget
  /** Aborts when the service ends: no copy is waited for then. */
  readonly stopping: AbortSignal
  /** A clock in ms that cannot be set. */
  readonly monotonic: () => number
  /** How long a copy is waited for; only a test gives another time. */
  readonly waitMs?: number
}

const defaultWaitMs = 20_000
/** What fails sooner costs nobody time, and may be wrong with one copy alone. */
const soonMs = 1000
const shortestPauseMs = 60_000
const longestPauseMs = 60 * 60_000

/** Reads copies. A place that does not answer is waited for once, and then left alone for a time that grows. */
export class CopyReader {
  readonly #parts: Parts
  /** A mount that is away takes a thread of Node's few with each call, for as long as it likes: there is one call at a time. */
  #asking: Promise<unknown> | null = null
  #failures = 0
  #closedUntil = Number.NEGATIVE_INFINITY

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * @param isUrgent somebody waits for it: a place that is left alone is asked all the same
   * @returns null where there is none
   * @throws {Fault} `backup_storage_unavailable` where the place does not answer in time or is left alone, and those of CopyTarget.get
   */
  async read(version: CopiedVersion, isUrgent: boolean): Promise<Buffer | null> {
    const { target, stopping, monotonic } = this.#parts
    const begin = monotonic()
    if (!isUrgent && begin < this.#closedUntil) throw leftAlone(target.name)
    try {
      const bytes = await this.#ask(fileNameOf(version))
      this.#failures = 0
      this.#closedUntil = begin
      return bytes
    } catch (error) {
      if (!stopping.aborted && (error instanceof NotAnswering || monotonic() - begin > soonMs)) this.#close()
      throw error
    }
  }

  #close(): void {
    const pauseMs = Math.min(longestPauseMs, shortestPauseMs * 2 ** Math.min(this.#failures, 10))
    this.#closedUntil = this.#parts.monotonic() + pauseMs
    this.#failures += 1
  }

  async #ask(name: string): Promise<Buffer | null> {
    const { target, stopping, waitMs = defaultWaitMs } = this.#parts
    const enough = AbortSignal.any([stopping, AbortSignal.timeout(waitMs)])
    const late = Promise.withResolvers<never>()
    const onEnough = (): void => late.reject(new NotAnswering(target.name))
    enough.addEventListener("abort", onEnough)
    try {
      if (enough.aborted) onEnough()
      for (; this.#asking; ) await Promise.race([this.#asking, late.promise])
      const asking = target.get(name)
      this.#asking = asking
        .catch(() => undefined)
        .finally(() => {
          this.#asking = null
        })
      return await Promise.race([asking, late.promise])
    } finally {
      enough.removeEventListener("abort", onEnough)
    }
  }
}

class NotAnswering extends Fault {
  constructor(name: string) {
    super("backup_storage_unavailable", `${name} does not answer.`)
  }
}

function leftAlone(name: string): Fault {
  return new Fault("backup_storage_unavailable", `${name} did not answer, and is asked again later.`)
}
