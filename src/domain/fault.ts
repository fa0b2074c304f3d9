/** Every way an operation can fail that a client would act on. Its HTTP face is `http/problem.ts`. */
export type FaultCode =
  // the request
  | "malformed_json"
  | "invalid_body"
  | "invalid_parameter"
  | "invalid_header"
  | "malformed_url"
  | "malformed_request"
  | "forbidden"
  | "not_found"
  | "vm_not_found"
  | "config_type_not_found"
  | "config_not_mapped"
  | "config_not_found"
  | "backup_not_found"
  | "operation_not_found"
  | "schema_not_found"
  | "run_not_found"
  | "method_not_allowed"
  | "not_acceptable"
  | "request_timeout"
  | "body_too_large"
  | "uri_too_long"
  | "unsupported_media_type"
  | "headers_too_large"
  // the state of things
  | "backup_corrupt"
  | "backup_missing"
  | "backup_key_unavailable"
  | "backup_protected"
  | "purge_guard"
  | "concurrent_modification"
  | "not_a_regular_file"
  | "operation_in_doubt"
  | "vm_disabled"
  | "precondition_failed"
  | "precondition_required"
  // the content
  | "config_unparsable"
  | "config_invalid"
  | "config_too_complex"
  // too much at once
  | "rate_limited"
  | "config_busy"
  // ours
  | "internal_error"
  // the VM answered and it went wrong
  | "vm_auth_failed"
  | "host_key_mismatch"
  | "host_key_unknown"
  | "vm_permission_denied"
  | "vm_unsupported"
  | "remote_file_too_large"
  | "write_failed"
  | "connection_lost"
  | "rollback_failed"
  // nothing was tried
  | "vm_unreachable"
  | "backup_storage_unavailable"
  | "storage_busy"
  | "shutting_down"
  // no answer in time
  | "vm_timeout"
  | "outcome_unknown"
  // no room
  | "storage_full"
  | "vm_disk_full"

/** What stands on the VM after a failed change, as far as it is known. */
export type FileState = "unchanged" | "written" | "rolled_back" | "unknown"

/** One thing that is wrong in a document. `line` and `column` count from 1. Never holds a value out of the document. */
export interface DocumentError {
  readonly pointer?: string
  readonly message: string
  readonly keyword?: string
  readonly line?: number
  readonly column?: number
}

/** What a client can use besides the code and the sentence; each member is shown in the problem under its own name. */
export interface FaultDetails {
  readonly errors?: readonly DocumentError[]
  readonly truncated?: boolean
  readonly fileState?: FileState
  readonly operationId?: string
  readonly backupId?: string | null
  readonly currentDigest?: string | null
  readonly retryAfterSeconds?: number
  readonly allow?: readonly string[]
}

/** An expected failure. `message` goes to the client; `cause` is only logged. */
export class Fault extends Error {
  readonly code: FaultCode
  readonly details: FaultDetails

  constructor(code: FaultCode, message: string, options: FaultDetails & { readonly cause?: unknown } = {}) {
    const { cause, ...details } = options
    super(message, cause === undefined ? undefined : { cause })
    this.name = "Fault"
    this.code = code
    this.details = details
  }

  /** The same fault, told with more details: what a later step knows and an earlier one did not. */
  with(details: FaultDetails): Fault {
    return new Fault(this.code, this.message, { ...this.details, ...details, cause: this.cause })
  }
}

/** Whether `error` is a fault, and one of `codes` where any are named. */
export function isFault(error: unknown, ...codes: readonly FaultCode[]): error is Fault {
  return error instanceof Fault && (codes.length === 0 || codes.includes(error.code))
}
