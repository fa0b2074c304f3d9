import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { createSecureContext, Server as TlsServer } from "node:tls"
import type { FastifyInstance } from "fastify"
import type { Logger } from "pino"
import { DirectoryTarget } from "./blobs/directory-target.ts"
import { type KeySources, loadKeys } from "./blobs/keyring.ts"
import { DiskLegacyStore } from "./blobs/legacy.ts"
import { DiskNotes } from "./blobs/notes.ts"
import { DiskBlobStore } from "./blobs/store.ts"
import { DiskStoreFiles } from "./blobs/store-files.ts"
import type { BlobStore } from "./domain/blob-store.ts"
import type { Catalog, Totals } from "./domain/catalog.ts"
import type { Clock } from "./domain/clock.ts"
import type { CopyCatalog } from "./domain/copies.ts"
import type { DocumentValidator } from "./domain/document-validator.ts"
import { type Failpoint, noFailpoint } from "./domain/failpoint.ts"
import { Fault, isFault } from "./domain/fault.ts"
import type { Inventory } from "./domain/inventory.ts"
import type { LegacyStore } from "./domain/legacy-store.ts"
import type { Notes } from "./domain/notes.ts"
import { StartError } from "./domain/start-error.ts"
import type { Transport } from "./domain/transport.ts"
import type { Version } from "./domain/version.ts"
import type { AppOptions } from "./http/app.ts"
import { faces } from "./http/problem.ts"
import { PurgeJob } from "./jobs/purge.ts"
import { reconcileAtStart } from "./jobs/reconcile.ts"
import { SchemaReload } from "./jobs/schema-reload.ts"
import { ScrubJob } from "./jobs/scrub.ts"
import { operationLog } from "./log.ts"
import type { Metrics } from "./metrics/metrics.ts"
import { BackupRuns } from "./services/backup-runs.ts"
import { Backups } from "./services/backups.ts"
import { ConfigLocks } from "./services/config-locks.ts"
import { Configs } from "./services/configs.ts"
import { Copier } from "./services/copier.ts"
import { Health } from "./services/health.ts"
import { LiveFiles } from "./services/live-files.ts"
import { Operations } from "./services/operations.ts"
import { PushWriter } from "./services/push-writer.ts"
import { Pusher } from "./services/pusher.ts"
import { Reconciliation } from "./services/reconciliation.ts"
import { Resolver } from "./services/resolver.ts"
import { Retention } from "./services/retention.ts"
import { RetentionClock } from "./services/retention-clock.ts"
import { Schemas } from "./services/schemas.ts"
import { Scrubber } from "./services/scrubber.ts"
import { type OperationObserver, Settlement } from "./services/settlement.ts"
import { SftpTarget } from "./services/sftp-target.ts"
import { StandingKeeper } from "./services/standing-keeper.ts"
import { Turns } from "./services/turns.ts"
import { type Copies, Verifier } from "./services/verifier.ts"
import { VersionKeeper } from "./services/version-keeper.ts"
import { VersionNotes } from "./services/version-notes.ts"
import { VersionReader } from "./services/version-reader.ts"
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
  /** Only a fault run gives one. */
  readonly failpoint?: Failpoint
  /** As in LateLooks; only a fault run gives them. */
  readonly lateLooksMs?: readonly number[]
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

