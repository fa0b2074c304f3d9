import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import closeWithGrace from "close-with-grace"
import { StartError } from "../src/domain/start-error.ts"
import { onStopSignal, stopSignals } from "../src/stop-signals.ts"
import { guide } from "./guide.ts"
import { startDemo } from "./start.ts"

/** `npm run demo [-- --port N]`: the service on a fleet of VMs that live in this process and leave nothing behind. */

const defaultPort = 8080
const usage = "Use: npm run demo -- [--port N], N from 0 to 65535 (0: any port that is free).\n"
const exitCodes = { failed: 1, usage: 64 }
const stopLimitMs = 10_000

const port = readPort(process.argv.slice(2))
if (port === null) {
  process.stderr.write(usage)
  process.exitCode = exitCodes.usage
} else {
  await run(port)
}

async function run(port: number): Promise<void> {
  const stops: (() => Promise<void>)[] = []
  const stopAll = async (): Promise<void> => {
    for (const stop of stops.toReversed()) await stop()
  }
  const { close } = closeWithGrace({ delay: stopLimitMs, logger: false, skip: [...stopSignals] }, async ({ err }) => {
    if (err) process.stderr.write(`${err.stack}\n`)
    await stopAll()
  })
  onStopSignal(() => void close())
  const dir = makeTemporary()
  try {
    const facts = await startDemo({
      dir,
      port,
      onStop: (stop) => stops.push(stop),
      say: (sentence) => process.stdout.write(`${sentence}\n`),
    })
    process.stdout.write(guide(facts))
  } catch (error) {
    process.stderr.write(`${error instanceof StartError ? error.message : (error as Error).stack}\n`)
    await stopAll()
    process.exit(exitCodes.failed)
  }
}

/** Goes with the process, whichever way that ends: after a failed start and an interrupted one as well. */
function makeTemporary(): string {
  const dir = mkdtempSync(join(tmpdir(), "config-manager-demo-"))
  process.once("exit", () => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** null: not understood. */
function readPort(args: readonly string[]): number | null {
  try {
    const { values } = parseArgs({ args: [...args], options: { port: { type: "string" } } })
    if (values.port === undefined) return defaultPort
    const number = Number(values.port)
    return /^\d{1,5}$/.test(values.port) && number <= 65_535 ? number : null
  } catch {
    return null
  }
}
