import { type ChildProcess, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { stringify } from "yaml"
import { makeTemporary, removeTemporary } from "./temporary.ts"

const bin = join(import.meta.dirname, "..", "..", "bin", "config-manager.js")
/** A start that takes longer than this has failed. */
const startLimitMs = 15_000

/** What one test wants of a service: settings as the file holds them, schema files by name. */
export interface ServicePlan {
  readonly settings: Readonly<Record<string, unknown>>
  readonly schemas?: Readonly<Record<string, unknown>>
  readonly environment?: Readonly<Record<string, string>>
  readonly flags?: readonly string[]
}

/** A home for a service: settings, schemas, key, state; stays over restarts. */
export interface Home {
  readonly dir: string
  readonly settingsFile: string
  readonly backups: string
  readonly state: string
  readonly keyFile: string
  rewrite(settings: Readonly<Record<string, unknown>>): Promise<void>
  /** @param entry the script to run; default the shipped one */
  start(flags?: readonly string[], entry?: string): Promise<Service>
  /** Runs the command until it ends. */
  run(
    args: readonly string[],
  ): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>
  remove(): Promise<void>
}

/** The shipped process, listening. */
export interface Service {
  readonly url: string
  readonly pid: number
  /** ms from spawn to the line that tells the address. */
  readonly startedInMs: number
  readonly lines: readonly Readonly<Record<string, unknown>>[]
  /** Resolves with the first log line from now on, or already there, that fits. */
  logged(fits: (line: Readonly<Record<string, unknown>>) => boolean): Promise<Readonly<Record<string, unknown>>>
  signal(name: NodeJS.Signals): void
  /** SIGTERM, and the exit code. */
  stop(): Promise<number | null>
  kill(): Promise<void>
}

const running = new Set<ChildProcess>()
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})

/** Makes a home; `state_dir`, `backup_location`, the key, `schema_dir` and a free port are filled in where the plan says nothing. */
export async function makeHome(plan: ServicePlan): Promise<Home> {
  const dir = makeTemporary("home")
  const schemaDir = join(dir, "schemas")
  const keyFile = join(dir, "backup.key")
  const settingsFile = join(dir, "config.yml")
  await mkdir(schemaDir)
  await writeFile(keyFile, randomBytes(32), { mode: 0o600 })
  for (const [name, schema] of Object.entries(plan.schemas ?? {})) {
    await writeFile(join(schemaDir, name), JSON.stringify(schema))
  }
  const places = { dir, settingsFile, backups: join(dir, "backups"), state: join(dir, "state"), keyFile }
  const rewrite = (settings: Readonly<Record<string, unknown>>): Promise<void> =>
    writeFile(settingsFile, stringify(withPlaces(settings, { ...places, schemaDir })))
  await rewrite(plan.settings)
  const environment = {
    PATH: process.env.PATH ?? "",
    HOME: dir,
    ...(process.env.NODE_OPTIONS ? { NODE_OPTIONS: process.env.NODE_OPTIONS } : {}),
    ...plan.environment,
  }
  return {
    ...places,
    rewrite,
    start: (flags = plan.flags ?? [], entry = bin) =>
      start([entry, "serve", "--config", settingsFile, ...flags], environment, dir),
    run: (args) => run([bin, ...args, "--config", settingsFile], environment, dir),
    remove: () => removeTemporary(dir),
  }
}

type Places = Pick<Home, "backups" | "state" | "keyFile"> & { readonly schemaDir: string }

function withPlaces(settings: Readonly<Record<string, unknown>>, places: Places): Readonly<Record<string, unknown>> {
  const management = settings.config_management as Readonly<Record<string, unknown>>
  return {
    state_dir: places.state,
    ...settings,
    server: { port: 0, ...(settings.server as object) },
    config_management: {
      backup_location: places.backups,
      encryption_key_path: places.keyFile,
      schema_dir: places.schemaDir,
      ...management,
    },
  }
}

function launch(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string): ChildProcess {
  const child = spawn(process.execPath, [...args], { env, cwd, stdio: ["ignore", "pipe", "pipe"] })
  running.add(child)
  child.once("exit", () => running.delete(child))
  return child
}

async function run(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string) {
  const child = launch(args, env, cwd)
  const limit = setTimeout(() => child.kill("SIGKILL"), startLimitMs)
  let stdout = ""
  let stderr = ""
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  const [code] = (await once(child, "close")) as [number | null]
  clearTimeout(limit)
  return { code, stdout, stderr }
}

async function start(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string): Promise<Service> {
  const begin = performance.now()
  const child = launch(args, env, cwd)
  const lines: Readonly<Record<string, unknown>>[] = []
  const waiting = new Set<() => void>()
  let stderr = ""
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  const output = createInterface({ input: child.stdout ?? process.stdin })
  output.on("line", (line) => {
    lines.push(JSON.parse(line) as Readonly<Record<string, unknown>>)
    for (const look of waiting) look()
  })
  const ended = once(child, "close") as Promise<[number | null]>
  const logged: Service["logged"] = (fits) =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = lines.find(fits)
        if (!found) return
        done()
        resolve(found)
      }
      const fail = (why: string) => (): void => {
        done()
        reject(new Error(`${why}\n${stderr}${lines.map((line) => JSON.stringify(line)).join("\n")}`))
      }
      const gone = fail("the service ended before it logged that")
      const timer = setTimeout(fail("the service did not log that in time"), startLimitMs)
      const done = (): void => {
        clearTimeout(timer)
        waiting.delete(look)
        child.off("close", gone)
      }
      waiting.add(look)
      child.once("close", gone)
      look()
    })
  const listening = /^listening on (\S+)$/
  const { msg } = await logged((line) => listening.test(String(line.msg)))
  return {
    url: listening.exec(String(msg))?.[1] ?? "",
    pid: child.pid ?? 0,
    startedInMs: performance.now() - begin,
    lines,
    logged,
    signal: (name) => void child.kill(name),
    stop: async () => {
      child.kill("SIGTERM")
      return (await ended)[0]
    },
    kill: async () => {
      child.kill("SIGKILL")
      await ended
    },
  }
}
