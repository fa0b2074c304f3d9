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
import type { NewVersion, Trigger, Version } from "./version.ts"

/** A page of a list whose JSON the catalog has built itself: `items` is the text of a JSON array in API shape. */
export interface JsonPage {
  readonly items: string
  /** Opaque; null: this is the last page. */
  readonly nextCursor: string | null
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

  /** Operations whose journal is not `done`, oldest first. */
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

  /** Notes what a verification found. */
  markVersion(
    backupId: string,
    found: { readonly state: Version["state"]; readonly verifiedAt: string | null },
  ): Promise<void>

  /** validFrom of the newest version of each config type of a VM. */
  newestTimes(vmId: string): Promise<ReadonlyMap<string, string>>

  /** Whether the database still stands where it was opened and can be written. */
  health(): Promise<{ readonly ok: boolean; readonly detail: string }>

  close(): void
}
