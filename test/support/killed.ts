import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Home } from "./service.ts"

const bin = join(import.meta.dirname, "..", "..", "bin", "config-manager.js")
const preload = join(import.meta.dirname, "kill-at-call.ts")
const limitMs = 60_000

/** Runs a command of the service, and kills it just before its n-th call that changes a file (`call`, from 1). @returns whether it was killed */
export async function runKilledAt(home: Home, args: readonly string[], call: number): Promise<boolean> {
  return (await run(home, args, { TEST_KILL_AT_CALL: String(call) })) === "SIGKILL"
}

/** Runs a command to its end. @returns how many calls that change files it made */
export async function countCalls(home: Home, args: readonly string[]): Promise<number> {
  const file = join(home.dir, "calls")
  await run(home, args, { TEST_CALLS_FILE: file })
  return Number(readFileSync(file, "utf8"))
}

async function run(
  home: Home,
  args: readonly string[],
  more: Readonly<Record<string, string>>,
): Promise<string | null> {
  const env = { PATH: process.env.PATH ?? "", HOME: home.dir, ...more }
  const command = ["--import", preload, bin, ...args, "--config", home.settingsFile]
  const child = spawn(process.execPath, command, { env, cwd: home.dir, stdio: "ignore", timeout: limitMs })
  const [, signal] = (await once(child, "exit")) as [number | null, string | null]
  return signal
}
