import type { ConfigRef } from "./config-type.ts"
import type { FileState } from "./fault.ts"
import type {
  Journal,
  OpenOperation,
  Operation,
  OperationKind,
  OperationProblem,
  OperationState,
  Phase,
  Stage,
} from "./operation.ts"
import type { NewRun, Run, RunItem } from "./run.ts"
import type { ImportedVersion, NewVersion, StoredVersion, Trigger, Version } from "./version.ts"

/** A page of a list, built by the catalog itself: it is sent as it is, without ever becoming objects here. */
export interface JsonPage {
  /** UTF-8 JSON in API shape: `{ items: [..], nextCursor }`. */
  readonly json: Buffer
  /** Opaque; null: this is the last page. */
  readonly nextCursor: string | null
}

/** The items of a page, for those who look at them. */
export function itemsOf<Item>({ json }: JsonPage): readonly Item[] {
  return (JSON.parse(json.toString()) as { readonly items: readonly Item[] }).items
}

export interface PageRequest {
  /** 1..500 */
  readonly limit: number
  readonly cursor: string | null
}

export interface VersionFilter {
  readonly vmId?: string
  readonly type?: string
  /** since <= validFrom < until; RFC 3339 UTC with ms. */
  readonly since?: string
  readonly until?: string
  /** validFrom <= at < supersededAt; with vmId and type. */
  readonly at?: string
  readonly trigger?: Trigger
  readonly state?: Version["state"]
  readonly pinned?: boolean
}

export interface OperationFilter {
  readonly vmId?: string
  readonly type?: string
  readonly kind?: OperationKind
  readonly state?: OperationState
  /** since <= startedAt */
  readonly since?: string
}

/** What may change in an operation's row. Members left out stay. */
export interface OperationChange {
  readonly state?: OperationState
  readonly fileState?: FileState | null
  readonly finishedAt?: string
  readonly digest?: string | null
  readonly previousDigest?: string | null
  readonly backupId?: string | null
  readonly versionId?: string | null
  readonly stages?: readonly Stage[]
  readonly problem?: OperationProblem | null
  readonly phase?: Phase
}

/** What happens to versions in the same transaction, in this order. */
export interface VersionChanges {
  readonly add?: readonly NewVersion[]
  /** Provisional versions that now count: they supersede the newest of their config. */
  readonly show?: readonly string[]
  /** Versions whose rows go (provisional ones of a change that failed). */
  readonly remove?: readonly string[]
}

export interface ExpiredVersions {
  readonly versions: readonly Pick<Version, "backupId" | "vmId" | "type" | "supersededAt" | "format">[]
  readonly total: number
}

/** A config that has left the settings. */
export interface Departure extends ConfigRef {
  /** RFC 3339 UTC with ms. */
  readonly leftAt: string
}

export interface Totals {
  readonly versions: number
  readonly bytes: number
  readonly damaged: number
  readonly missing: number
  readonly locked: number
}

/**
 * The index over the blobs, and the journal. Every implementation passes test/contracts/catalog.ts.
 * A write has resolved only when it is durable; writes asked for in the same turn of the event loop may share a transaction.
 * Faults of all methods: `storage_full`, `storage_busy`, `backup_storage_unavailable`.
 */
export interface Catalog {
  /** Enters an operation, one that goes on (with its journal) or one that has ended already (without), and its versions, all or nothing. */
  addOperation(operation: Operation, journal: Journal | null, versions?: VersionChanges): Promise<void>

  /** Changes an operation and its versions in one transaction. @throws {Fault} `operation_not_found` */
  changeOperation(operationId: string, change: OperationChange, versions?: VersionChanges): Promise<void>

  getOperation(operationId: string): Promise<Operation | null>

  /** Operations whose journal is not `done`, oldest first; those at `tidying` have ended. */
  openOperations(): Promise<readonly OpenOperation[]>

  /** Newest first. @throws {Fault} `invalid_parameter` for a cursor that is not one of ours */
  listOperations(filter: OperationFilter, page: PageRequest): Promise<JsonPage>

  /** The newest shown version of a config, or null. */
  newestVersion(ref: ConfigRef): Promise<Version | null>

  /** Provisional versions are not found. */
  getVersion(backupId: string): Promise<Version | null>

  /** The version before `backupId` of the same config, or null. */
  previousVersion(backupId: string): Promise<Version | null>

  /** Newest first. @throws {Fault} `invalid_parameter` for a cursor that is not one of ours */
  listVersions(filter: VersionFilter, page: PageRequest): Promise<JsonPage>

