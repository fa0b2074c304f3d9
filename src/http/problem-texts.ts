import type { FaultCode } from "../domain/fault.ts"
import { faces } from "./problem.ts"

/** What each problem means, and what the client can do. */
const texts = {
  malformed_json: [
    "The body is not strict JSON: a syntax error, a key that stands twice, nesting too deep, a number JavaScript cannot hold, or bytes that are not UTF-8.",
    "See errors for the place, correct the body and send it again.",
  ],
  invalid_body: [
    "The body is JSON, but not what this call takes: a member is missing, unknown or of the wrong type.",
    "See errors for the members. Nothing is coerced or left out silently.",
  ],
  invalid_parameter: [
    "A parameter in the path or the query is malformed, unknown, out of range or given twice.",
    "See errors for the parameter. Switches are true or false and nothing else.",
  ],
  invalid_header: ["A header is malformed or stands more than once.", "Correct the header that the detail names."],
  malformed_url: ["The path cannot be decoded.", "Percent-encode the path as UTF-8."],
  malformed_request: [
    "What arrived is not a whole HTTP/1.1 request.",
    "Look at the client or a proxy in between; the connection was closed if its state was in doubt.",
  ],
  forbidden: [
    "No tokens are set, so pages of other sites are kept out: Host names neither this machine nor server.host while the service listens on this machine only, or a browser sends a change from another site.",
    "Use the address that the service logs. A proxy in front has to send it as Host; a page's origin belongs in server.cors_origins.",
  ],
  not_found: ["No route has this path.", "GET /docs lists all routes."],
  vm_not_found: ["The settings name no VM with this id.", "GET /vms lists the VMs."],
  config_type_not_found: ["The settings name no config type with this name.", "GET /vms lists each VM's types."],
  config_not_mapped: [
    "The config type exists, but config_paths gives no path for this VM and no default.",
    "Add the path to the settings, or ask for another type.",
  ],
  config_not_found: ["No file stands at the config's path on the VM.", "PUT creates it."],
  backup_not_found: ["No backup has this id.", "GET /backups lists them."],
  operation_not_found: ["No operation has this id.", "GET /operations lists them."],
  run_not_found: [
    "There is no run of that id, or it finished so long ago that it is no longer kept.",
    "Use the Location that the run was begun with.",
  ],
  schema_not_found: ["The config type has no schema.", "Name one in config_schemas, or do without."],
  method_not_allowed: ["The path exists, but not with this method.", "Use a method that Allow names."],
  not_acceptable: ["The resource has no view in a media type that Accept names.", "The detail names its views."],
  request_timeout: ["The request was not whole in time.", "Send it again, without pauses."],
  body_too_large: ["The body is larger than limits.body_bytes.", "Send less, or raise the limit in the settings."],
  uri_too_long: ["A segment of the path is longer than any id.", "Correct the id."],
  unsupported_media_type: [
    "The body's Content-Type, charset or Content-Encoding is not taken here.",
    "Send the media type that the detail names, as UTF-8, uncompressed.",
  ],
  headers_too_large: ["The headers are larger than 16 KiB.", "Send fewer or shorter headers."],
  backup_corrupt: [
    "The sealed bytes of the backup are not what was sealed: they fail authentication.",
    "Restore another version, or the file from an off-host copy. Nothing was written.",
  ],
  backup_missing: ["The catalog knows the backup, but its blob is gone.", "Put the blob back, or use another version."],
  backup_protected: [
    "The backup is pinned, the newest of its config, or was superseded less than 90 days ago. Nothing was removed.",
    "Unpin it where that is the reason; the others go by themselves when their time has come.",
  ],
  purge_guard: [
    "More than half of all backups would go, which is more often a wrong clock or setting than meant so; or the notes were lost, and their copy, which may know of pins, was not read yet. Nothing was removed.",
    "The detail says which. Look at a dry run and at the clock of the service's host; send force=true where it is meant so.",
  ],
  backup_key_unavailable: [
    "The backup was sealed with a key that is not loaded.",
    "Add that key to encryption_old_key_paths and restart.",
  ],
  concurrent_modification: [
    "Somebody else changed the file on the VM while the request ran. Their bytes were kept.",
    "Read the config again and decide anew.",
  ],
  not_a_regular_file: [
    "A directory, a symlink, a FIFO or the like stands at the config's path. It was not touched.",
    "Look at the path on the VM; follow_symlinks in the settings allows symlinks for a type.",
  ],
  operation_in_doubt: [
    "The outcome of an earlier change of this config is not known yet; it is being found out.",
    "Wait and try again; GET /operations shows the earlier one.",
  ],
  vm_disabled: ["The settings say enabled: false for the VM. It was not contacted.", "Enable it in the settings."],
  precondition_failed: [
    "If-Match or If-None-Match does not hold for what stands on the VM now.",
    "Read the config again; ETag and currentDigest say what stands there.",
  ],
  precondition_required: [
    "The config type is set to require_if_match.",
    "Read the config, and send its ETag as If-Match.",
  ],
  config_unparsable: ["The text is not of the config type's format.", "See errors for line and column."],
  config_invalid: ["The document breaks the JSON Schema of its type.", "See errors for the places."],
  config_too_complex: [
    "The document is nested too deep, expands too far or holds too many values, or its schema ran past its time on it.",
    "Make it simpler: aliases and deep nesting are the usual cause.",
  ],
  rate_limited: ["This address has sent more requests than limits.requests_per_minute.", "Wait for Retry-After."],
  config_busy: ["Too many requests wait for this config or for a connection.", "Wait for Retry-After and try again."],
  internal_error: ["Something failed that should not have.", "Report the request id; the log has the cause."],
  vm_auth_failed: [
    "The VM refused our key or user. Nothing was written.",
    "Check ssh_user, the private key and authorized_keys on the VM.",
  ],
  host_key_mismatch: [
    "The VM showed another host key than the known one; no authentication was tried.",
    "If the VM was set up anew, review and replace its line in known_hosts. If not, someone may be in between.",
  ],
  host_key_unknown: [
    "No host key of the VM is known; no authentication was tried.",
    "Review its key, then add it to known_hosts or pin it as host_key in the settings.",
  ],
  vm_permission_denied: [
    "The SSH user may not read or write there, or cannot give the file its owner.",
    "Fix the permissions on the VM, or look at become and keep_owner in the settings.",
  ],
  vm_unsupported: [
    "The VM's SSH server lacks an algorithm or an SFTP extension that safe writing needs.",
    "POST /vms/:vmId/check says which.",
  ],
  remote_file_too_large: ["The file on the VM is larger than the type's max_bytes.", "Raise it in the settings."],
  write_failed: [
    "The VM refused the write; fileState says what stands there.",
    "See the detail and the VM's own logs.",
  ],
  connection_lost: [
    "The connection broke during the call; fileState says what stands on the VM.",
    "Try again where fileState is unchanged.",
  ],
  rollback_failed: [
    "A change failed and the old bytes could not be put back; unless no version gives them back, that goes on in the background.",
    "Watch the operation; the old bytes are the version that backupId names.",
  ],
  vm_unreachable: ["No connection to the VM could be made. Nothing was tried.", "Check the VM, then try again."],
  backup_storage_unavailable: [
    "The backup directory or the catalog cannot be used, so no version can be kept. Nothing was written.",
    "GET /readyz says what is wrong.",
  ],
  storage_busy: ["The catalog is locked by something else.", "Try again; if it stays, look for another process on it."],
  shutting_down: ["The service is ending. Nothing was tried.", "Try again once it is back."],
  vm_timeout: ["The VM did not answer in time. Nothing was written.", "Try again; check the VM's load and network."],
  outcome_unknown: [
    "The VM vanished while the change was made. It is being found out whether it was applied.",
    "Watch the operation that operationId names before you try again.",
  ],
  storage_full: ["No room is left for backups or the catalog. Nothing was written.", "Free space here."],
  vm_disk_full: ["The VM's disk, inodes or quota are used up. Nothing was written.", "Free space on the VM."],
} satisfies Record<FaultCode, readonly [means: string, action: string]>

/** The page behind a problem's `type`; null: no such code. */
export function problemText(code: string): string | null {
  if (!Object.hasOwn(texts, code)) return null
  const known = code as FaultCode
  const [means, action] = texts[known]
  return `${known} (${faces[known].status})\n${faces[known].title}\n\n${means}\n\nWhat to do: ${action}\n`
}
