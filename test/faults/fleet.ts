import assert from "node:assert/strict"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import Database from "better-sqlite3"
import { masterKey } from "../../src/blobs/cipher.ts"
import { clientOf, type Json, type Send } from "../e2e/client.ts"
import { eventually } from "../e2e/world.ts"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Home, makeHome, type Service } from "../support/service.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { type Audited, audit } from "./auditor.ts"
import type { FaultRun } from "./frame.ts"
import { type SftpFaults, startFaultyServer } from "./sftp-faults.ts"

/** A VM of this process: a folder, an SFTP server with faults over it, and a network with faults before that. */
export interface FaultyVm {
  readonly vmId: string
  readonly url: string
  /** Its config, as a path of this machine. */
  readonly file: string
  /** The same as the service knows it. */
  readonly path: string
  readonly faults: SftpFaults
  readonly network: FaultyNetwork
}

/** The shipped service over such VMs. */
export interface Fleet {
  readonly vms: readonly FaultyVm[]
  readonly home: Home
  readonly send: Send
  /** One change's limit on a VM. */
  readonly timeoutMs: number
  service(): Service
  /** Starts the service again after it was stopped or killed. */
  restart(flags?: readonly string[]): Promise<Service>
  close(): Promise<void>
}

export interface FleetPlan {
  readonly vms: number
  readonly timeoutSeconds?: number
  /** How long bytes are under way to each VM and back, each way; default 0. */
  readonly delaysMs?: readonly number[]
  /** Of the service, over those that every one has: see main.ts. */
  readonly flags?: readonly string[]
}

const path = "/app/central.yml"
/** The shipped parts; what comes late is looked for soon, so that a run need not wait for it. */
export const entry = join(import.meta.dirname, "main.ts")
/** As the shipped start has it: what was stripped and compiled is kept for the next one. */
const compileCache = join(import.meta.dirname, "..", "..", "node_modules", ".cache", "config-manager")
const soonLooks: readonly string[] = ["--late-looks", "100,400"]

export async function makeFleet(plan: FleetPlan): Promise<Fleet> {
  const { timeoutSeconds = 1, flags = [] } = plan
  const dir = makeTemporary("fleet")
  const clientKeyPath = await sharedClientKey()
  const authorizedKey = await readFile(`${clientKeyPath}.pub`, "utf8")
  const members = await Promise.all(
    Array.from({ length: plan.vms }, async (_, index) => {
      const vmId = `vm${String(index + 1).padStart(2, "0")}`
      const root = join(dir, vmId)
      mkdirSync(join(root, "app"), { recursive: true })
      const file = join(root, path)
      writeFileSync(file, "port: 0\n", { mode: 0o640 })
      const server = await startFaultyServer({ root, authorizedKey })
      const network = await startProxy({ host: "127.0.0.1", port: server.port }, { delayMs: plan.delaysMs?.[index] })
      const url = `/vms/${vmId}/configs/central`
      return { vm: { vmId, url, file, path, faults: server.faults, network }, server }
    }),
  )
  const vms = members.map(({ vm }) => vm)
  const hosts = members.map(({ vm, server }) => [
    vm.vmId,
    { name: vm.vmId, ip: vm.network.host, ssh_port: vm.network.port, host_key: server.fingerprint },
  ])
  const settings = settingsOf(Object.fromEntries(hosts), clientKeyPath, timeoutSeconds)
  const home = await makeHome({ settings, environment: { NODE_COMPILE_CACHE: compileCache } })
  let service = await home.start([...soonLooks, ...flags], entry)
  const send = clientOf(() => service.url)
  // What stands there before the first fault is a version already.
  await Promise.all(vms.map(({ vmId }) => send("POST", "/backups", { json: { vmId, type: "central" } })))
  return {
    vms,
    home,
    send,
    timeoutMs: timeoutSeconds * 1000,
    service: () => service,
    restart: async (newFlags = flags) => {
      service = await home.start([...soonLooks, ...newFlags], entry)
      return service
    },
    close: async () => {
      await service.kill()
      await home.remove()
      await Promise.all(members.flatMap(({ vm, server }) => [vm.network.close(), server.close()]))
      await removeTemporary(dir)
    },
  }
}

/** Ends a run: waits until the service has brought everything to its end, stops it, and looks at what is left. */
export async function finish(run: FaultRun, fleet: Fleet, audited: Partial<Audited> = {}): Promise<void> {
  await journalsClosed(fleet.home.state)
  assert.equal(await fleet.service().stop(), 0)
  // A change that was to create a file may have ended before it did.
  const files = Object.fromEntries(fleet.vms.map(({ file }) => [file, [existsSync(file) ? readFileSync(file) : null]]))
  auditHome(run, fleet.home, { files, log: fleet.service().lines, ...audited })
}

export function auditHome(run: FaultRun, home: Home, audited: Pick<Audited, "files"> & Partial<Audited>): void {
  const { state, backups, keyFile } = home
  audit(run, { state, backups, keys: [masterKey(readFileSync(keyFile))], ...audited })
}

/** Resolves when no operation goes on any more, not even after its end; `mayTidy`: that may take its time. */
export async function journalsClosed(state: string, mayTidy = false): Promise<void> {
  const db = new Database(join(state, "catalog.db"), { readonly: true, fileMustExist: true })
  const phases = db.prepare<[], string>("SELECT phase FROM operations WHERE phase <> 'done'").pluck()
  try {
    await eventually(
      () => phases.all().filter((phase) => !mayTidy || phase !== "tidying"),
      (open) => open.length === 0,
    )
  } finally {
    db.close()
  }
}

function settingsOf(vms: Json, clientKeyPath: string, timeoutSeconds: number): Json {
  return {
    vms,
    remote_execution: { default_timeout: timeoutSeconds, default_retry: 3, connection_pool_size: 32 },
    config_management: {
      config_paths: { central: { default: path } },
      config_types: { central: { schema: "none" } },
    },
    ssh: { user: "x", private_key_path: clientKeyPath, connect_timeout: 8 },
    limits: { requests_per_minute: 0 },
  }
}