  /** The text of one version in API shape with `copies`, or null. */
  versionJson(backupId: string): Promise<string | null>

  /** Notes what a verification found; `keyId` where it is another than the row says. A row that cannot be relied on keeps that. */
  markVersion(
    backupId: string,
    found: { readonly state: Version["state"]; readonly verifiedAt: string | null; readonly keyId?: string },
  ): Promise<void>

  /** Pins or unpins a version, or changes its note; members left out stay. @throws {Fault} `backup_not_found` */
  annotateVersion(backupId: string, change: { readonly pinned?: boolean; readonly note?: string | null }): Promise<void>

  /** Removes rows of versions; ones that are gone count as removed. */
  removeVersions(backupIds: readonly string[]): Promise<void>

  /** Removes rows that cannot be relied on. What they stood for may be good elsewhere: copies off this host stay. */
  forgetVersions(backupIds: readonly string[]): Promise<void>

  /**
   * What retention lets go: not pinned, and superseded at `cutoff` or before, or the newest of a config that had left the
   * settings by then (domain/retention.ts). Oldest first.
   * @param limit how many are named; `total` counts all, which takes long where they are many, or, `uncounted`, those alone
   */
  expiredVersions(cutoff: string, limit: number, how?: "uncounted"): Promise<ExpiredVersions>

  /** When configs left the settings, those that have not come back. */
  departures(): Promise<readonly Departure[]>

  /** Notes that configs left the settings (`leftAt`) or came back (null). */
  noteDepartures(changes: readonly (ConfigRef & { readonly leftAt: string | null })[]): Promise<void>

  /** Every config that has a version. */
  versionedConfigs(): Promise<readonly ConfigRef[]>

  /** The shown versions of a config, oldest first, each held against its check value. */
  versionsOf(ref: ConfigRef): Promise<readonly StoredVersion[]>

  /** The versions of changes that have not ended yet. */
  provisionalVersions(): Promise<readonly NewVersion[]>

  /**
   * Enters versions at their place in time, over rows of the same id: what stands in the store and has no row, or a bad one.
   * Where two of a config have the same time the later id stands a millisecond later. Pins and notes of rows that are there stay.
   */
  importVersions(versions: readonly ImportedVersion[]): Promise<void>

  /**
   * Puts the lists in order of time, and `supersededAt` and the totals right, after imports. A cursor whose row moved is refused
   * from then on. @returns how many rows were wrong
   */
  orderVersions(): Promise<number>

  /** Versions that are damaged or missing, in no order. */
  lostVersions(limit: number): Promise<readonly Version[]>

  /** Versions that no loaded key opens, but for those of the original service, in no order: up to `limit`, as chance has it. */
  lockedVersions(limit: number): Promise<readonly Version[]>

  /**
   * The versions that are well: first those that were looked at later than `now`, under a clock that was set back since,
   * then those that were looked at longest ago, or never since they were made.
   */
  oldestVerified(now: string, limit: number): Promise<readonly Version[]>

  /** Every version that is pinned or has a note. */
  annotatedVersions(): Promise<readonly Pick<Version, "backupId" | "pinned" | "note">[]>

  /** How many versions there are, and how many bytes they stand for; and how many are not well. */
  totals(): Promise<Totals>

  /** The earliest time of all versions; null: there are none. */
  earliestVersion(): Promise<string | null>

  /** A small fact of the service itself, or null. */
  fact(name: string): Promise<string | null>
  setFact(name: string, value: string): Promise<void>

  /** Enters a run with its targets. */
  addRun(run: NewRun): Promise<void>

  /** Notes how one target of a run ended; a second note of the same replaces the first. */
  noteRunItem(runId: string, item: RunItem): Promise<void>

  finishRun(runId: string, finishedAt: string): Promise<void>

  /** A run with what is known of its targets, or null. At most `maxFailures` of its failures are named. */
  getRun(runId: string, maxFailures: number): Promise<Run | null>

  /** Runs that have not finished, oldest first, each with the targets that are left. */
  openRuns(): Promise<readonly NewRun[]>

  /** Removes runs that finished before `before`, and of the others all but the `most` that finished last. */
  pruneRuns(before: string, most?: number): Promise<void>

  /** validFrom of the newest version of each config type of a VM. */
  newestTimes(vmId: string): Promise<ReadonlyMap<string, string>>

  /** Writes nothing, as any change would: for what has to be written elsewhere first. @throws {Fault} as any change */
  requireWritable(): Promise<void>

  /** Whether the database still stands where it was opened and can be written. */
  health(): Promise<{ readonly ok: boolean; readonly detail: string }>

  close(): void
}
