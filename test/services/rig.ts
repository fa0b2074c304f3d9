import assert from "node:assert/strict"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { DiskLegacyStore } from "../../src/blobs/legacy.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { buildServices, type ServiceParts } from "../../src/compose/services.ts"
import type { Caller, Precondition } from "../../src/domain/caller.ts"
import { itemsOf } from "../../src/domain/catalog.ts"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { digestOf } from "../../src/domain/digest.ts"
import type { DocumentValidator } from "../../src/domain/document-validator.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { Version } from "../../src/domain/version.ts"
import type { Vm } from "../../src/domain/vm.ts"
import type { Reconciled } from "../../src/services/reconciliation.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { keysOf } from "../blobs/legacy-files.ts"
import { MemoryBlobStore } from "../fakes/memory-blob-store.ts"
import { MemoryNotes } from "../fakes/memory-notes.ts"
import { type MemoryFile, MemoryTransport } from "../fakes/memory-transport.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

export const ref = { vmId: "vm01", type: "app" }
export const path = "/etc/app.yml"
export const live = `vm01:${path}`
export const anyone: Precondition = { ifMatch: null, createOnly: false }
export const migrationsDir = join(import.meta.dirname, "..", "..", "migrations")

export interface RigOptions {
  readonly files?: Readonly<Record<string, MemoryFile>>
  readonly type?: Partial<ConfigType>
  readonly timeoutMs?: number
  /** As in LateLooks. Default: none. */
  readonly lateLooksMs?: readonly number[]
  /** Opens the backups of the original service, which stand in `legacyDir`. */
  readonly legacyKey?: Buffer
  /** Parts that stand in for those of the rig: a store on a disk, a catalog that fails. */
  readonly instead?: (parts: ServiceParts) => Partial<ServiceParts>
  /** An earlier rig whose VM, blobs and catalog live on: a restart. */
  readonly after?: Survivors
}

/** What outlives a process. */
interface Survivors {
  readonly dir: string
  readonly transport: MemoryTransport
  readonly blobs: MemoryBlobStore
  readonly notes: MemoryNotes
}

export type Rig = Awaited<ReturnType<typeof makeRig>>

/** The services as they are composed, over a fleet and a store in memory and a real catalog. */
export async function makeRig(options: RigOptions = {}) {
  const { after } = options
  const dir = after?.dir ?? makeTemporary("services")
  const transport = after?.transport ?? new MemoryTransport(options.files)
  const blobs = after?.blobs ?? new MemoryBlobStore()
  const notes = after?.notes ?? new MemoryNotes()
  const legacyDir = join(dir, "legacy")
  mkdirSync(legacyDir, { recursive: true })
  const keys = keysOf(options.legacyKey ? [options.legacyKey] : [])
  const files = new ToldStoreFiles(legacyDir)
  const legacy = await DiskLegacyStore.open({ location: legacyDir, keys })
  const catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
  const inventory = new Inventory(
    [vm("vm01"), vm("vm02")],
    [typeOf(options.type)],
    new Map([["app", { default: path }]]),
  )
  const settings = { inventory }
  const problems: string[] = []
  const ended: { operation: Operation; fault: Fault | null }[] = []
  const waiting = new Set<() => void>()
  const observe = (operation: Operation, fault: Fault | null): void => {
    ended.push({ operation, fault })
    for (const look of waiting) look()
  }
  const parts: ServiceParts = {
    copies: null,
    onHealed: () => {},
    onRemoved: () => {},
    inventory: () => settings.inventory,
    catalog,
    blobs,
    legacy,
    notes,
    files,
    transport,
    validator: noSchemas,
    observe,
    onRetry: () => {},
    onProblem: (message) => void problems.push(message),
    retentionDays: () => 90,
    poolSize: 8,
    timeoutMs: options.timeoutMs ?? 2000,
    lateLooksMs: options.lateLooksMs ?? [],
    stopping: new AbortController().signal,
  }
  const services = buildServices({ ...parts, ...options.instead?.(parts) })
  const { resolver, configs, backups, operations, backupRuns, retention, retentionClock, versionNotes, scrubber } =
    services
  return {
    dir,
    transport,
    blobs,
    legacyDir,
    legacy,
    notes,
    files,
    problems,
    catalog,
    settings,
    ended,
    resolver,
    configs,
    backups,
    operations,
    backupRuns,
    retention,
    retentionClock,
    versionNotes,
    scrubber,
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
    /** Holds the catalog against the store, as a start does. */
    reconcile: async (): Promise<{ readonly found: Reconciled; readonly findings: readonly string[] }> => {
      const findings: string[] = []
      return { found: await services.reconciliation((finding) => void findings.push(finding)).run(), findings }
    },
    text: () => transport.files.get(live)?.bytes.toString("utf8") ?? null,
    versions: async (): Promise<readonly Version[]> =>
      itemsOf<Version>(await catalog.listVersions({}, { limit: 500, cursor: null })),
    /** Ends the process of this rig; what it left stays. */
    stop: async (): Promise<void> => {
      await backupRuns.stop()
      await resolver.stop()
      await files.written()
      catalog.close()
    },
    remove: () => removeTemporary(dir),
  }
}

