import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { suite, test } from "node:test"
import { promisify } from "node:util"

const run = promisify(execFile)
const log = JSON.stringify(join(import.meta.dirname, "..", "src", "log.ts"))

/** Runs a script with `logger` in a process of its own. @returns what it wrote on standard output, line by line */
async function linesOf(script: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const program = `const { openLog } = await import(${log}); const logger = await openLog("info"); ${script}`
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", program])
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

suite("the log on standard output", () => {
  test("loses no line when the process is ended in the same turn", async () => {
    const lines = await linesOf("logger.info('one'); logger.error('two'); process.exit(0)")
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      ["one", "two"],
    )
  })

  test("loses no line to an error that nobody catches", async () => {
    const script =
      "process.once('uncaughtException', () => process.exit(0)); logger.fatal('one'); throw new Error('oh')"
    assert.deepEqual(
      (await linesOf(script)).map(({ msg }) => msg),
      ["one"],
    )
  })

  test("has many lines of one turn whole and in order", async () => {
    const lines = await linesOf("for (let n = 0; n < 2000; n++) logger.info({ n }, 'x'.repeat(n % 300))")
    assert.deepEqual(
      lines.map(({ n }) => n),
      Array.from({ length: 2000 }, (_, n) => n),
    )
  })

  test("tells the time of each line in UTC with ms", async () => {
    const before = Date.now()
    const [line] = await linesOf("logger.info('one')")
    const time = String(line?.time)
    assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.ok(Date.parse(time) >= before && Date.parse(time) <= Date.now())
  })
})
