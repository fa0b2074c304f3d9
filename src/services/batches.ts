/** Blobs read at once: enough to keep a disk and a core busy. */
const readsTogether = 16

/** Calls `work` with at most `size` of `items` at a time, one batch after the other. */
export async function inBatches<T>(
  items: readonly T[],
  size: number,
  work: (batch: readonly T[]) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < items.length; at += size) await work(items.slice(at, at + size))
}

/** Reads each of `items`, a few at once. @returns what was read, in the order of the items; rejects with the first failure */
export async function readTogether<T, R>(items: readonly T[], read: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = []
  const left = items.entries()
  const take = async (): Promise<void> => {
    // One iterator for all: each takes the next item that nobody has.
    for (const [index, item] of left) results[index] = await read(item)
  }
  await Promise.all(Array.from({ length: Math.min(readsTogether, items.length) }, take))
  return results
}
