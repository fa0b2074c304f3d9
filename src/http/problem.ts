import type { FastifyReply, FastifyRequest } from "fastify"
import { Fault, type FaultCode, isFault } from "../domain/fault.ts"

/** The HTTP face of each fault; what it means and what to do about it stands in problem-texts.ts. */
export const faces = {
  malformed_json: { status: 400, title: "The body is not JSON" },
  invalid_body: { status: 400, title: "The body is not what this call takes" },
  invalid_parameter: { status: 400, title: "A parameter in the URL is wrong" },
  invalid_header: { status: 400, title: "A header is wrong" },
  malformed_url: { status: 400, title: "The URL cannot be read" },
  malformed_request: { status: 400, title: "The request is not HTTP as it should be" },
  forbidden: { status: 403, title: "The request may not be made from there" },
  not_found: { status: 404, title: "No such route" },
  vm_not_found: { status: 404, title: "No such VM" },
  config_type_not_found: { status: 404, title: "No such config type" },
  config_not_mapped: { status: 404, title: "The VM has no path for this config type" },
  config_not_found: { status: 404, title: "The file does not exist on the VM" },
  backup_not_found: { status: 404, title: "No such backup" },
  operation_not_found: { status: 404, title: "No such operation" },
  run_not_found: { status: 404, title: "No such run" },
  schema_not_found: { status: 404, title: "The config type has no schema" },
  method_not_allowed: { status: 405, title: "The path does not take this method" },
  not_acceptable: { status: 406, title: "No view in any of the media types asked for" },
  request_timeout: { status: 408, title: "The request did not arrive in time" },
  body_too_large: { status: 413, title: "The body is too large" },
  uri_too_long: { status: 414, title: "A part of the URL is too long" },
  unsupported_media_type: { status: 415, title: "The body's media type is not taken here" },
  headers_too_large: { status: 431, title: "The headers are too large" },
  backup_corrupt: { status: 409, title: "The backup is damaged" },
  backup_missing: { status: 409, title: "The backup's bytes are gone" },
  backup_protected: { status: 409, title: "The backup is protected" },
  purge_guard: { status: 409, title: "The purge is held back" },
  backup_key_unavailable: { status: 409, title: "No loaded key opens the backup" },
  concurrent_modification: { status: 409, title: "The file changed meanwhile" },
  not_a_regular_file: { status: 409, title: "What stands at the path is no regular file" },
  operation_in_doubt: { status: 409, title: "An earlier change is still being resolved" },
  vm_disabled: { status: 409, title: "The VM is disabled" },
  precondition_failed: { status: 412, title: "The config is not what the request expects" },
  precondition_required: { status: 428, title: "The config type asks for If-Match" },
  config_unparsable: { status: 422, title: "The config cannot be parsed" },
  config_invalid: { status: 422, title: "The config breaks its schema" },
  config_too_complex: { status: 422, title: "The config is too complex" },
  rate_limited: { status: 429, title: "Too many requests" },
  config_busy: { status: 429, title: "The config is busy" },
  internal_error: { status: 500, title: "A bug in Config Manager" },
  vm_auth_failed: { status: 502, title: "Logging in to the VM failed" },
  host_key_mismatch: { status: 502, title: "The VM's host key is not the known one" },
  host_key_unknown: { status: 502, title: "The VM's host key is not known" },
  vm_permission_denied: { status: 502, title: "The SSH user may not do this on the VM" },
  vm_unsupported: { status: 502, title: "The VM's SSH server lacks what is needed" },
  remote_file_too_large: { status: 502, title: "The file on the VM is too large" },
  write_failed: { status: 502, title: "The VM could not write the file" },
  connection_lost: { status: 502, title: "The connection to the VM was lost" },
  rollback_failed: { status: 502, title: "The old bytes could not be put back" },
  vm_unreachable: { status: 503, title: "The VM is unreachable" },
  backup_storage_unavailable: { status: 503, title: "The backup storage does not work" },
  storage_busy: { status: 503, title: "The storage is busy" },
  shutting_down: { status: 503, title: "Config Manager is shutting down" },
  vm_timeout: { status: 504, title: "The VM did not answer in time" },
  outcome_unknown: { status: 504, title: "Whether the change was made is not known yet" },
  storage_full: { status: 507, title: "The storage is full" },
  vm_disk_full: { status: 507, title: "The VM's disk is full" },
} satisfies Record<FaultCode, { status: number; title: string }>

/** RFC 9457, with the members of API 1. */
export interface Problem {
  readonly type: string
  readonly code: FaultCode
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly instance: string
  readonly [member: string]: unknown
}

