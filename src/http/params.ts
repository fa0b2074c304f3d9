import { type Static, Type } from "typebox"
import { maxNoteLength } from "../domain/notes.ts"
import { idPattern } from "../domain/vm.ts"
import { maxReasonLength } from "./caller.ts"

/** What requests hold: parameters of paths and queries, headers, members of bodies. */

const strict = { additionalProperties: false }

function id(description: string, example: string) {
  return Type.String({ pattern: idPattern.source, description, examples: [example] })
}

/** Ids of backups and operations: UUIDv7; a legacy backup's is its file name. */
function recordId(description: string, example = "019b7c1e-2f4e-7000-8000-000000000001") {
  return Type.String({ pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$", description, examples: [example] })
}

function instant(description: string, example: string) {
  return Type.Optional(Type.String({ format: "date-time", description, examples: [example] }))
}

/** An optional switch, off or on when it is left out. */
function flag(whenLeftOut: boolean, description: string) {
  return Type.Optional(Type.Boolean({ default: whenLeftOut, description }))
}

/** The page of all calls fills in the example: there, a change is tried before it is made. */
const dryRun = Type.Optional(
  Type.Boolean({
    default: false,
    description: "Check everything and answer with the diff; nothing changes anywhere.",
    examples: [true],
  }),
)

const vmId = id("Id of the VM in the settings.", "vm01")
const type = id("Name of the config type in the settings.", "central")

export const VmParams = Type.Object({ vmId }, strict)
export const ConfigParams = Type.Object({ vmId, type }, strict)
export const SchemaParams = Type.Object({ type }, strict)
export const BackupParams = Type.Object(
  { backupId: recordId("Id of the backup; of a legacy one, its file name.") },
  strict,
)
/** Its example is one that the demo lets go. */
export const RemovedBackupParams = Type.Object(
  { backupId: recordId("Id of the backup; of a legacy one, its file name.", "0195602b-3800-7000-8000-000000000001") },
  strict,
)
export const RunParams = Type.Object({ runId: recordId("Id of the run.") }, strict)
export const OperationParams = Type.Object({ operationId: recordId("Id of the operation.") }, strict)
export const ProblemParams = Type.Object(
  { code: Type.String({ description: "Code of the problem.", examples: ["config_invalid"] }) },
  strict,
)

const page = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 500, default: 50, description: "How many items a page holds at most." }),
  ),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: 512, description: "`nextCursor` of the page before; opaque." }),
  ),
}

export const NoQuery = Type.Object({}, strict)
export const PageQuery = Type.Object(page, strict)

export const VmsQuery = Type.Object(
  {
    label: Type.Optional(
      Type.Array(Type.String({ pattern: "^[^=]+=.*$" }), {
        maxItems: 20,
        description: "`name=value`; may be repeated, and all must hold.",
        examples: [["role=edge"]],
      }),
    ),
    ...page,
  },
  strict,
)

export const PutQuery = Type.Object(
  {
    validate: flag(true, "Whether the document must keep the schema of its type."),
    backup: flag(true, "Whether what stands there, and what is written, become versions."),
    dryRun,
  },
  strict,
)

export const BackupsQuery = Type.Object(
  {
    vmId: Type.Optional(id("Only of this VM.", "vm01")),
    type: Type.Optional(id("Only of this config type.", "central")),
    since: instant("Only those with `since` <= `validFrom`.", "2026-01-01T00:00:00.000Z"),
    until: instant("Only those with `validFrom` < `until`.", "2026-02-01T00:00:00.000Z"),
    at: instant(
      "The version that stood at this time: `validFrom` <= `at` < `supersededAt`; with `vmId` and `type`.",
      "2026-01-02T03:04:05.678Z",
    ),
    trigger: Type.Optional(
      Type.Enum(["written", "found", "manual", "scheduled", "imported"], { description: "What made the version." }),
    ),
    state: Type.Optional(
      Type.Enum(["ok", "damaged", "missing", "locked"], { description: "Only those that were last found like that." }),
    ),
    pinned: Type.Optional(Type.Boolean({ description: "Only pinned ones, or only others." })),
    ...page,
  },
  strict,
)

export const BackupDiffQuery = Type.Object(
  {
    against: Type.Optional(
      Type.String({
        pattern: "^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$",
        default: "live",
        description:
          "`live` (the file on the VM), `previous` (the version before), or the id of a backup. " +
          "Its lines are shown as removed, this backup's as added: what a restore would do.",
        examples: ["previous"],
      }),
    ),
  },
  strict,
)

export const RestoreQuery = Type.Object({ dryRun }, strict)

