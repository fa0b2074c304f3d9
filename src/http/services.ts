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
import type { Version } from "../domain/version.ts"
import type { RestoreOptions } from "../services/backups.ts"
import type { Body, Content, LiveConfig, PutOptions } from "../services/configs.ts"
import type { Readiness } from "../services/health.ts"

/** What the routes call: the classes of services/, told by their methods, so that a test can hand in an object. */
export interface Services {
  readonly configs: ConfigService
  readonly backups: BackupService
  readonly operations: OperationService
  readonly vms: VmService
  readonly schemas: SchemaService
  readonly health: HealthService
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
