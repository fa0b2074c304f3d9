import { Fault } from "../domain/fault.ts"

/** The time left for one piece of work, and the signal that ends it: the caller hung up, or the time is over. */
export interface Deadline {
  readonly signal: AbortSignal
  readonly remainingMs: number
  /** What leaving things in order may take beyond the end: the caller is not told much later than they were promised. */
  readonly graceMs: number
}

const graceShare = 0.05

/**
 * Runs `work` within a limit of time, for as long as its caller waits and the service runs.
 * @param ends the caller's signal and the service's; a fault as the reason of one is what is thrown
 * @throws {Fault} `vm_timeout` when the time ran out, `request_timeout` when the caller hung up; what `work` throws otherwise
 */
export async function withDeadline<T>(
  ends: readonly AbortSignal[],
  timeoutMs: number,
  work: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  const endsAt = performance.now() + timeoutMs
  const end = new AbortController()
  const late = (): void =>
    end.abort(
      new Fault("vm_timeout", `The VM did not get through it within ${timeoutMs / 1000} s; nothing was written.`, {
        fileState: "unchanged",
      }),
    )
  const stop = (): void => {
    const reason: unknown = ends.find((signal) => signal.aborted)?.reason
    const hungUp = "The caller hung up before anything was written."
    end.abort(reason instanceof Fault ? reason : new Fault("request_timeout", hungUp, { fileState: "unchanged" }))
  }
  if (ends.some((signal) => signal.aborted)) stop()
  for (const signal of ends) signal.addEventListener("abort", stop, { once: true })
  const timer = setTimeout(late, timeoutMs)
  try {
    return await work({
      signal: end.signal,
      get remainingMs() {
        return Math.max(0, endsAt - performance.now())
      },
      graceMs: timeoutMs * graceShare,
    })
  } finally {
    clearTimeout(timer)
    for (const signal of ends) signal.removeEventListener("abort", stop)
  }
}
