import { type TSchema, Type } from "typebox"

/** What answers hold. They document (and tests hold answers against them); what is sent is never cut to them. */

const nullable = (schema: TSchema) => Type.Union([schema, Type.Null()])
const digest = Type.String({ pattern: "^[0-9a-f]{64}$", description: "SHA-256 of the exact bytes, lower-case hex." })
const time = Type.String({ format: "date-time", description: "RFC 3339, UTC, with ms." })
const text = Type.String()
const whole = Type.Integer({ minimum: 0 })

/** Points to a component by its name. */
export function shape(name: keyof typeof shapes): TSchema {
  return Type.Unsafe({ $ref: `${name}#` })
}

const reference = (name: string) => Type.Unsafe({ $ref: `${name}#` })

/** A list of a component. */
export function listOf(name: keyof typeof shapes, more: Readonly<Record<string, TSchema>> = {}): TSchema {
  return Type.Object({
    items: Type.Array(reference(name)),
    nextCursor: Type.Union([Type.String(), Type.Null()], { description: "`cursor` of the next page; null: the last." }),
    ...more,
  })
}

const pushMembers = {
  vmId: text,
  type: text,
  path: Type.String({ description: "Of the file on the VM." }),
  outcome: Type.Enum(["created", "written", "unchanged"]),
  digest,
  previousDigest: nullable(digest),
  size: whole,
  backupId: Type.Union([text, Type.Null()], { description: "The version of what stood before; null: none." }),
  versionId: Type.Union([text, Type.Null()], { description: "The version of what stands now." }),
  operationId: nullable(text),
  dryRun: Type.Boolean(),
  diff: Type.Union([text, Type.Null()], { description: "Unified diff of live against new, of a dry run." }),
  warnings: Type.Array(reference("Warning")),
}

