import { type Lane, openLanes, rateOf, stayAwake } from "./load.ts"
import { medianOf, usageOf } from "./measure.ts"
import type { Server } from "./process.ts"

/** One thing that is asked for as fast as it is answered. */
export interface Contender {
  readonly name: string
  readonly server: Pick<Server, "url" | "pid">
  readonly requests: readonly Buffer[]
  /** Requests a round. */
  readonly runs: number
  /** Share of the first contender's requests per second that it is to reach. */
  readonly goal?: number
}

export interface Rate {
  readonly name: string
  readonly perSecond: number
  /** Of the first contender's, each round compared by itself. */
  readonly share: number
  /** CPU time of the server. */
  readonly cpuMicroseconds: number
  readonly goal: number | null
}

const rounds = 7
/** Connections per server. */
const connections = 64

/** Requests per second of each contender, in turns; the first is what the others are compared with. Medians of the rounds. */
export async function ratesOf(contenders: readonly Contender[]): Promise<readonly Rate[]> {
  const urls = new Set(contenders.map(({ server }) => server.url))
  const lanes = new Map<string, readonly Lane[]>()
  for (const url of urls) lanes.set(url, await openLanes(url, connections))
  const lanesOf = (contender: Contender): readonly Lane[] => lanes.get(contender.server.url) ?? []
  for (const contender of contenders) await rateOf(lanesOf(contender), contender.runs, contender.requests)
  const goToSleep = stayAwake()
  const found = contenders.map(() => ({ rates: [] as number[], cpu: [] as number[] }))
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, contender] of contenders.entries()) {
      const { pid } = contender.server
      const before = await usageOf(pid)
      found[index]?.rates.push(await rateOf(lanesOf(contender), contender.runs, contender.requests))
      const used = (await usageOf(pid)).cpuSeconds - before.cpuSeconds
      found[index]?.cpu.push((used * 1e6) / contender.runs)
    }
  }
  goToSleep()
  for (const lane of [...lanes.values()].flat()) lane.close()
  const first = found[0]?.rates ?? []
  return contenders.map(({ name, goal }, index) => {
    const { rates, cpu } = found[index] ?? { rates: [], cpu: [] }
    const shares = rates.map((rate, round) => rate / (first[round] ?? Number.NaN))
    const share = medianOf(shares)
    return { name, perSecond: medianOf(rates), share, cpuMicroseconds: medianOf(cpu), goal: goal ?? null }
  })
}

export function rateTable(rates: readonly Rate[]): string {
  const percent = (share: number): string => `${(share * 100).toFixed(0)} %`
  const rows = rates.map(({ name, perSecond, share, cpuMicroseconds, goal }) => {
    const goalText = goal === null ? "" : `>= ${percent(goal)}`
    return `| ${[name, perSecond.toFixed(0), percent(share), goalText, cpuMicroseconds.toFixed(0)].join(" | ")} |`
  })
  const head = "| Route | requests/s | of hello world | goal | server CPU, us |"
  return [head, "| --- | --- | --- | --- | --- |", ...rows].join("\n")
}
