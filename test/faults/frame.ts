import { appendFileSync } from "node:fs"
import { type TestContext, test } from "node:test"
import { type Random, randomFrom } from "./random.ts"

/** What a run counts. All but `runs` must stay 0 (FAULTS.md says what lost and torn are). */
const counters = ["runs", "lost", "torn", "hangs", "wrong outcomes"] as const
type Counter = (typeof counters)[number]
export type Counts = Readonly<Record<Counter, number>>

/** A line of the report: what `npm run faults` makes its table of. */
export interface RunReport {
  readonly id: string
  readonly name: string
  readonly counts: Counts
  readonly seconds: number
  /** null: the run passed. */
  readonly failure: string | null
}

interface FaultPlan {
  /** As in FAULTS.md: `R8`. */
  readonly id: string
  /** What is done, in a few words. */
  readonly name: string
  /** Rounds in CI and at night. */
  readonly ci: number
  readonly nightly: number
  /** A run that takes longer in CI hangs; default 3 minutes. At night it is an hour for all. */
  readonly limitMs?: number
  /** It mounts file systems: not for a user who may not. */
  readonly needsRoot?: boolean
}

/** A run under way. */
export interface FaultRun {
  /** How many rounds are asked for. */
  readonly size: number
  readonly random: Random
  /** Adds to a counter; `runs` counts the faults that were injected. */
  count(counter: Counter, by?: number): void
  /** Counts one that must not be, in words; the run goes on, and fails at its end with the first of these sentences. */
  found(counter: Exclude<Counter, "runs">, what: string): void
  /** Adds a figure to the line that is printed at the end. */
  note(text: string): void
  /**
   * Does `work` as often as `size` says, each time with a seed of its own, which is printed when it fails:
   * `CONFIG_MANAGER_SEED=<seed>` runs that round alone. Each round is counted as a run.
   */
  rounds(work: (round: { readonly index: number; readonly random: Random }) => Promise<void>): Promise<void>
}

const { CONFIG_MANAGER_FAULTS: scale, CONFIG_MANAGER_FAULTS_REPORT: reportFile } = process.env
const givenSeed = process.env.CONFIG_MANAGER_SEED === undefined ? null : Number(process.env.CONFIG_MANAGER_SEED)
const nightly = scale === "nightly"

/** Registers a fault run as a test: it prints one line, fails where a counter but `runs` is not 0, and reports itself. */
export function faultRun(plan: FaultPlan, work: (run: FaultRun) => Promise<void>): void {
  const timeout = nightly ? 3_600_000 : (plan.limitMs ?? 180_000)
  const skip = plan.needsRoot && process.getuid?.() !== 0 ? "needs root, to mount a file system" : false
  void test(`${plan.id}: ${plan.name}`, { timeout, skip }, async (context) => {
    const counts = Object.fromEntries(counters.map((name) => [name, 0])) as Record<Counter, number>
    const notes: string[] = []
    const findings: string[] = []
    const seed = givenSeed ?? Math.floor(Math.random() * 2 ** 32)
    const begin = performance.now()
    const failure = await failureOf(() => work(makeRun(plan, seed, { counts, notes, findings })), context.signal)
    if (context.signal.aborted) counts.hangs += 1
    const verdict = failure ?? wrongCounts(counts, findings)
    const seconds = Math.round((performance.now() - begin) / 100) / 10
    tell(context, { ...plan, counts, seconds, failure: verdict === null ? null : messageOf(verdict) }, [
      ...notes,
      `seed ${seed}`,
    ])
    if (verdict !== null) throw verdict
  })
}

interface Told {
  readonly counts: Record<Counter, number>
  readonly notes: string[]
  readonly findings: string[]
}

function makeRun(plan: FaultPlan, seed: number, { counts, notes, findings }: Told): FaultRun {
  const size = nightly ? plan.nightly : plan.ci
  const count = (counter: Counter, by = 1): void => {
    counts[counter] += by
  }
  return {
    size,
    random: randomFrom(seed),
    count,
    found: (counter, what) => {
      count(counter)
      findings.push(`${counter}: ${what}`)
    },
    note: (text) => void notes.push(text),
    rounds: async (work) => {
      for (let index = 0; index < (givenSeed === null ? size : 1); index++) {
        // The first round has the seed itself, so that a seed that is given is that round.
        const own = (seed + index * 0x9e3779b1) >>> 0
        count("runs")
        await work({ index, random: randomFrom(own) }).catch((cause: unknown) => {
          const message = `round ${index} (CONFIG_MANAGER_SEED=${own} runs it alone): ${messageOf(cause)}`
          throw new Error(message, { cause })
        })
      }
    },
  }
}

function wrongCounts(counts: Counts, findings: readonly string[]): Error | null {
  const wrong = counters.filter((name) => name !== "runs" && counts[name] > 0)
  if (wrong.length === 0) return null
  return new Error([wrong.map((name) => `${counts[name]} ${name}`).join(", "), ...findings.slice(0, 5)].join("\n  "))
}

/** @returns what `work` failed with, or null; the end of the time allowed counts as a failure */
async function failureOf(work: () => Promise<void>, signal: AbortSignal): Promise<unknown> {
  const late = Promise.withResolvers<never>()
  const onAbort = (): void => late.reject(new Error("the run did not end in time"))
  signal.addEventListener("abort", onAbort)
  try {
    await Promise.race([work(), late.promise])
    return null
  } catch (error) {
    return error
  } finally {
    signal.removeEventListener("abort", onAbort)
  }
}

function tell(context: TestContext, { id, name, counts, seconds, failure }: RunReport, notes: readonly string[]): void {
  const counted = counters.map((counter) => `${counts[counter]} ${counter}`).join(", ")
  context.diagnostic(`${id}: ${counted}, ${seconds} s; ${notes.join("; ")}`)
  const report: RunReport = { id, name, counts, seconds, failure }
  if (reportFile !== undefined) appendFileSync(reportFile, `${JSON.stringify(report)}\n`)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
