import assert from "node:assert/strict"
import { type FSWatcher, readdirSync, readFileSync, statSync, watch } from "node:fs"
import { appendFile, mkdir } from "node:fs/promises"
import { dirname, join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { anOperation } from "../sqlite/records.ts"
import type { FaultyNetwork } from "../support/proxy.ts"
import { type Home, makeHome, type Service, type ServicePlan } from "../support/service.ts"
import { type Sshd, startSshd } from "../support/sshd.ts"
import { clientOf, type Json, type Send } from "./client.ts"

/** One sshd that stands for all VMs, and the shipped service over it. */
export interface World {
  readonly sshd: Sshd
  readonly home: Home
  readonly send: Send
  /** Directory of a VM's files. */
  directory(vmId: string): string
  /** Path of a VM's file of a type: `central`, `vm_specific`, `env`, .. */
  file(vmId: string, type?: string): string
  service(): Service
  /** Changes the settings file. */
  rewrite(change: (settings: Json) => Json): Promise<void>
  /** Changes the settings file and has it taken in by SIGHUP; resolves with the log line that tells how that went. */
  edit(change: (settings: Json) => Json): Promise<Json>
  /** Starts the service again after it was stopped or killed. */
  restart(flags?: readonly string[], entry?: string): Promise<Service>
  close(): Promise<void>
}

export interface WorldPlan {
  /** Sections that are laid over the ones below, member by member. */
  readonly settings?: (sshd: Sshd) => Readonly<Record<string, Readonly<Record<string, unknown>>>>
  readonly schemas?: Readonly<Record<string, unknown>>
  readonly environment?: Readonly<Record<string, string>>
}

export const vmIds = ["vm01", "vm02", "vm03", "vm04"]

/** `port` must be an integer; everything else is free. */
export const centralSchema = {
  $schema: "http://json-schema.org/draft-07/schema#",
  title: "Central",
  type: "object",
  properties: { port: { type: "integer" }, name: { type: "string" } },
}
const envSchema = { type: "object", additionalProperties: { type: "string" } }

const fileNames: Readonly<Record<string, string>> = { central: "central.yml", vm_specific: "vm.yml", env: ".env" }

export async function makeWorld(plan: WorldPlan = {}): Promise<World> {
  const sshd = await startSshd()
  for (const vmId of vmIds) await mkdir(join(sshd.root, vmId))
  const starting = planOf(sshd, plan)
  let { settings } = starting
  const home = await makeHome(starting)
  let service = await home.start()
  const rewrite: World["rewrite"] = (change) => {
    settings = change(settings)
    return home.rewrite(settings)
  }
  const directory = (vmId: string): string => join(sshd.root, vmId)
  return {
    sshd,
    home,
    send: clientOf(() => service.url),
    directory,
    file: (vmId, type = "central") => join(directory(vmId), fileNames[type] ?? type),
    service: () => service,
    rewrite,
    edit: async (change) => {
      await rewrite(change)
      const earlier = new Set(service.lines.filter(isReload))
      service.signal("SIGHUP")
      return service.logged((line) => isReload(line) && !earlier.has(line))
    },
    restart: async (flags, entry) => {
      service = await home.start(flags, entry)
      return service
    },
    close: async () => {
      await service.kill()
      await home.remove()
      await sshd.stop()
    },
  }
}

/** From now on the service reaches the VM through `network`: its address changes by a reload. */
export async function moveBehind(network: FaultyNetwork, vmId: string, world: World): Promise<void> {
  const { host, port } = network
  await appendFile(world.sshd.knownHostsPath, `[${host}]:${port} ${world.sshd.hostKeys[0]?.publicKey}\n`)
  const { msg } = await world.edit((settings) => {
    const vms = settings.vms as Readonly<Record<string, Json>>
    return { ...settings, vms: { ...vms, [vmId]: { ...vms[vmId], ip: host, ssh_port: port } } }
  })
  assert.equal(msg, "settings taken in")
}

const isReload = ({ msg }: Json): boolean => /^settings (not )?taken in/.test(String(msg))

/** Settings in the shape of the original tool's file, sections of other tools included. */
export function planOf(sshd: Sshd, plan: WorldPlan = {}): ServicePlan {
  const settings = settingsOf(sshd, plan.settings?.(sshd) ?? {})
  const schemas = { "central.json": centralSchema, "vm.json": centralSchema, "env.json": envSchema, ...plan.schemas }
  return { settings, schemas, environment: plan.environment }
}

function settingsOf(sshd: Sshd, over: Readonly<Record<string, Readonly<Record<string, unknown>>>>): Json {
  const base: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    vms: Object.fromEntries(vmIds.map((vmId, index) => [vmId, vmOf(sshd, vmId, index)])),
    network: { subnet: "10.0.0.0/24", gateway: "10.0.0.1" },
    services: { postgresql: { port: 5432 } },
    remote_execution: {
      default_timeout: 5,
      default_retry: 3,
      connection_pool_size: 10,
      max_parallel_commands: 5,
      key_storage_path: join(sshd.root, "no-keys-here"),
      key_storage_type: "encrypted_dir",
      key_rotation_days: 90,
      audit_log_destination: "file",
      checksum_algorithm: "sha256",
    },
    config_management: {
      backup_retention_days: 90,
      encryption_method: "AES",
      backup_remote_path: "",
      config_paths: {
        central: { default: join(sshd.root, "{vmId}", "central.yml") },
        vm_specific: {
          vm01: join(sshd.root, "vm01", "vm.yml"),
          "role=database": join(sshd.root, "{vmId}", "vm.yml"),
        },
        env: { default: join(sshd.root, "{vmId}", ".env") },
      },
      config_schemas: { central: "central.json", vm_specific: "vm.json", env: "env.json" },
    },
    ssh: { known_hosts_path: sshd.knownHostsPath, private_key_path: sshd.clientKeyPath, connect_timeout: 3 },
    limits: { requests_per_minute: 0 },
  }
  const names = [...new Set([...Object.keys(base), ...Object.keys(over)])]
  return Object.fromEntries(names.map((name) => [name, { ...base[name], ...over[name] }]))
}

