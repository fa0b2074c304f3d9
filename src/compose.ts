import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { createSecureContext, Server as TlsServer } from "node:tls"
import type { FastifyInstance } from "fastify"
import type { Logger } from "pino"
import { loadKeys } from "./blobs/keyring.ts"
import { DiskBlobStore } from "./blobs/store.ts"
import type { BlobStore } from "./domain/blob-store.ts"
import type { Catalog } from "./domain/catalog.ts"
import type { DocumentValidator } from "./domain/document-validator.ts"
import { Fault } from "./domain/fault.ts"
import type { Inventory } from "./domain/inventory.ts"
import { StartError } from "./domain/start-error.ts"
import type { Transport } from "./domain/transport.ts"
import type { AppOptions } from "./http/app.ts"
import { faces } from "./http/problem.ts"
import { SchemaReload } from "./jobs/schema-reload.ts"
import { operationLog } from "./log.ts"
import { Backups } from "./services/backups.ts"
import { ConfigLocks } from "./services/config-locks.ts"
import { Configs } from "./services/configs.ts"
import { Health } from "./services/health.ts"
import { LiveFiles } from "./services/live-files.ts"
import { Operations } from "./services/operations.ts"
import { PushWriter } from "./services/push-writer.ts"
import { Pusher } from "./services/pusher.ts"
import { Resolver } from "./services/resolver.ts"
import { Schemas } from "./services/schemas.ts"
import { type OperationObserver, Settlement } from "./services/settlement.ts"
import { StandingKeeper } from "./services/standing-keeper.ts"
import { VersionKeeper } from "./services/version-keeper.ts"
import { Vms } from "./services/vms.ts"
import { allowedHostsOf } from "./settings/addresses.ts"
import { planReload } from "./settings/reload.ts"
import type { Settings } from "./settings.ts"
import { SqliteCatalog } from "./sqlite/catalog.ts"
import { acquireLock, type DirectoryLock } from "./sqlite/lock.ts"
import type { SshTransportOptions } from "./ssh/transport.ts"
import { AjvValidator } from "./validation/validator.ts"

/** What the environment adds to the settings; never logged. */
export interface Secrets {
  readonly backupKeyPath: string | null
  readonly backupPassphrase: string | null
  readonly sshPassphrase: string | null
  readonly agentSocket: string | null
}

export interface ComposeOptions {
  readonly secrets: Secrets
  readonly logger: Logger
  readonly version: string
  /** `--new-key` */
  readonly newKey: boolean
}

/** The running service. */
export interface Service {
  readonly app: FastifyInstance
  /** Takes new settings in, whole or not at all. @returns names of the settings that need a restart; empty: taken in */
  reload(next: Settings): Promise<readonly string[]>
  /** Shows in /readyz why the settings on disk are not those in force; null: they are. */
  noteReload(refusal: string | null): void
  /** Ends in order: no new requests, running ones done, what is in doubt left to the journal, locks released last. */
  stop(): Promise<void>
}

const migrationsDir = join(import.meta.dirname, "..", "migrations")
const timeouts = { headersMs: 10_000, requestMs: 30_000, checkIntervalMs: 1000 }
/** What has written nothing by then is given up; swaps and rollbacks under way go on. */
const giveUpAfterMs = 4000
/** They too have had their time then: the journal keeps the question for the next start. */
const cutAfterMs = 9000
const stoppingText = "Config Manager is ending; nothing was written."
const clock = (): Date => new Date()

/** Settings -> running parts, unfinished operations taken up. @throws {StartError} for whatever stands in the way */
export async function compose(settings: Settings, options: ComposeOptions): Promise<Service> {
  const { logger } = options
  const state: { settings: Settings; refusal: string | null } = { settings, refusal: null }
  const locks = acquireLocks(settings)
  const closers: (() => unknown)[] = [() => locks.map((lock) => lock.release())]
  try {
    const validator = new AjvValidator({ schemaDir: settings.schemas.dir })
    closers.unshift(() => validator.close())
    // A passphrase takes 0.3 s and the schemas a thread of their own: time to load what the rest is made of.
    const [blobs, , { buildApp }, { SshTransport }] = await Promise.all([
      openBlobs(settings, options),
      loadSchemas(settings, validator),
      import("./http/app.ts"),
      import("./ssh/transport.ts"),
    ])
    const catalog = SqliteCatalog.open({ path: join(settings.stateDir, "catalog.db"), migrationsDir })
    closers.unshift(() => catalog.close())
    const transport = new SshTransport(transportOptions(settings, options))
    closers.unshift(() => transport.close())

    const inventory = (): Inventory => state.settings.inventory
    const reloading = new SchemaReload(settings.schemas.dir, validator, () => state.settings.schemas.files, logger)
    closers.unshift(() => reloading.close())
    const stopping = new AbortController()
    const { resolver, ...services } = buildServices({
      inventory,
      catalog,
      blobs,
      transport,
      validator,
      observe: operationLog(logger),
      onRetry: (operationId, err) => logger.warn({ operationId, err }, "the outcome of an operation is still open"),
      timeoutMs: settings.execution.timeoutMs,
      stopping: stopping.signal,
    })
    const health = new Health([
      { name: "catalog", required: true, health: () => catalog.health() },
      { name: "backup storage", required: true, health: () => blobs.health() },
      { name: "schemas", required: false, health: async () => reloading.health() },
      { name: "settings", required: false, health: async () => settingsHealth(state.refusal) },
    ])
    closers.unshift(() => resolver.stop())
    const app = await buildApp({ ...services, health }, await appOptions(() => state.settings, options))
    const open = await resolver.takeUp()
    if (open > 0) logger.warn({ open }, "operations that an earlier process left open are being resolved")

    return {
      app,
      noteReload: (refusal) => {
        state.refusal = refusal
      },
      reload: async (next) => {
        const fixed = planReload(state.settings, next)
        if (fixed.length > 0) return fixed
        const pem = await readPem(next)
        await reloading.takeIn(next.schemas.files)
        state.settings = next
        app.server.maxConnections = next.limits.connections
        if (pem && app.server instanceof TlsServer) app.server.setSecureContext(pem)
        transport.retain(next.inventory.vms)
        return []
      },
      stop: async () => {
        health.drain()
        const cut = async (): Promise<void> => {
          await Promise.all([resolver.stop(), transport.close()])
        }
        const patience = [
          setTimeout(() => stopping.abort(new Fault("shutting_down", stoppingText)), giveUpAfterMs),
          setTimeout(() => void cut(), cutAfterMs),
        ]
        await app.close()
        for (const timer of patience) clearTimeout(timer)
        for (const close of closers) await close()
      },
    }
  } catch (error) {
    for (const close of closers) await close()
    throw error
  }
}

