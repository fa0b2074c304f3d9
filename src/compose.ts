import { join } from "node:path"
import { Server as TlsServer } from "node:tls"
import type { FastifyInstance } from "fastify"
import type { Logger } from "pino"
import { requireToldApart } from "./blobs/case.ts"
import { DiskNotes, parseNotes } from "./blobs/notes.ts"
import { DiskStoreFiles } from "./blobs/store-files.ts"
import { TimedBlobStore } from "./blobs/timed-store.ts"
import { copiesOf, copyLog, copyTransportOptions } from "./compose/copies.ts"
import { settingsHealth, versionsHealth } from "./compose/health.ts"
import { appOptions, closing, readPem } from "./compose/server.ts"
import { buildServices, systemClock } from "./compose/services.ts"
import { acquireLocks, migrationsDir, openStores, type Secrets, sshOptionsOf, storeLimitMs } from "./compose/stores.ts"
import type { Failpoint } from "./domain/failpoint.ts"
import { Fault, isFault } from "./domain/fault.ts"
import type { Inventory } from "./domain/inventory.ts"
import { StartError } from "./domain/start-error.ts"
import { PurgeJob } from "./jobs/purge.ts"
import { reconcileAtStart } from "./jobs/reconcile.ts"
import { SchemaReload } from "./jobs/schema-reload.ts"
import { ScrubJob } from "./jobs/scrub.ts"
import { operationLog } from "./log.ts"
import type { Metrics } from "./metrics/metrics.ts"
import { Copier } from "./services/copier.ts"
import { Health } from "./services/health.ts"
import { NotesCopy } from "./services/notes-copy.ts"
import type { OperationObserver } from "./services/settlement.ts"
import { planReload } from "./settings/reload.ts"
import type { Settings } from "./settings.ts"
import { SqliteCatalog } from "./sqlite/catalog.ts"
import type { SshTransportOptions } from "./ssh/transport.ts"
import { AjvValidator } from "./validation/validator.ts"

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

const stoppingText = "Config Manager is ending; nothing was written."

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
    const [{ blobs: onDisk, legacy }, , { buildApp }, { SshTransport }, { Metrics }] = await Promise.all([
      openStores(settings, options),
      loadSchemas(settings, validator),
      import("./http/app.ts"),
      import("./ssh/transport.ts"),
      import("./metrics/metrics.ts"),
    ])
    const blobs = new TimedBlobStore(onDisk, storeLimitMs(settings.execution.timeoutMs))
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
    const { resolver, pusher, ...services } = buildServices({
      inventory,
      catalog,
      blobs,
      legacy,
      notes: new DiskNotes(settings.backups.location),
      files: new DiskStoreFiles(settings.backups.location),
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
    closers.unshift(() => retentionClock.written())
    const purging = new PurgeJob({ ...services, logger })
    const scrubbing = new ScrubJob({ ...services, logger, onRound: (found) => metrics.keeping.scrubbed(found) })
    closers.unshift(() => scrubbing.stop())
    const notes =
      copies && new NotesCopy({ ...copies, versionNotes, parse: parseNotes, onFound: () => purging.versionMade() })
    const copier =
      notes &&
      new Copier({
        ...{ ...copies, notes, blobs, legacy, clock: systemClock },
        ...{ random: Math.random, onChange: copyLog(logger) },
      })
    closers.unshift(() => copier?.stop())
    closers.unshift(() => Promise.all([purging.stop(), backupRuns.stop()]))
    const health = new Health([
      { name: "catalog", required: true, health: () => catalog.health() },
      { name: "backup storage", required: true, health: () => blobs.health() },
      { name: "schemas", required: false, health: async () => reloading.health() },
      { name: "settings", required: false, health: async () => settingsHealth(state.refusal) },
      { name: "purge", required: false, health: async () => retention.health() },
      { name: "notes", required: false, health: () => versionNotes.health() },
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
    await retentionClock.written()
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
        await requireToldApart(next.backups.location, next.inventory)
        const pem = await readPem(next)
        await reloading.takeIn(next.schemas.files, () => {
          state.settings = next
        })
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
          setTimeout(() => stopping.abort(new Fault("shutting_down", stoppingText)), closing.giveUpAfterMs),
          setTimeout(() => void cut(), closing.cutAfterMs),
        ]
        const served = app.close().then(() => pusher.drained())
        await Promise.all([served, backupRuns.stop(), purging.stop(), scrubbing.stop(), copier?.stop()])
        for (const timer of patience) clearTimeout(timer)
        for (const close of closers) await close()
      },
    }
  } catch (error) {
    for (const close of closers) await close()
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

function each(...observers: readonly OperationObserver[]): OperationObserver {
  return (operation, fault) => {
    for (const observe of observers) observe(operation, fault)
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