export const migrationsDir = join(import.meta.dirname, "..", "migrations")
const timeouts = { headersMs: 10_000, requestMs: 30_000, checkIntervalMs: 1000 }
/** What has written nothing by then is given up; swaps and rollbacks under way go on. */
const giveUpAfterMs = 4000
/** They too have had their time then: the journal keeps the question for the next start. */
const cutAfterMs = 9000
/** Of the place for copies: one host may have a quarter of them, which is what copying and verifying need at once. */
const copySessions = 32
const stoppingText = "Config Manager is ending; nothing was written."
const systemClock = (): Date => new Date()

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
    const [{ blobs, legacy }, , { buildApp }, { SshTransport }, { Metrics }] = await Promise.all([
      openStores(settings, options),
      loadSchemas(settings, validator),
      import("./http/app.ts"),
      import("./ssh/transport.ts"),
      import("./metrics/metrics.ts"),
    ])
    const catalog = SqliteCatalog.open({ path: join(settings.stateDir, "catalog.db"), migrationsDir })
    closers.unshift(() => catalog.close())
    if (catalog.remade)
      logger.error(catalog.remade, "the catalog was damaged and is made anew; the old one stands aside")
    const inventory = (): Inventory => state.settings.inventory
    const metrics = new Metrics(options.version, () => inventory().vms)
    closers.unshift(() => metrics.close())
    const transport = new SshTransport(transportOptions(settings, options, metrics))
    closers.unshift(() => transport.close())

    const reloading = new SchemaReload(settings.schemas.dir, validator, () => state.settings.schemas.files, logger)
    closers.unshift(() => reloading.close())
    const stopping = new AbortController()
    // A transport of their own: a place that hangs takes no VM's session and no handshake.
    const copyTransport = new SshTransport(copyTransportOptions(settings, options))
    closers.unshift(() => copyTransport.close())
    const copies = copiesOf(settings, { catalog, transport: copyTransport })
    const onProblem = (message: string, err: unknown): void => {
      if (isFault(err)) metrics.storage.ended(err)
      logger.error({ err }, message)
    }
    const { resolver, ...services } = buildServices({
      inventory,
      catalog,
      blobs,
      legacy,
      notes: new DiskNotes(settings.backups.location),
      transport,
      validator,
      observe: each(
        operationLog(logger),
        (operation, fault) => metrics.operation(operation, fault),
        ({ versionId }) => {
          if (versionId === null) return
          purging.versionMade()
          copier?.wake()
        },
      ),
      onRetry: (operationId, err) => {
        if (isFault(err)) metrics.storage.ended(err)
        logger.warn({ operationId, err }, "the outcome of an operation is still open")
      },
      onProblem,
      copies,
      onHealed: ({ backupId }, detail) => {
        metrics.keeping.healed()
        logger.warn({ backupId, detail }, "a version came back from its copy")
      },
      onRemoved: () => copier?.wake(),
      timeoutMs: settings.execution.timeoutMs,
      retentionDays: () => state.settings.backups.retentionDays,
      poolSize: settings.execution.poolSize,
      stopping: stopping.signal,
      failpoint: options.failpoint,
      lateLooksMs: options.lateLooksMs,
    })
    const { backupRuns, retention, retentionClock, versionNotes } = services
    const purging = new PurgeJob({ ...services, logger })
    const scrubbing = new ScrubJob({ ...services, logger, onRound: (found) => metrics.keeping.scrubbed(found) })
    closers.unshift(() => scrubbing.stop())
    const copier =
      copies && new Copier({ ...copies, blobs, clock: systemClock, random: Math.random, onChange: copyLog(logger) })
    closers.unshift(() => copier?.stop())
    closers.unshift(() => Promise.all([purging.stop(), backupRuns.stop()]))
    const health = new Health([
      { name: "catalog", required: true, health: () => catalog.health() },
      { name: "backup storage", required: true, health: () => blobs.health() },
      { name: "schemas", required: false, health: async () => reloading.health() },
      { name: "settings", required: false, health: async () => settingsHealth(state.refusal) },
      { name: "purge", required: false, health: async () => retention.health() },
      { name: "versions", required: false, health: async () => versionsHealth(await catalog.totals()) },
      ...(copier ? [{ name: "copies", required: false, health: () => copier.health() }] : []),
    ])
    closers.unshift(() => resolver.stop())
    metrics.watch({
      catalog,
      readiness: () => health.readiness(),
      backupLocation: settings.backups.location,
      ssh: () => transport.stats(),
      copies: copier && (() => copier.lag()),
      retention: { isHeld: () => !retention.health().ok, lagMs: () => retentionClock.lagMs() },
    })
    const served = { ...services, health, metrics: metrics.registry }
    const app = await buildApp(served, await appOptions(() => state.settings, options, metrics))
    const takeStock = (): Promise<unknown> =>
      versionNotes
        .takeStock()
        .catch((error: unknown) => onProblem("which configs left the settings was not noted", error))
    await reconcileAtStart(services.reconciliation, logger)
    await retentionClock.now().catch((error: unknown) => onProblem("the time of retention was not kept", error))
    await takeStock()
    const open = await resolver.takeUp()
    await backupRuns.resume()
    purging.start()
    scrubbing.start()
    if (copier) copier.start()
    else await catalog.setCopyTarget(null, systemClock().toISOString())
    void metrics.remember(catalog)
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
        await takeStock()
        return []
      },
      stop: async () => {
        health.drain()
        const cut = async (): Promise<void> => {
          await Promise.all([resolver.stop(), transport.close(), copyTransport.close()])
        }
        const patience = [
          setTimeout(() => stopping.abort(new Fault("shutting_down", stoppingText)), giveUpAfterMs),
          setTimeout(() => void cut(), cutAfterMs),
        ]
        await Promise.all([app.close(), backupRuns.stop(), purging.stop(), scrubbing.stop(), copier?.stop()])
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
  readonly legacy: LegacyStore
  readonly notes: Notes
  readonly transport: Transport
  readonly validator: DocumentValidator
  readonly observe: OperationObserver
  readonly onRetry: (operationId: string, error: unknown) => void
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
  /** Copies off this host; null: there are none. */
  readonly copies: Copies | null
  /** Told of each version that came back from its copy. */
  readonly onHealed: (version: Version, detail: string) => void
  /** Told when versions were removed: their copies are to follow. */
  readonly onRemoved: () => void
  readonly timeoutMs: number
  readonly retentionDays: () => number
  readonly poolSize: number
  /** What tells the time; only a test gives others. */
  readonly clock?: Clock
  readonly monotonic?: () => number
  readonly stopping: AbortSignal
  readonly failpoint?: Failpoint
  readonly lateLooksMs?: readonly number[]
}

