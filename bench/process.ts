import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync } from "node:fs"
import { mkdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import type { Home } from "../test/support/service.ts"

const bin = join(import.meta.dirname, "..", "bin", "config-manager.js")
const hello = join(import.meta.dirname, "hello.ts")
const startLimitMs = 60_000
const lookEveryMs = 5

const running = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})

/** A server in a process of its own. */
export interface Server {
  readonly url: string
  readonly pid: number
  readonly startedInMs: number
  stop(): Promise<void>
}

/** The shipped service. Its log goes to a file: to read it would cost the process that measures. */
export function startService(home: Home): Promise<Server> {
  return startServer([bin, "serve", "--config", home.settingsFile], home.dir)
}

/** The routes that ours are compared with; see hello.ts. @param catalog path of one that is there */
export async function startHello(home: Home, ...catalog: readonly string[]): Promise<Server> {
  const dir = join(home.dir, "hello")
  await mkdir(dir, { recursive: true })
  return startServer([hello, ...catalog], dir)
}

/** Runs a command of the service to its end. @returns ms it took @throws {Error} unless it ends with 0 */
export async function runCommand(home: Home, args: readonly string[]): Promise<number> {
  const begin = performance.now()
  const env = { PATH: process.env.PATH ?? "", HOME: home.dir }
  const child = spawn(process.execPath, [bin, ...args, "--config", home.settingsFile], {
    cwd: home.dir,
    env,
    stdio: ["ignore", "ignore", "inherit"],
  })
  const [code] = (await once(child, "exit")) as [number | null]
  if (code !== 0) throw new Error(`config-manager ${args.join(" ")} ended with ${code}`)
  return performance.now() - begin
}

async function startServer(args: readonly string[], dir: string): Promise<Server> {
  const begin = performance.now()
  const logFile = join(dir, "server.log")
  const log = openSync(logFile, "w")
  const env = { PATH: process.env.PATH ?? "", HOME: dir }
  const child = spawn(process.execPath, args, { cwd: dir, env, stdio: ["ignore", log, log] })
  closeSync(log)
  running.add(child)
  child.once("exit", () => running.delete(child))
  const ended = once(child, "exit")
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM")
    await ended
  }
  while (performance.now() - begin < startLimitMs && child.exitCode === null) {
    const url = /listening on (http:[^\s"]+)/.exec(await readFile(logFile, "utf8"))?.[1]
    if (url) return { url, pid: child.pid ?? 0, startedInMs: performance.now() - begin, stop }
    await pause(lookEveryMs)
  }
  await stop()
  throw new Error(`no server: ${await readFile(logFile, "utf8")}`)
}