export const PurgeQuery = Type.Object(
  {
    dryRun: Type.Optional(
      Type.Boolean({ default: false, description: "Answer with what would go; nothing goes.", examples: [true] }),
    ),
    force: flag(false, "Also where more than half of all backups would go, or lost notes are still sought."),
  },
  strict,
)

export const OperationsQuery = Type.Object(
  {
    vmId: Type.Optional(id("Only of this VM.", "vm01")),
    type: Type.Optional(id("Only of this config type.", "central")),
    kind: Type.Optional(
      Type.Enum(["write", "patch", "restore", "backup", "revert", "adopt"], { description: "What was done." }),
    ),
    state: Type.Optional(
      Type.Enum(
        ["running", "succeeded", "unchanged", "failed", "rolled_back", "in_doubt", "pending_confirmation", "reverted"],
        { description: "How it ended, or stands." },
      ),
    ),
    since: instant("Only those with `since` <= `startedAt`.", "2026-01-01T00:00:00.000Z"),
    ...page,
  },
  strict,
)

const reason = Type.Optional(
  Type.String({
    maxLength: maxReasonLength,
    pattern: "^\\P{Cc}*$",
    description: "Kept with the operation and the version; wins over X-Change-Reason.",
    examples: ["ticket 4711"],
  }),
)

const CreateBackupBody = Type.Object({ vmId, type, reason }, strict)

const select = Type.Object(
  {
    vmIds: Type.Optional(
      Type.Array(vmId, { minItems: 1, maxItems: 10_000, description: "These VMs, disabled ones too." }),
    ),
    labels: Type.Optional(
      Type.Unsafe<Readonly<Record<string, string>>>({
        type: "object",
        minProperties: 1,
        maxProperties: 20,
        additionalProperties: { type: "string" },
        description: "The VMs that carry all of these, of those that are enabled.",
        examples: [{ role: "edge" }],
      }),
    ),
    all: Type.Optional(Type.Literal(true, { description: "All VMs that are enabled." })),
    exclude: Type.Optional(Type.Array(vmId, { maxItems: 10_000, description: "But not these VMs." })),
  },
  { ...strict, minProperties: 1, description: "Which VMs; what is named and what carries the labels adds up." },
)

const CreateBackupsBody = Type.Object(
  {
    select,
    types: Type.Optional(
      Type.Array(type, {
        minItems: 1,
        maxItems: 100,
        description: "Of these config types; left out: of all that a VM has a path for.",
      }),
    ),
    reason,
  },
  strict,
)

type BackupsOrdered = Static<typeof CreateBackupBody> | Static<typeof CreateBackupsBody>

/** One of two forms. By `if` and not by `oneOf`, so that what is wrong is told of the form that was meant. */
export const CreateBackupsOrOneBody = Type.Unsafe<BackupsOrdered>({
  type: "object",
  description: "One config of one VM (`vmId`, `type`), or configs of many (`select`, `types`).",
  if: { properties: { select: {} }, required: ["select"] },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema.
  then: CreateBackupsBody,
  else: CreateBackupBody,
  examples: [{ vmId: "vm01", type: "central", reason: "ticket 4711" }],
})

export const AnnotateBody = Type.Object(
  {
    pinned: Type.Optional(Type.Boolean({ description: "A pinned backup is never removed." })),
    note: Type.Optional(
      Type.Unsafe<string | null>({
        type: ["string", "null"],
        maxLength: maxNoteLength,
        pattern: "^(?:\\P{Cc}|\\n)*$",
        description: "Kept beside the backup; null: none. No control characters but line ends.",
      }),
    ),
  },
  { ...strict, minProperties: 1, examples: [{ pinned: true, note: "before the move" }] },
)
export const RestoreBody = Type.Object(
  { vmId: Type.Optional(id("Restore to this VM instead of the one the version comes from.", "vm02")), reason },
  // Without vmId: nobody is to send a version to another VM by what was filled in.
  { ...strict, examples: [{ reason: "ticket 4711" }] },
)

/** For the documentation; requests are read by caller.ts and preconditions.ts. */
export const reasonHeader = {
  "x-change-reason": Type.Optional(
    Type.String({
      description: `Kept with the operation and the version; UTF-8, up to ${maxReasonLength} characters.`,
    }),
  ),
}
export const ifMatchHeader = {
  "if-match": Type.Optional(
    Type.String({
      description: "Change the file only if it is this one: an ETag of any view, a list of them, or `*`.",
    }),
  ),
}
export const createOnlyHeader = {
  "if-none-match": Type.Optional(Type.String({ description: "`*`: create the file, never replace one." })),
}
export const cachedHeader = {
  "if-none-match": Type.Optional(
    Type.String({ description: "ETags that you have; 304 when the view is one of them." }),
  ),
}