export function buildServices(given: ServiceParts) {
  const statusOf = (code: keyof typeof faces): number => faces[code].status
  const clock = given.clock ?? systemClock
  const turns = new Turns()
  const retentionClock = new RetentionClock({
    ...given,
    clock,
    monotonic: given.monotonic ?? (() => performance.now()),
  })
  const observe: OperationObserver = (operation, fault) => {
    retentionClock.look()
    given.observe(operation, fault)
  }
  const base = { ...given, failpoint: given.failpoint ?? noFailpoint, statusOf, clock, observe }
  const keeper = new VersionKeeper(given.blobs, given.catalog, clock)
  const reader = new VersionReader(given.blobs, given.legacy)
  const locks = new ConfigLocks(given.timeoutMs)
  const settlement = new Settlement({ ...base, keeper })
  const resolver = new Resolver({ ...base, settlement, locks })
  const parts = { ...base, keeper, locks, settlement, resolver }
  const writer = new PushWriter(parts)
  const standing = new StandingKeeper(parts)
  const pusher = new Pusher({ ...parts, writer, standing })
  const files = new LiveFiles(given.transport, given.timeoutMs, given.stopping)
  const configs = new Configs({ ...parts, files, pusher })
  const verifier = new Verifier({ ...parts, reader })
  const backups = new Backups({ ...parts, reader, verifier, files, configs, pusher, standing })
  const versionNotes = new VersionNotes({ ...parts, turns })
  return {
    resolver,
    configs,
    backups,
    // Half of the places: calls that somebody waits for find one.
    backupRuns: new BackupRuns({ ...parts, backups, parallel: Math.max(1, Math.ceil(given.poolSize / 2)) }),
    retention: new Retention({ ...parts, retentionClock, versionNotes, turns }),
    retentionClock,
    versionNotes,
    reconciliation: (onFinding: (sentence: string) => void) =>
      new Reconciliation({ ...parts, onFinding, applyNotes: () => applyNotes(versionNotes, given.onProblem) }),
    scrubber: new Scrubber({ ...parts, verifier }),
    operations: new Operations(given.catalog),
    vms: new Vms(parts),
    schemas: new Schemas(given.validator, given.inventory),
  }
}

function copiesOf(
  { backups: { location, remote } }: Settings,
  { catalog, transport }: { readonly catalog: CopyCatalog; readonly transport: Transport },
): Copies | null {
  if (!remote) return null
  const target =
    remote.kind === "directory" ? new DirectoryTarget(remote.path) : new SftpTarget({ ...remote, transport })
  return { catalog, target, files: new DiskStoreFiles(location) }
}

/** Its connections are no VM's, and count in no metric of VMs. */
function copyTransportOptions(settings: Settings, { secrets, logger }: ComposeOptions): SshTransportOptions {
  return {
    ...sshOptionsOf(settings, secrets),
    poolSize: copySessions,
    onEvent: ({ kind, durationMs, fault }) => {
      const level = fault === null ? "info" : "warn"
      logger[level]({ ms: Math.round(durationMs), code: fault?.code, detail: fault?.message }, `copies: ssh ${kind}`)
    },
  }
}

