/** What was synced, every content since, and of the last one's changes half, or zeros in their place. */
export function contentsAfterCrash(durable: Buffer, unsynced: readonly Buffer[]): readonly Buffer[] {
  const last = unsynced.at(-1)
  if (!last) return [durable]
  let same = 0
  while (same < durable.length && durable[same] === last[same]) same++
  const half = last.subarray(0, (same + last.length) >> 1)
  return [durable, ...unsynced, half, Buffer.concat([last.subarray(0, same), Buffer.alloc(last.length - same)])]
}

/** Every way to take one of each of `choices`. */
export function* productOf<T>(choices: readonly (readonly T[])[], chosen: readonly T[] = []): Generator<readonly T[]> {
  const [first, ...rest] = choices
  if (!first) {
    yield chosen
    return
  }
  for (const each of first) yield* productOf(rest, [...chosen, each])
}