/** The problem of a fault; members that have no value are left out, the others keep this order. */
export function faultToProblem(fault: Fault, requestId: string): Problem {
  const { status, title } = faces[fault.code]
  const { errors, truncated, fileState, operationId, backupId, currentDigest, allow } = fault.details
  const members = { errors, truncated, fileState, operationId, backupId, currentDigest, allow }
  return {
    type: `/problems/${fault.code}`,
    code: fault.code,
    title,
    status,
    detail: fault.message,
    instance: instanceOf(requestId),
    ...withoutUndefined({ ...members, retryAfterSeconds: retryAfterOf(fault) }),
  }
}

/** The headers that belong to a fault, by lower-case name. */
export function problemHeaders(fault: Fault): Readonly<Record<string, string>> {
  const { currentDigest, allow } = fault.details
  const retryAfter = retryAfterOf(fault)
  return {
    "content-type": "application/problem+json",
    "cache-control": "no-store",
    ...(typeof currentDigest === "string" && { etag: `"${currentDigest}"` }),
    ...(allow && { allow: allow.join(", ") }),
    ...(retryAfter !== undefined && { "retry-after": String(retryAfter) }),
  }
}

/** Answers with the problem of `error`; one that is not expected is logged and told by its request id alone. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const fault = toFault(error, request)
  const problem = faultToProblem(fault, request.id)
  logFault(fault, request)
  for (const name of ["content-encoding", "last-modified", "etag"]) reply.removeHeader(name)
  // Sent as bytes: to text Fastify would add a charset, which application/problem+json does not have.
  return reply
    .code(problem.status)
    .headers({ ...problemHeaders(fault), "x-request-id": request.id })
    .send(Buffer.from(JSON.stringify(problem)))
}

function toFault(error: unknown, request: FastifyRequest): Fault {
  if (isFault(error)) return error
  if (request.raw.destroyed && !request.raw.complete && !request.raw.readableEnded) {
    return new Fault("malformed_request", "The connection ended before the request was whole.", { cause: error })
  }
  return frameworkFault(error) ?? internalError(error, request)
}

function internalError(cause: unknown, request: FastifyRequest): Fault {
  // Nobody reads the answer to a caller that has hung up, and an aborted step is no bug.
  const gone = request.raw.socket.destroyed && cause instanceof Error && cause.name === "AbortError"
  if (gone) return new Fault("request_timeout", "The caller hung up.", { cause })
  return new Fault("internal_error", `Request ${request.id} failed by a bug; the log has the rest.`, { cause })
}

/** What Fastify and its plugins throw, in our words. */
function frameworkFault(error: unknown): Fault | null {
  const { code, statusCode } = (error ?? {}) as { code?: unknown; statusCode?: unknown }
  const known = typeof code === "string" && Object.hasOwn(frameworkFaults, code) ? frameworkFaults[code] : undefined
  if (known) return new Fault(known[0], known[1], { cause: error })
  if (statusCode === 404 || statusCode === 403) return new Fault("not_found", "Nothing is here.", { cause: error })
  if (typeof statusCode !== "number" || statusCode < 400 || statusCode > 499) return null
  return new Fault("malformed_request", "The request cannot be understood.", { cause: error })
}

const frameworkFaults: Readonly<Record<string, readonly [FaultCode, string]>> = {
  FST_ERR_BAD_URL: ["malformed_url", "The path holds a percent sign that is not followed by the bytes of a character."],
  FST_ERR_MAX_PARAM_LENGTH: ["uri_too_long", "A segment of the path is longer than any id can be."],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ["unsupported_media_type", "The Content-Type cannot be read."],
}

/** Faults of the caller are everyday; what went wrong here or on a VM is worth a line with its cause. */
function logFault(fault: Fault, request: FastifyRequest): void {
  const { status } = faces[fault.code]
  if (fault.code === "internal_error")
    request.log.error({ requestId: request.id, err: fault.cause }, "unexpected error")
  else if (status >= 500)
    request.log.warn(
      { requestId: request.id, code: fault.code, cause: (fault.cause as Error | undefined)?.message },
      fault.message,
    )
}

function retryAfterOf(fault: Fault): number | undefined {
  const { retryAfterSeconds } = fault.details
  return retryAfterSeconds ?? (faces[fault.code].status === 429 ? 1 : undefined)
}

/** A caller's own id may hold what a URN may not. */
function instanceOf(requestId: string): string {
  return `urn:request:${encodeURI(requestId).replaceAll("#", "%23").replaceAll("?", "%3F")}`
}

function withoutUndefined(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}
