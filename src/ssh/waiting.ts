/**
 * Waits for `work` only as long as `signal` allows. Only the waiting is cut short: the work goes on,
 * and how it ends after that is nobody's business any more.
 */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  work.catch(() => {})
  if (signal.aborted) return Promise.reject(signal.reason)
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener("abort", onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort))
  })
}

/** A time allowance that several steps share; time between the steps is not counted. */
export class Budget {
  #remainingMs: number

  constructor(totalMs: number) {
    this.#remainingMs = totalMs
  }

  get remainingMs(): number {
    return this.#remainingMs
  }

  /** Runs one step; when the allowance is used up its signal aborts with what `expired` makes. */
  async spend<T>(step: (signal: AbortSignal) => Promise<T>, expired: () => Error): Promise<T> {
    const controller = new AbortController()
    const startedAt = performance.now()
    const timer = setTimeout(() => controller.abort(expired()), Math.max(0, this.#remainingMs))
    try {
      return await unlessAborted(step(controller.signal), controller.signal)
    } finally {
      clearTimeout(timer)
      this.#remainingMs -= performance.now() - startedAt
    }
  }
}
