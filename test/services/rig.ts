import assert from "node:assert/strict"
import { join } from "node:path"
import type { Caller, Precondition } from "../../src/domain/caller.ts"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { digestOf } from "../../src/domain/digest.ts"
import type { DocumentValidator } from "../../src/domain/document-validator.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { Version } from "../../src/domain/version.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { Backups } from "../../src/services/backups.ts"
import { ConfigLocks } from "../../src/services/config-locks.ts"
import { Configs } from "../../src/services/configs.ts"
import { LiveFiles } from "../../src/services/live-files.ts"
import { Operations } from "../../src/services/operations.ts"
import { PushWriter } from "../../src/services/push-writer.ts"
import { Pusher } from "../../src/services/pusher.ts"
import { Resolver } from "../../src/services/resolver.ts"
import { Settlement } from "../../src/services/settlement.ts"
import { StandingKeeper } from "../../src/services/standing-keeper.ts"
import { VersionKeeper } from "../../src/services/version-keeper.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { MemoryBlobStore } from "../fakes/memory-blob-store.ts"
import { type MemoryFile, MemoryTransport } from "../fakes/memory-transport.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

export const ref = { vmId: "vm01", type: "app" }
export const path = "/etc/app.yml"
export const live = `vm01:${path}`
export const anyone: Precondition = { ifMatch: null, createOnly: false }
const migrationsDir = join(import.meta.dirname, "..", "..", "migrations")

export interface RigOptions {
  readonly files?: Readonly<Record<string, MemoryFile>>
  readonly type?: Partial<ConfigType>
  readonly timeoutMs?: number
  /** An earlier rig whose VM, blobs and catalog live on: a restart. */
  readonly after?: Survivors
}

/** What outlives a process. */
interface Survivors {
  readonly dir: string
  readonly transport: MemoryTransport
  readonly blobs: MemoryBlobStore
}

export type Rig = Awaited<ReturnType<typeof makeRig>>

/** The services as they are composed, over a fleet and a store in memory and a real catalog. */
export async function makeRig(options: RigOptions = {}) {
  const { after } = options
  const dir = after?.dir ?? makeTemporary("services")
  const transport = after?.transport ?? new MemoryTransport(options.files)
  const blobs = after?.blobs ?? new MemoryBlobStore()
  const catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
  const inventory = new Inventory(
    [vm("vm01"), vm("vm02")],
    [typeOf(options.type)],
    new Map([["app", { default: path }]]),
  )
  const settings = { inventory }
  const ended: { operation: Operation; fault: Fault | null }[] = []
  const waiting = new Set<() => void>()
  const observe = (operation: Operation, fault: Fault | null): void => {
    ended.push({ operation, fault })
    for (const look of waiting) look()
  }
  const clock = (): Date => new Date()
  const timeoutMs = options.timeoutMs ?? 2000
  const statusOf = (): number => 500
  const stopping = new AbortController().signal
  const keeper = new VersionKeeper(blobs, catalog, clock)
  const locks = new ConfigLocks(timeoutMs)
  const settlement = new Settlement({ catalog, keeper, clock, statusOf, observe })
  const current = (): Inventory => settings.inventory
  const resolver = new Resolver({ inventory: current, transport, catalog, settlement, locks, statusOf })
  const writer = new PushWriter({ catalog, keeper, settlement, resolver })
  const standing = new StandingKeeper({ catalog, keeper, settlement, resolver, observe })
  const pusher = new Pusher({
    transport,
    catalog,
    keeper,
    locks,
    writer,
    standing,
    clock,
    statusOf,
    observe,
    timeoutMs,
    stopping,
  })
  const files = new LiveFiles(transport, timeoutMs, stopping)
  const configs = new Configs({ inventory: current, files, validator: noSchemas, pusher, clock })
  const parts = {
    inventory: current,
    files,
    configs,
    pusher,
    blobs,
    catalog,
    keeper,
    validator: noSchemas,
    standing,
    clock,
  }
  return {
    dir,
    transport,
    blobs,
    catalog,
    settings,
    ended,
    resolver,
    configs,
    backups: new Backups(parts),
    operations: new Operations(catalog),
    put: (text: string, changes: { backup?: boolean; precondition?: Precondition; signal?: AbortSignal } = {}) => {
      const { backup = true, precondition = anyone, signal } = changes
      const body = { bytes: Buffer.from(text) }
      return configs.put(ref, body, { validate: true, backup, dryRun: false, precondition }, caller(signal))
    },
    /** Resolves with the first operation that ends and fits, or has ended already. */
    end: (fits: (operation: Operation) => boolean): Promise<Operation> =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = ended.find(({ operation }) => fits(operation))
          if (!found) return
          waiting.delete(look)
          resolve(found.operation)
        }
        waiting.add(look)
        look()
      }),
    text: () => transport.files.get(live)?.bytes.toString("utf8") ?? null,
    versions: async (): Promise<readonly Version[]> =>
      JSON.parse((await catalog.listVersions({}, { limit: 500, cursor: null })).items) as Version[],
    /** Ends the process of this rig; what it left stays. */
    stop: async (): Promise<void> => {
      await resolver.stop()
      catalog.close()
    },
    remove: () => removeTemporary(dir),
  }
}

/** What must hold whenever all is quiet (FAULTS.md, the auditor): nothing left over, rows and blobs are the same, nothing open. */
export async function audit(rig: Rig): Promise<void> {
  const left = [...rig.transport.files.keys()].filter((name) => /\.[0-9a-f-]{36}\.(new|old)$/.test(name))
  assert.deepEqual(left, [], "staging files are left over")
  const versions = await rig.versions()
  const rows = versions.map(({ vmId, type, backupId }) => `${vmId}/${type}/${backupId}`).sort()
  assert.deepEqual([...rig.blobs.blobs.keys()].sort(), rows, "blobs and rows are not the same")
  for (const version of versions) {
    const { bytes } = await rig.blobs.open(version)
    assert.equal(digestOf(bytes), version.digest)
  }
  assert.deepEqual(await rig.catalog.openOperations(), [], "operations are open")
}

export function caller(signal: AbortSignal = new AbortController().signal): Caller {
  return { actor: "anonymous", requestId: "test", reason: "a reason", signal }
}

export function lost(code: "connection_lost" | "vm_timeout" = "connection_lost"): Fault {
  return new Fault(code, "The connection was lost.")
}

function vm(vmId: string): Vm {
  return {
    vmId,
    name: vmId,
    host: "127.0.0.1",
    port: 22,
    user: "x",
    role: null,
    labels: {},
    enabled: true,
    hostKeys: [],
    privateKeyPath: null,
    proxyJump: null,
  }
}

function typeOf(changes: Partial<ConfigType> = {}): ConfigType {
  return {
    type: "app",
    format: "yaml",
    schemaFile: null,
    yamlVersion: "1.2",
    mode: 0o640,
    keepOwner: true,
    maxBytes: 65_536,
    requireIfMatch: false,
    followSymlinks: false,
    become: false,
    sftpServer: null,
    ...changes,
  }
}

const noSchemas: DocumentValidator = {
  schemas: () => [],
  schemaText: () => null,
  validate: async () => ({ errors: [], truncated: false }),
  load: async () => {},
  close: async () => {},
}
