import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { text } from "node:stream/consumers"
import { suite, test } from "node:test"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import type { RunReport } from "./frame.ts"
import { randomFrom } from "./random.ts"
import { faultTable } from "./table.ts"

const frame = join(import.meta.dirname, "frame.ts")

/** Runs a file with one fault run in it, in a process of its own, as `npm run test:faults` does. */
async function runAlone(body: string, environment: Readonly<Record<string, string>> = {}, plan = "") {
  const dir = makeTemporary("frame")
  const [file, reportFile] = [join(dir, "a.fault.ts"), join(dir, "report")]
  writeFileSync(
    file,
    `import { faultRun } from ${JSON.stringify(frame)}
     faultRun({ id: "R9", name: "a run", ci: 3, nightly: 7, ${plan} }, async (run) => { ${body} })`,
  )
  // Else the inner test runner takes itself for a part of this one.
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env
  const env = { ...inherited, CONFIG_MANAGER_FAULTS_REPORT: reportFile, ...environment }
  const child = spawn(process.execPath, ["--test", "--test-reporter=spec", file], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  })
  const [output, [code]] = await Promise.all([text(child.stdout), once(child, "close") as Promise<[number]>])
  const lines = existsSync(reportFile) ? readFileSync(reportFile, "utf8") : ""
  await removeTemporary(dir)
  return { code, output, lines, report: JSON.parse(lines) as RunReport }
}

suite("faultRun", () => {
  test("passes, prints one line and reports itself where nothing but runs was counted", async () => {
    const { code, output, report } = await runAlone('run.count("runs", run.size); run.note("all of it")')
    assert.equal(code, 0, output)
    assert.match(output, /R9: 3 runs, 0 lost, 0 torn, 0 hangs, 0 wrong outcomes, [\d.]+ s; all of it; seed \d+/)
    assert.deepEqual(report.counts, { runs: 3, lost: 0, torn: 0, hangs: 0, "wrong outcomes": 0 })
    assert.equal(report.failure, null)
  })

  for (const counter of ["lost", "torn", "hangs", "wrong outcomes"] as const) {
    test(`fails where one is counted as ${counter}, and says what was found`, async () => {
      const { code, report } = await runAlone(`run.found(${JSON.stringify(counter)}, "this one")`)
      assert.equal(code, 1)
      assert.equal(report.counts[counter], 1)
      assert.match(report.failure ?? "", new RegExp(`^1 ${counter}\\n  ${counter}: this one$`))
    })
  }

  test("fails where the run throws, and still reports what it had counted", async () => {
    const { code, report } = await runAlone('run.count("runs"); throw new Error("broken")')
    assert.deepEqual([code, report.counts.runs, report.failure], [1, 1, "broken"])
  })

  test("counts a run that does not end as a hang", async () => {
    const { code, report } = await runAlone(
      "setInterval(() => {}, 1000).unref(); await new Promise((resolve) => setTimeout(resolve, 60_000).unref())",
      {},
      "limitMs: 200",
    )
    assert.deepEqual([code, report.counts.hangs], [1, 1])
    assert.match(report.failure ?? "", /did not end in time/)
  })

  test("does more rounds at night", async () => {
    const { report } = await runAlone("await run.rounds(async () => {})", { CONFIG_MANAGER_FAULTS: "nightly" })
    assert.equal(report.counts.runs, 7)
  })

  test("tells the seed of a round that fails, which runs that round alone", async () => {
    const body =
      'await run.rounds(async ({ index, random }) => { run.note("n " + random.int(1e9)); if (index === 1) throw new Error("odd") })'
    const failed = await runAlone(body)
    const [, seed = ""] = /CONFIG_MANAGER_SEED=(\d+) runs it alone/.exec(failed.report.failure ?? "") ?? []
    const drawn = failed.output.match(/n \d+/g)?.at(1)

    const again = await runAlone(body, { CONFIG_MANAGER_SEED: seed })

    assert.equal(again.report.counts.runs, 1)
    assert.deepEqual(again.output.match(/n \d+/g), [drawn])
  })
})

suite("randomFrom", () => {
  test("gives the same numbers for the same seed, others for another, within bounds", () => {
    const draw = (seed: number): readonly number[] => {
      const random = randomFrom(seed)
      return Array.from({ length: 1000 }, () => random.int(10))
    }
    assert.deepEqual(draw(1), draw(1))
    assert.notDeepEqual(draw(1), draw(2))
    assert.deepEqual([...new Set(draw(3))].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
})

suite("faultTable", () => {
  const counts = { runs: 5, lost: 0, torn: 0, hangs: 0, "wrong outcomes": 1 }
  const line = (report: Partial<RunReport>): string =>
    JSON.stringify({ id: "R1", name: "a run", counts, seconds: 1.5, failure: null, ...report })

  test("has a row for each run, in the order of their numbers, and marks those that failed", () => {
    const report = [line({ id: "R10" }), line({ id: "R3", failure: "1 wrong outcomes" })].join("\n")
    const rows = faultTable(`${report}\n`, "ci")
      .split("\n")
      .filter((row) => row.startsWith("| R"))
    assert.deepEqual(rows, [
      "| R3 a run **(failed)** | 5 | 0 | 0 | 0 | 1 | 1.5 s |",
      "| R10 a run | 5 | 0 | 0 | 0 | 1 | 1.5 s |",
    ])
  })
})
