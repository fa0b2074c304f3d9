import { Fault } from "../domain/fault.ts"

/** The time left for one piece of work, and the signal that ends it: the caller hung up, or the time is over. */
export interface Deadline {
  readonly signal: AbortSignal
  readonly remainingMs: number
}

/**
 * Runs `work` within a limit of time, for as long as its caller waits.
 * @throws {Fault} `vm_timeout` when the time ran out, `request_timeout` when the caller hung up; what `work` throws otherwise
 */
export async function withDeadline<T>(
  caller: AbortSignal,
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
  const hungUp = (): void =>
    end.abort(
      caller.reason instanceof Fault
        ? caller.reason
        : new Fault("request_timeout", "The caller hung up before anything was written.", { fileState: "unchanged" }),
    )
  if (caller.aborted) hungUp()
  caller.addEventListener("abort", hungUp, { once: true })
  const timer = setTimeout(late, timeoutMs)
  try {
    return await work({
      signal: end.signal,
      get remainingMs() {
        return Math.max(0, endsAt - performance.now())
      },
    })
  } finally {
    clearTimeout(timer)
    caller.removeEventListener("abort", hungUp)
  }
}