const roles = ["ingest-parser", "database", "analysis-jupyter", "orchestrator-n8n"]

function vmOf({ host, port, user }: Sshd, vmId: string, index: number): Json {
  const vm = { name: `threat-hunt-${vmId}`, ip: host, ssh_user: user, ssh_port: port, role: roles[index] }
  return { ...vm, enabled: true }
}

/** A file as it stands: bytes, permission bits, owner. */
export interface Standing {
  readonly bytes: Buffer
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

export function standing(path: string): Standing {
  const { mode, uid, gid } = statSync(path)
  return { bytes: readFileSync(path), mode: mode & 0o7777, uid, gid }
}

/** Staging files, second names and probe files of the service that were left beside `path`. */
export function leftovers(path: string): readonly string[] {
  return readdirSync(dirname(path)).filter((name) => /\.(new|old|probe)$|config-manager/.test(name))
}

/**
 * Does `action` as soon as a file whose name ends with `suffix` shows up in `directory`.
 * @returns resolves when it was done
 */
export function whenAppears(directory: string, suffix: string, action: () => void): Promise<void> {
  let watcher: FSWatcher
  return new Promise((resolve, reject) => {
    watcher = watch(directory, (_event, name) => {
      if (!name?.endsWith(suffix)) return
      watcher.close()
      action()
      resolve()
    })
    watcher.once("error", reject)
  })
}

const patienceMs = 10_000

/** Asks until the answer fits: for what another process does in its own time. */
export async function eventually<T>(ask: () => T | Promise<T>, fits: (answer: T) => boolean): Promise<T> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    const answer = await ask()
    if (fits(answer)) return answer
    if (performance.now() > deadline) assert.fail(`not so within ${patienceMs / 1000} s: ${JSON.stringify(answer)}`)
    await delay(10)
  }
}

const finalStates = ["succeeded", "unchanged", "failed", "rolled_back"]

/** The operation, once it has ended. */
export async function ended(send: Send, operationId: unknown): Promise<Json> {
  const ask = async (): Promise<Json> => (await send("GET", `/operations/${String(operationId)}`)).body
  return eventually(ask, ({ state, finishedAt }) => finalStates.includes(String(state)) && finishedAt !== null)
}

/** Enters an operation into the catalog, while the service is stopped: what it made is known there. @returns its id */
export async function enterOperation({ home }: Pick<World, "home">): Promise<string> {
  const operation = anOperation({ state: "succeeded", finishedAt: "2020-01-01T00:00:00.000Z" })
  const catalog = SqliteCatalog.open({ path: join(home.state, "catalog.db"), migrationsDir })
  await catalog.addOperation(operation, null)
  catalog.close()
  return operation.operationId
}