export const shapes = {
  Problem: Type.Object(
    {
      type: Type.String({ format: "uri-reference", description: "`/problems/<code>`, a page that says what to do." }),
      code: Type.String({ description: "What to act on." }),
      title: text,
      status: Type.Integer(),
      detail: Type.String({ description: "What happened this time, in a sentence." }),
      instance: Type.String({ format: "uri", description: "`urn:request:<X-Request-Id>`" }),
      errors: Type.Optional(Type.Array(reference("DocumentError"), { maxItems: 100 })),
      truncated: Type.Optional(Type.Boolean({ description: "There were more errors." })),
      fileState: Type.Optional(
        Type.Enum(["unchanged", "written", "rolled_back", "unknown"], {
          description: "What stands on the VM after a failed change.",
        }),
      ),
      operationId: Type.Optional(text),
      backupId: Type.Optional(nullable(text)),
      currentDigest: Type.Optional(nullable(digest)),
      allow: Type.Optional(Type.Array(text)),
      retryAfterSeconds: Type.Optional(whole),
    },
    { description: "RFC 9457." },
  ),
  DocumentError: Type.Object({
    pointer: Type.Optional(Type.String({ description: "RFC 6901." })),
    message: text,
    keyword: Type.Optional(Type.String({ description: "Of the JSON Schema." })),
    line: Type.Optional(Type.Integer({ minimum: 1 })),
    column: Type.Optional(Type.Integer({ minimum: 1 })),
  }),
  Warning: Type.Object({
    code: text,
    message: text,
    pointer: Type.Optional(text),
    line: Type.Optional(Type.Integer({ minimum: 1 })),
    column: Type.Optional(Type.Integer({ minimum: 1 })),
  }),
  Check: Type.Object({ name: text, ok: Type.Boolean(), detail: text, durationMs: Type.Number({ minimum: 0 }) }),
  CheckReport: Type.Object({ ok: Type.Boolean(), checks: Type.Array(reference("Check")) }),
  Readiness: Type.Object({ ready: Type.Boolean(), degraded: Type.Boolean(), checks: Type.Array(reference("Check")) }),
  Vm: Type.Object({
    vmId: text,
    name: text,
    host: text,
    port: Type.Integer({ minimum: 1, maximum: 65535 }),
    role: nullable(text),
    labels: Type.Unsafe({ type: "object", additionalProperties: { type: "string" } }),
    enabled: Type.Boolean(),
    configTypes: Type.Array(text),
  }),
  Config: Type.Object({
    type: text,
    path: text,
    format: Type.Enum(["yaml", "json", "env", "text"]),
    schema: Type.Boolean({ description: "Whether a schema is in force." }),
    lastBackupAt: nullable(time),
  }),
  PushReport: Type.Object(pushMembers),
  RestoreReport: Type.Object({
    ...pushMembers,
    restoredFrom: text,
    schemaValid: Type.Union([Type.Boolean(), Type.Null()], {
      description:
        "Whether the restored document keeps today's schema; null: the type has none, or too many wait to be checked.",
    }),
  }),
  ValidateReport: Type.Object({
    valid: Type.Boolean(),
    errors: Type.Array(reference("DocumentError")),
    warnings: Type.Array(reference("Warning")),
  }),
  DiffReport: Type.Object({
    changed: Type.Boolean(),
    unified: text,
    operations: Type.Union([Type.Array(Type.Unknown()), Type.Null()], { description: "RFC 6902; null for `text`." }),
  }),
  Backup: Type.Object({
    backupId: text,
    vmId: text,
    type: text,
    path: text,
    validFrom: time,
    supersededAt: Type.Union([time, Type.Null()], { description: "null: the newest." }),
    size: Type.Union([whole, Type.Null()], { description: "null: not known, since no loaded key opens it." }),
    digest: nullable(digest),
    mode: Type.Union([Type.String(), Type.Null()], { description: "Octal, like `0640`; null for a legacy backup." }),
    uid: nullable(whole),
    gid: nullable(whole),
    trigger: Type.Enum(["written", "found", "manual", "scheduled", "imported"]),
    reason: nullable(text),
    note: nullable(text),
    actor: text,
    operationId: nullable(text),
    pinned: Type.Boolean(),
    keyId: nullable(text),
    format: Type.Enum(["cmb1", "legacy"]),
    verifiedAt: nullable(time),
    state: Type.Enum(["ok", "damaged", "missing", "locked"]),
    copies: Type.Optional(
      Type.Array(
        Type.Object({
          target: Type.String({ description: "As in `backup_remote_path`." }),
          state: Type.Enum(["queued", "copied", "removing"]),
          since: time,
          attempts: Type.Integer({ minimum: 0, description: "How often it has failed since." }),
          problem: nullable(text),
        }),
        { description: "Off this host. Not in lists." },
      ),
    ),
    warnings: Type.Optional(
      Type.Array(reference("Warning"), { description: "Of the call that made it; nowhere else." }),
    ),
  }),
  BackupRun: Type.Object({
    runId: text,
    state: Type.Enum(["running", "finished"]),
    counts: Type.Object({ total: whole, made: whole, unchanged: whole, failed: whole, unreachable: whole }),
    failures: Type.Array(
      Type.Object({
        vmId: text,
        type: text,
        problem: Type.Object({ code: text, status: Type.Integer(), detail: text }),
      }),
      { maxItems: 1000, description: "Those that failed or were not reached; the first 1000." },
    ),
    startedAt: time,
    finishedAt: nullable(time),
  }),
  PurgeReport: Type.Object({
    removed: Type.Array(text, { maxItems: 10_000, description: "Ids of what went, oldest first; the first 10000." }),
    kept: Type.Integer({ minimum: 0, description: "How many backups are left." }),
  }),
  Operation: Type.Object({
    operationId: text,
    kind: Type.Enum(["write", "patch", "restore", "backup", "revert", "adopt"]),
    vmId: text,
    type: text,
    state: text,
    fileState: nullable(Type.Enum(["unchanged", "written", "rolled_back", "unknown"])),
    startedAt: time,
    finishedAt: nullable(time),
    actor: text,
    reason: nullable(text),
    requestId: nullable(text),
    digest: nullable(digest),
    previousDigest: nullable(digest),
    backupId: nullable(text),
    versionId: nullable(text),
    rolloutId: nullable(text),
    stages: Type.Array(Type.Object({ name: text, ms: Type.Number({ minimum: 0 }) })),
    problem: nullable(Type.Object({ code: text, status: Type.Integer(), detail: text })),
  }),
  Schema: Type.Object({ type: text, file: text, digest, title: nullable(text) }),
}
