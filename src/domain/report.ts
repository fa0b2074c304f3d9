import type { FormatName } from "./config-type.ts"
import type { DocumentError } from "./fault.ts"
import type { Check } from "./transport.ts"
import type { Warning } from "./warning.ts"

export type Outcome = "created" | "written" | "unchanged"

/** The answer to a change of one config (API 3). */
export interface PushReport {
  readonly vmId: string
  readonly type: string
  readonly path: string
  readonly outcome: Outcome
  readonly digest: string
  readonly previousDigest: string | null
  readonly size: number
  /** The version of what stood before; null: nothing did, or none was kept. */
  readonly backupId: string | null
  /** The version of what stands now. */
  readonly versionId: string | null
  readonly operationId: string | null
  readonly dryRun: boolean
  /** Unified diff of live against new; null but for a dry run. */
  readonly diff: string | null
  readonly warnings: readonly Warning[]
}

/** A push that put a version back. */
export interface RestoreReport extends PushReport {
  readonly restoredFrom: string
  /** Whether the restored document keeps today's schema; null: the type has none. */
  readonly schemaValid: boolean | null
}

export interface ValidateReport {
  readonly valid: boolean
  readonly errors: readonly DocumentError[]
  readonly warnings: readonly Warning[]
}

export interface DiffReport {
  readonly changed: boolean
  readonly unified: string
  /** RFC 6902; null for `text` and where a side cannot be parsed. */
  readonly operations: readonly unknown[] | null
}

export interface CheckReport {
  readonly ok: boolean
  readonly checks: readonly Check[]
}

/** A VM as `GET /vms` shows it. */
export interface VmView {
  readonly vmId: string
  readonly name: string
  readonly host: string
  readonly port: number
  readonly role: string | null
  readonly labels: Readonly<Record<string, string>>
  readonly enabled: boolean
  readonly configTypes: readonly string[]
}

/** A config as `GET /vms/:vmId/configs` shows it. */
export interface ConfigView {
  readonly type: string
  readonly path: string
  readonly format: FormatName
  /** Whether a schema is in force for it. */
  readonly schema: boolean
  readonly lastBackupAt: string | null
}
