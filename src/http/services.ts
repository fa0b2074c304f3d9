import type { Caller } from "../domain/caller.ts"
import type { JsonPage, OperationFilter, PageRequest, VersionFilter } from "../domain/catalog.ts"
import type { ConfigRef, ConfigType } from "../domain/config-type.ts"
import type { SchemaInfo } from "../domain/document-validator.ts"
import type { Operation } from "../domain/operation.ts"
import type {
  CheckReport,
  ConfigView,
  DiffReport,
  PushReport,
  RestoreReport,
  ValidateReport,
  VmView,
} from "../domain/report.ts"
import type { Run } from "../domain/run.ts"
import type { Version } from "../domain/version.ts"
import type { BackupOrder } from "../services/backup-runs.ts"
import type { RestoreOptions } from "../services/backups.ts"
import type { Body, Content, LiveConfig, PutOptions } from "../services/configs.ts"
import type { Readiness } from "../services/health.ts"
import type { PurgeOptions, PurgeReport } from "../services/retention.ts"
import type { Annotation } from "../services/version-notes.ts"

/** What the routes call: the classes of services/, told by their methods, so that a test can hand in an object. */
export interface Services {
  readonly configs: ConfigService
  readonly backups: BackupService
  readonly backupRuns: BackupRunService
  readonly retention: RetentionService
  readonly versionNotes: VersionNoteService
  readonly operations: OperationService
  readonly vms: VmService
  readonly schemas: SchemaService
  readonly health: HealthService
  readonly metrics: MetricsService
}

export interface ConfigService {
  read(ref: ConfigRef, caller: Caller): Promise<LiveConfig>
  put(ref: ConfigRef, body: Body, options: PutOptions, caller: Caller): Promise<PushReport>
  validate(ref: ConfigRef, body: Body): Promise<ValidateReport>
  diff(ref: ConfigRef, body: Body, caller: Caller): Promise<DiffReport>
  typeOf(ref: ConfigRef): ConfigType
  hasSecrets(type: string): boolean
}

export interface BackupService {
  create(ref: ConfigRef, caller: Caller): Promise<{ made: boolean; backupId: string; json: string }>
  list(filter: VersionFilter, page: PageRequest): Promise<JsonPage>
  getJson(backupId: string): Promise<string>
  content(backupId: string): Promise<Content & { readonly version: Version }>
  diff(backupId: string, against: string, caller: Caller): Promise<DiffReport>
  verify(backupId: string): Promise<CheckReport>
  restore(backupId: string, options: RestoreOptions, caller: Caller): Promise<RestoreReport>
}

export interface BackupRunService {
  start(order: BackupOrder, caller: Caller): Promise<Run>
  get(runId: string): Promise<Run>
}

export interface RetentionService {
  purge(options: PurgeOptions): Promise<PurgeReport>
  remove(backupId: string, signal: AbortSignal): Promise<void>
}

export interface VersionNoteService {
  annotate(backupId: string, annotation: Annotation): Promise<void>
}

export interface OperationService {
  list(filter: OperationFilter, page: PageRequest): Promise<JsonPage>
  get(operationId: string): Promise<Operation>
}

export interface VmService {
  list(labels: Readonly<Record<string, string>>): readonly VmView[]
  get(vmId: string): VmView
  configs(vmId: string): Promise<readonly ConfigView[]>
  check(vmId: string, caller: Caller): Promise<CheckReport>
}

export interface SchemaService {
  list(): readonly SchemaInfo[]
  text(type: string): { readonly bytes: Buffer; readonly digest: string }
}

export interface HealthService {
  readiness(): Promise<Readiness>
}

export interface MetricsService {
  readonly contentType: string
  /** All metrics in that type. */
  text(): Promise<string>
}
