/** Numbers that only look random: the same seed gives the same ones, so that a run can be repeated. */
export interface Random {
  /** 0 <= n < below */
  int(below: number): number
  pick<T>(from: readonly [T, ...T[]] | readonly T[]): T
  bytes(length: number): Buffer
}

/** mulberry32: 32 bits of state, good enough to choose faults by. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (below: number): number => Math.floor(next() * below)
  return {
    int,
    pick: (from) => {
      if (from.length === 0) throw new Error("nothing to pick from")
      return from[int(from.length)] as (typeof from)[number]
    },
    bytes: (length) => Buffer.from(Array.from({ length }, () => int(256))),
  }
}
