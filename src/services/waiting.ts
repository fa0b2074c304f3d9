import { setTimeout as sleep } from "node:timers/promises"

/** Waits for both also when one fails, so that nothing goes on behind the clean-up's back. */
export async function bothEnd<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second])
  return Promise.all([first, second])
}

/** Rejects when `work` takes longer; it goes on then, and nobody asks how it ends. */
export async function inTime(work: Promise<void>, limitMs: number): Promise<void> {
  const over = new AbortController()
  const late = sleep(limitMs, undefined, { signal: over.signal }).then(() => {
    throw new Error("the time for it is over")
  })
  late.catch(() => {})
  work.catch(() => {})
  await Promise.race([work, late]).finally(() => over.abort())
}
