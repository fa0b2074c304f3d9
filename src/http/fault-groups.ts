import type { FaultCode } from "../domain/fault.ts"

/** What groups of routes can fail with; for their documentation. */

export const objectFaults = [
  "vm_not_found",
  "config_type_not_found",
  "config_not_mapped",
] as const satisfies FaultCode[]

export const reachFaults = [
  "vm_disabled",
  "vm_unreachable",
  "vm_auth_failed",
  "host_key_mismatch",
  "host_key_unknown",
  "vm_unsupported",
  "vm_timeout",
  "connection_lost",
  "config_busy",
] as const satisfies FaultCode[]

export const readFaults = [
  ...reachFaults,
  "vm_permission_denied",
  "not_a_regular_file",
  "remote_file_too_large",
  "concurrent_modification",
] as const satisfies FaultCode[]

export const storageFaults = [
  "backup_storage_unavailable",
  "storage_busy",
  "storage_full",
] as const satisfies FaultCode[]

export const sealedFaults = [
  "backup_corrupt",
  "backup_missing",
  "backup_key_unavailable",
] as const satisfies FaultCode[]

export const contentFaults = ["config_unparsable", "config_too_complex"] as const satisfies FaultCode[]

export const pushFaults = [
  ...objectFaults,
  ...readFaults,
  ...storageFaults,
  "invalid_header",
  "operation_in_doubt",
  "precondition_failed",
  "precondition_required",
  "write_failed",
  "rollback_failed",
  "outcome_unknown",
  "vm_disk_full",
] as const satisfies FaultCode[]
