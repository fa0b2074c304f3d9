import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import type { FastifyInstance } from "fastify"
import { compose } from "../src/compose.ts"
import { StartError } from "../src/domain/start-error.ts"
import { openLog } from "../src/log.ts"
import { loadSettings } from "../src/settings.ts"
import { Fleet } from "./fleet.ts"
import type { Facts } from "./guide.ts"
import { exampleId, writeHistory } from "./history.ts"
import { writeKeys } from "./keys.ts"
import { placesIn, settingsText } from "./settings.ts"

/** Nobody else's business: the demo asks for no token. */
const host = "127.0.0.1"
const lastPort = 65_535

export interface StartOptions {
  /** An empty folder; all files of the demo stand in it. */
  readonly dir: string
  /** Where it is taken, the next that is free; 0: any. */
  readonly port: number
  /** Takes what must be ended later, as soon as there is something to end. */
  readonly onStop: (stop: () => Promise<void>) => void
  readonly say: (sentence: string) => void
}

/** Starts VMs, and the service as `serve` would: a settings file, its checks, the shipped parts. */
export async function startDemo({ dir, port, onStop, say }: StartOptions): Promise<Facts> {
  const places = placesIn(dir)
  const authorizedKey = await writeKeys(places)
  const fleet = await Fleet.start({ dir, host, authorizedKey, onStop })
  await writeFile(places.knownHosts, fleet.vms.flatMap(({ hostKeyLine }) => hostKeyLine ?? []).join("\n"))
  await writeFile(places.settings, settingsText(fleet.vms, host, port, places))
  const settings = await loadSettings(places.settings, { home: dir, cwd: dir })

  await mkdir(places.state, { mode: 0o700 })
  await mkdir(places.backups, { mode: 0o700 })
  await writeHistory(settings, fleet.file("vm01", "central"))
  const secrets = { backupKeyPath: null, backupPassphrase: null, sshPassphrase: null, agentSocket: null }
  // VMs that are down are part of the show: what goes wrong with them is in the answers, and need not be told twice.
  const logger = await openLog("error")
  const service = await compose(settings, { secrets, logger, version: await version(), newKey: false })
  onStop(() => service.stop())
  const url = await listen(service.app, port, say)

  const changedFile = join(dir, "central.yml")
  const live = await readFile(fleet.file("vm01", "central"), "utf8")
  await writeFile(changedFile, live.replace("retention_days: 90", "retention_days: 120 # asked for by the auditors"))
  const edited = await keepThenEdit(url, fleet)
  return { url, changedFile, oldVersionId: exampleId, edited }
}

/** Listens on the port, or on the next that is free. @returns the address */
async function listen(app: FastifyInstance, wanted: number, say: StartOptions["say"]): Promise<string> {
  for (let port = wanted; port <= lastPort; port += 1) {
    try {
      const url = await app.listen({ host, port, listenTextResolver: () => "" })
      if (port !== wanted) say(`Port ${wanted} is taken by another process; the demo listens on ${port}.`)
      return url
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : null
      if (code === "EACCES") throw new StartError(`Port ${port} may not be listened on; choose one above 1023.`)
      if (code !== "EADDRINUSE") throw error
    }
  }
  throw new StartError(`No port from ${wanted} to ${lastPort} is free; choose a lower one.`)
}

/** Lets the service keep what stands on vm04, then changes the file as someone logged in there would. */
async function keepThenEdit(url: string, fleet: Fleet): Promise<Facts["edited"]> {
  const kept = await ask(`${url}/backups`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ vmId: "vm04", type: "central", reason: "before anybody edits it" }),
  })
  const { backupId, digest } = (await kept.json()) as { readonly backupId: string; readonly digest: string }
  const file = fleet.file("vm04", "central")
  const text = await readFile(file, "utf8")
  await writeFile(file, text.replace(/level: info.*/, "level: debug # 3 a.m., back to info tomorrow"))
  return { backupId, etag: `"${digest}"` }
}

async function ask(url: string, request: RequestInit): Promise<Response> {
  const response = await fetch(url, request)
  if (!response.ok) throw new StartError(`The service answers its own demo with ${response.status}.`)
  return response
}

async function version(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, "..", "package.json"), "utf8")
  return (JSON.parse(text) as { readonly version: string }).version
}
