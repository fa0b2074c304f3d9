import type { BlobStore } from "../domain/blob-store.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { StoreFiles } from "../domain/copies.ts"
import type { DocumentValidator } from "../domain/document-validator.ts"
import { type Failpoint, noFailpoint } from "../domain/failpoint.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { LegacyStore } from "../domain/legacy-store.ts"
import type { Notes } from "../domain/notes.ts"
import type { Transport } from "../domain/transport.ts"
import type { Version } from "../domain/version.ts"
import { faces } from "../http/problem.ts"
import { AsideReturn } from "../services/aside-return.ts"
import { BackupRuns } from "../services/backup-runs.ts"
import { Backups } from "../services/backups.ts"
import { ConfigLocks } from "../services/config-locks.ts"
import { Configs } from "../services/configs.ts"
import { LiveFiles } from "../services/live-files.ts"
import { Operations } from "../services/operations.ts"
import { PushWriter } from "../services/push-writer.ts"
import { Pusher } from "../services/pusher.ts"
import { Reconciliation } from "../services/reconciliation.ts"
import { Resolver } from "../services/resolver.ts"
import { Retention } from "../services/retention.ts"
import { RetentionClock } from "../services/retention-clock.ts"
import { Schemas } from "../services/schemas.ts"
import { Scrubber } from "../services/scrubber.ts"
import { type OperationObserver, Settlement } from "../services/settlement.ts"
import { StandingKeeper } from "../services/standing-keeper.ts"
import { Turns } from "../services/turns.ts"
import { type Copies, Verifier } from "../services/verifier.ts"
import { VersionKeeper } from "../services/version-keeper.ts"
import { VersionNotes } from "../services/version-notes.ts"
import { VersionReader } from "../services/version-reader.ts"
import { Vms } from "../services/vms.ts"

export const systemClock = (): Date => new Date()

/** What the services stand on. A test hands in fakes that pass the ports' contracts; the wiring is the same. */
export interface ServiceParts {
  readonly inventory: () => Inventory
  readonly catalog: Catalog
  readonly blobs: BlobStore
  readonly legacy: LegacyStore
  readonly notes: Notes
  readonly files: StoreFiles
  readonly transport: Transport
  readonly validator: DocumentValidator
  readonly observe: OperationObserver
  readonly onRetry: (operationId: string, error: unknown) => void
  /** Told of what went wrong beside the way, in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
  /** Copies off this host; null: there are none. */
  readonly copies: Copies | null
  /** Told of each version that came back from its copy. */
  readonly onHealed: (version: Pick<Version, "backupId">, detail: string) => void
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

/** The services over what they stand on. */
export function buildServices(given: ServiceParts) {
  const statusOf = (code: keyof typeof faces): number => faces[code].status
  const clock = given.clock ?? systemClock
  const turns = new Turns()
  const monotonic = given.monotonic ?? (() => performance.now())
  const retentionClock = new RetentionClock({ ...given, clock, monotonic })
  // Retention goes by what it stamps, versions and the days on which configs left: a clock that is wrong then is not to be missed.
  const seenClock = (): Date => {
    retentionClock.look()
    return clock()
  }
  const observe: OperationObserver = (operation, fault) => {
    // It has ended, and its end is kept: what goes wrong in telling so must not make it end again.
    try {
      retentionClock.look()
      given.observe(operation, fault)
    } catch (error) {
      given.onProblem("the end of an operation was not told", error)
    }
  }
  const base = { ...given, failpoint: given.failpoint ?? noFailpoint, statusOf, clock, monotonic, observe }
  const keeper = new VersionKeeper(given.blobs, given.catalog, seenClock)
  const reader = new VersionReader(given.blobs, given.legacy, given.catalog)
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
  const versionNotes = new VersionNotes({ ...parts, turns, clock: seenClock })
  return {
    resolver,
    pusher,
    configs,
    backups,
    // Half of the places: calls that somebody waits for find one.
    backupRuns: new BackupRuns({ ...parts, backups, parallel: Math.max(1, Math.ceil(given.poolSize / 2)) }),
    retention: new Retention({ ...parts, verifier, retentionClock, versionNotes, turns }),
    retentionClock,
    versionNotes,
    reconciliation: (onFinding: (sentence: string) => void) =>
      new Reconciliation({ ...parts, onFinding, applyNotes: () => applyNotes(versionNotes, given.onProblem) }),
    scrubber: new Scrubber({ ...parts, verifier, asideReturn: new AsideReturn({ ...parts, verifier, versionNotes }) }),
    operations: new Operations(given.catalog),
    vms: new Vms(parts),
    schemas: new Schemas(given.validator, given.inventory),
  }
}

/** What is not known now is looked for again before anything is purged. */
function applyNotes(versionNotes: VersionNotes, onProblem: ServiceParts["onProblem"]): Promise<number> {
  return versionNotes.applyNotes().catch((error: unknown) => {
    onProblem("pins and notes could not be read", error)
    return 0
  })
}