function copyLog(logger: Logger): (problem: string | null) => void {
  return (problem) => {
    if (problem === null) logger.info("versions are copied off this host again")
    else logger.error({ problem }, "versions are not copied off this host")
  }
}

function versionsHealth({ versions, damaged, missing, locked }: Totals): {
  readonly ok: boolean
  readonly detail: string
} {
  if (damaged + missing + locked === 0) return { ok: true, detail: `None of ${versions} versions is known to be lost.` }
  const detail = `Of ${versions} versions ${damaged} are damaged, ${missing} missing, ${locked} sealed with a key that is not loaded.`
  return { ok: false, detail }
}

/** What is not known now is looked for again before anything is purged. */
function applyNotes(versionNotes: VersionNotes, onProblem: ServiceParts["onProblem"]): Promise<number> {
  return versionNotes.applyNotes().catch((error: unknown) => {
    onProblem("pins and notes could not be read", error)
    return 0
  })
}

function settingsHealth(refusal: string | null): { readonly ok: boolean; readonly detail: string } {
  if (refusal === null) return { ok: true, detail: "The settings in force are those that were last read." }
  return { ok: false, detail: `The last reload was refused, older settings are in force: ${refusal}` }
}

/** One process owns both directories; the settings see to it that they are two. */
export function acquireLocks({ stateDir, backups }: Settings): readonly DirectoryLock[] {
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

export async function openStores(
  settings: Settings,
  { secrets, newKey, failpoint }: Pick<ComposeOptions, "secrets" | "newKey" | "failpoint">,
): Promise<Pick<ServiceParts, "blobs" | "legacy">> {
  const keyring = await loadKeys({ ...keySourcesOf(settings, secrets), newKey })
  const { location } = settings.backups
  const blobs = await DiskBlobStore.open({ location, keyring, failpoint })
  return { blobs, legacy: await DiskLegacyStore.open({ location, keys: keyring.legacy }) }
}

export function keySourcesOf({ backups }: Settings, secrets: Secrets): Omit<KeySources, "newKey"> {
  return {
    keyPath: backups.keyPath ?? secrets.backupKeyPath,
    passphrase: secrets.backupPassphrase,
    oldKeyPaths: backups.oldKeyPaths,
    backupLocation: backups.location,
  }
}

function each(...observers: readonly OperationObserver[]): OperationObserver {
  return (operation, fault) => {
    for (const observe of observers) observe(operation, fault)
  }
}

export function sshOptionsOf({ ssh, execution }: Settings, secrets: Secrets): SshTransportOptions {
  return {
    ...ssh,
    keyStoragePath: execution.keyStoragePath,
    passphrase: secrets.sshPassphrase,
    agentSocket: ssh.agent ? secrets.agentSocket : null,
    callTimeoutMs: execution.timeoutMs,
    poolSize: execution.poolSize,
    retries: execution.retries,
  }
}

function transportOptions(
  settings: Settings,
  { secrets, logger }: ComposeOptions,
  metrics: Metrics,
): SshTransportOptions {
  return {
    ...sshOptionsOf(settings, secrets),
    onEvent: (event) => {
      metrics.ssh.observe(event)
      const { kind, vmId, durationMs, fault } = event
      const level = fault === null ? "info" : "warn"
      logger[level]({ vmId, ms: Math.round(durationMs), code: fault?.code, detail: fault?.message }, `ssh ${kind}`)
    },
  }
}

async function appOptions(
  settings: () => Settings,
  { logger, version }: ComposeOptions,
  { requests, storage }: Metrics,
): Promise<AppOptions> {
  const { server, limits } = settings()
  return {
    logger,
    version,
    timeouts,
    tls: await readPem(settings()),
    corsOrigins: server.corsOrigins,
    allowedHosts: allowedHostsOf(server.host),
    bodyBytes: () => settings().limits.bodyBytes,
    connections: limits.connections,
    requestsPerMinute: () => settings().limits.requestsPerMinute,
    observeRequest: (route, method, status, ms) => requests.observe(route, method, status, ms),
    observeFault: (fault) => storage.answered(fault),
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