/** What the services stand on. A test hands in fakes that pass the ports' contracts; the wiring is the same. */
export interface ServiceParts {
  readonly inventory: () => Inventory
  readonly catalog: Catalog
  readonly blobs: BlobStore
  readonly transport: Transport
  readonly validator: DocumentValidator
  readonly observe: OperationObserver
  readonly onRetry: (operationId: string, error: unknown) => void
  readonly timeoutMs: number
  readonly stopping: AbortSignal
}

export function buildServices(given: ServiceParts) {
  const statusOf = (code: keyof typeof faces): number => faces[code].status
  const base = { ...given, statusOf, clock }
  const keeper = new VersionKeeper(given.blobs, given.catalog, clock)
  const locks = new ConfigLocks(given.timeoutMs)
  const settlement = new Settlement({ ...base, keeper })
  const resolver = new Resolver({ ...base, settlement, locks })
  const parts = { ...base, keeper, locks, settlement, resolver }
  const writer = new PushWriter(parts)
  const standing = new StandingKeeper(parts)
  const pusher = new Pusher({ ...parts, writer, standing })
  const files = new LiveFiles(given.transport, given.timeoutMs, given.stopping)
  const configs = new Configs({ ...parts, files, pusher })
  return {
    resolver,
    configs,
    backups: new Backups({ ...parts, files, configs, pusher, standing }),
    operations: new Operations(given.catalog),
    vms: new Vms(parts),
    schemas: new Schemas(given.validator, given.inventory),
  }
}

function settingsHealth(refusal: string | null): { readonly ok: boolean; readonly detail: string } {
  if (refusal === null) return { ok: true, detail: "The settings in force are those that were last read." }
  return { ok: false, detail: `The last reload was refused, older settings are in force: ${refusal}` }
}

/** One process owns both directories; the settings see to it that they are two. */
function acquireLocks({ stateDir, backups }: Settings): readonly DirectoryLock[] {
  const taken: DirectoryLock[] = []
  try {
    taken.push(acquireLock(stateDir, "state_dir"))
    taken.push(acquireLock(backups.location, "config_management.backup_location"))
    return taken
  } catch (error) {
    for (const lock of taken) lock.release()
    throw error
  }
}

/** At a start there are no older schemas to go on with. */
async function loadSchemas({ schemas }: Settings, validator: AjvValidator): Promise<void> {
  try {
    await validator.load(schemas.files)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "unknown error"
    throw new StartError(`The schemas in ${schemas.dir} cannot be used. ${why}`, { cause })
  }
}

async function openBlobs({ backups }: Settings, { secrets, newKey }: ComposeOptions): Promise<BlobStore> {
  const keyring = await loadKeys({
    keyPath: backups.keyPath ?? secrets.backupKeyPath,
    passphrase: secrets.backupPassphrase,
    oldKeyPaths: backups.oldKeyPaths,
    backupLocation: backups.location,
    newKey,
  })
  return DiskBlobStore.open({ location: backups.location, keyring })
}

function transportOptions({ ssh, execution }: Settings, { secrets, logger }: ComposeOptions): SshTransportOptions {
  return {
    ...ssh,
    keyStoragePath: execution.keyStoragePath,
    passphrase: secrets.sshPassphrase,
    agentSocket: ssh.agent ? secrets.agentSocket : null,
    callTimeoutMs: execution.timeoutMs,
    poolSize: execution.poolSize,
    retries: execution.retries,
    onEvent: ({ kind, vmId, durationMs, fault }) => {
      const level = fault === null ? "info" : "warn"
      logger[level]({ vmId, ms: Math.round(durationMs), code: fault?.code, detail: fault?.message }, `ssh ${kind}`)
    },
  }
}

async function appOptions(settings: () => Settings, { logger, version }: ComposeOptions): Promise<AppOptions> {
  const { server, limits } = settings()
  return {
    logger,
    version,
    timeouts,
    tls: await readPem(settings()),
    corsOrigins: server.corsOrigins,
    allowedHosts: allowedHostsOf(server.host),
    bodyBytes: limits.bodyBytes,
    connections: limits.connections,
    requestsPerMinute: () => settings().limits.requestsPerMinute,
  }
}

/** @throws {StartError} for files that cannot be read or are no certificate and key */
async function readPem({ server: { tls } }: Settings): Promise<{ readonly cert: Buffer; readonly key: Buffer } | null> {
  if (!tls) return null
  try {
    const pem = { cert: await readFile(tls.certPath), key: await readFile(tls.keyPath) }
    createSecureContext(pem)
    return pem
  } catch (cause) {
    throw new StartError(
      `server.tls_cert_path ${tls.certPath} and server.tls_key_path ${tls.keyPath} are not a certificate and its key in PEM that can be read.`,
      { cause },
    )
  }
}
