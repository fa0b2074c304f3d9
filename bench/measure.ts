import { readFile } from "node:fs/promises"

/** Times of one thing done again and again, one after the other. */
export interface Latency {
  readonly medianMs: number
  readonly p95Ms: number
  readonly runs: number
}

/** What one part of the benchmark has found. */
export interface Part {
  /** For bench-result.json. */
  readonly figures: unknown
  /** In Markdown. */
  readonly table: string
}

type Work = (index: number) => Promise<unknown>

/** So many turns does each contender get: what else the machine does meanwhile falls on all of them alike. */
const turns = 10

/** Latencies of things that are compared, in turns; `runs` of each. */
export async function latenciesOf<Name extends string>(
  contenders: Readonly<Record<Name, { readonly runs: number; readonly work: Work }>>,
): Promise<Record<Name, Latency>> {
  const names = Object.keys(contenders) as Name[]
  const times = new Map(names.map((name) => [name, [] as number[]]))
  for (let turn = 0; turn < turns; turn += 1) {
    for (const name of names) {
      const { runs, work } = contenders[name]
      for (let index = turn; index < runs; index += turns) {
        const begin = performance.now()
        await work(index)
        times.get(name)?.push(performance.now() - begin)
      }
    }
  }
  return Object.fromEntries(names.map((name) => [name, summary(times.get(name) ?? [])])) as Record<Name, Latency>
}

/** Runs `work` one after the other; the first tenth warms up and does not count. */
export async function latencyOf(runs: number, work: Work): Promise<Latency> {
  const times: number[] = []
  const warmUp = Math.ceil(runs / 10)
  for (let index = 0; index < runs + warmUp; index += 1) {
    const begin = performance.now()
    await work(index)
    if (index >= warmUp) times.push(performance.now() - begin)
  }
  return summary(times)
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? 0
}

export function summary(times: readonly number[]): Latency {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
  return { medianMs: at(0.5), p95Ms: at(0.95), runs: sorted.length }
}

/** Per second, with `lanes` callers at once, each working through its share of `runs`. */
export async function throughputOf(
  runs: number,
  lanes: number,
  work: (index: number, lane: number) => Promise<unknown>,
): Promise<number> {
  const begin = performance.now()
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (let index = lane; index < runs; index += lanes) await work(index, lane)
    }),
  )
  return (runs * 1000) / (performance.now() - begin)
}

/** CPU seconds and resident MiB of a process (proc(5)). */
export async function usageOf(pid: number): Promise<{ readonly cpuSeconds: number; readonly rssMib: number }> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8")
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  const ticksPerSecond = 100
  const cpuSeconds = (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  const status = await readFile(`/proc/${pid}/status`, "utf8")
  return { cpuSeconds, rssMib: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024 }
}