/** Tells when what was begun to be written is written: the service waits for some of it itself, for some not. */
class ToldStoreFiles extends DiskStoreFiles {
  #last: Promise<unknown> = Promise.resolve()

  override write(name: string, bytes: Buffer): Promise<void> {
    const done = super.write(name, bytes)
    this.#last = Promise.allSettled([this.#last, done])
    return done
  }

  async written(): Promise<void> {
    for (let last: unknown = null; last !== this.#last; ) {
      last = this.#last
      await last
      // What follows it has begun by then.
      await new Promise(setImmediate)
    }
  }
}

/** What must hold whenever all is quiet (FAULTS.md, the auditor): nothing left over, rows and blobs are the same, nothing open. */
export async function audit(rig: Rig): Promise<void> {
  await tidied(rig)
  const left = [...rig.transport.files.keys()].filter((name) => /\.[0-9a-f-]{36}\.(new|old)$/.test(name))
  assert.deepEqual(left, [], "staging files are left over")
  const versions = (await rig.versions()).filter(({ format }) => format === "cmb1")
  const rows = versions.map(({ vmId, type, backupId }) => `${vmId}/${type}/${backupId}`).sort()
  assert.deepEqual([...rig.blobs.blobs.keys()].sort(), rows, "blobs and rows are not the same")
  for (const version of versions) {
    const { bytes } = await rig.blobs.open(version)
    assert.equal(digestOf(bytes), version.digest)
  }
  assert.deepEqual(await rig.catalog.openOperations(), [], "operations are open")
}

/** Resolves when nothing that has ended is still being tidied up after. */
export async function tidied({ catalog }: Rig): Promise<void> {
  const deadline = performance.now() + 5_000
  while ((await catalog.openOperations()).some(({ journal }) => journal.phase === "tidying")) {
    assert.ok(performance.now() < deadline, "what has ended is not tidied up after")
    await new Promise(setImmediate)
  }
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

/** Runs a test and holds at its end that nothing is left over. */
export async function withRig(options: RigOptions, work: (rig: Rig) => Promise<void>): Promise<void> {
  const rig = await makeRig(options)
  try {
    await work(rig)
    rig.blobs.failing.clear()
    await audit(rig)
  } finally {
    await rig.stop()
    await rig.remove()
  }
}

/** The fault that `work` is refused with. */
export async function refusal(work: Promise<unknown>): Promise<Fault> {
  const error = await work.then(
    () => assert.fail("it was not refused"),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof Fault, String(error))
  return error
}

/** As an editor does that writes in place: every name of the file sees it. */
export function edit(rig: Rig, text: string): void {
  const found = rig.transport.files.get(live)
  if (found) found.bytes = Buffer.from(text)
}
