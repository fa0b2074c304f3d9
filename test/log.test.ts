import assert from "node:assert/strict"
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { promisify } from "node:util"
import { StartError } from "../src/domain/start-error.ts"
import { openLog } from "../src/log.ts"

const run = promisify(execFile)
const log = JSON.stringify(join(import.meta.dirname, "..", "src", "log.ts"))

/** Runs a script with `logger` in a process of its own. @returns what it wrote on standard output, line by line */
async function linesOf(script: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { stdout } = await run(process.execPath, argumentsOf(script))
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))
}

function argumentsOf(script: string): string[] {
  const program = `const { openLog } = await import(${log}); const logger = await openLog("info"); ${script}`
  return ["--input-type=module", "--eval", program]
}

/** The same with its standard output left to the test; ended by force where it stands still. */
function spawnLogging(script: string, output: "pipe" | number = "pipe"): ChildProcess {
  return spawn(process.execPath, argumentsOf(script), {
    stdio: ["pipe", output, "inherit", "ipc"],
    timeout: 5_000,
    killSignal: "SIGKILL",
  })
}

suite("the log on standard output", () => {
  test("has the level that is asked for in any case, and the usual one where that is empty", async () => {
    assert.equal((await openLog("Warn")).level, "warn")
    assert.equal((await openLog("")).level, "info")
    await assert.rejects(openLog("loud"), StartError)
  })

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

  test("on a disk that is full ends nothing", async () => {
    const full = openSync("/dev/full", "w")
    const child = spawnLogging("logger.info('one'); setTimeout(() => process.exit(7), 100)", full)
    closeSync(full)
    assert.deepEqual(await once(child, "close"), [7, null])
  })

  test("whose reader has gone ends nothing", async () => {
    const script = "process.once('message', () => { logger.info('two'); setTimeout(() => process.exit(7), 100) })"
    const child = spawnLogging(`logger.info('one'); ${script}`)
    await once(child.stdout ?? child, "data")
    child.stdout?.destroy()
    child.send("go on")
    assert.deepEqual(await once(child, "close"), [7, null])
  })

  test("whose reader stands still holds nothing up, keeps a MiB of it and tells how many lines it lost", async () => {
    const script = `
      for (let n = 0; n < 3000; n++) logger.info({ n }, "x".repeat(1000))
      process.send("went on")
      process.once("message", () => setTimeout(() => { logger.info("last"); process.disconnect() }, 200))`
    const child = spawnLogging(script)
    await Promise.race([once(child, "message"), once(child, "exit")])
    let text = ""
    child.stdout?.setEncoding("utf8").on("data", (more: string) => {
      text += more
    })
    child.send("go on")
    assert.deepEqual(await once(child, "close"), [0, null])
    const lines = text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>)
    const [gap, last] = lines.slice(-2)
    assert.ok(text.length > 1_000_000, `${text.length} bytes`)
    assert.equal(lines.length - 2 + Number(gap?.lost), 3000)
    assert.equal(last?.msg, "last")
  })
})
