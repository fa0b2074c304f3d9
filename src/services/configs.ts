import { isDeepStrictEqual } from "node:util"
import { diffOperations, unifiedDiff } from "../documents/diff.ts"
import {
  countComments,
  countRetyped,
  countTypes,
  type ParsedDocument,
  parseDocument,
  renderDocument,
} from "../documents/document.ts"
import type { Caller, Precondition } from "../domain/caller.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef, ConfigType } from "../domain/config-type.ts"
import { digestOf } from "../domain/digest.ts"
import type { DocumentValidator } from "../domain/document-validator.ts"
import { Fault } from "../domain/fault.ts"
import type { Inventory, Located } from "../domain/inventory.ts"
import type { DiffReport, PushReport, ValidateReport } from "../domain/report.ts"
import type { RemoteFile } from "../domain/transport.ts"
import type { Warning } from "../domain/warning.ts"
import { Attempt } from "./attempt.ts"
import type { LiveFiles } from "./live-files.ts"
import { requireAllowed, requireFit } from "./push-conditions.ts"
import { type NewContent, type PushPlan, reportOf } from "./push-plan.ts"
import type { Pusher } from "./pusher.ts"

/** A config as a caller sends it: a value to render (`ordered`: its keys as they were sent), or bytes to keep as they are. */
export type Body = { readonly value: unknown; readonly ordered?: unknown } | { readonly bytes: Buffer }

/** A config's content with what is known of its file. */
export interface Content {
  readonly bytes: Buffer
  readonly digest: string
  readonly type: ConfigType
  /** Parsed when asked. @throws {Fault} `config_unparsable`, `config_too_complex` */
  document(): ParsedDocument
}

export interface LiveConfig extends Content {
  readonly path: string
  readonly file: RemoteFile
}

export interface PutOptions {
  readonly validate: boolean
  readonly backup: boolean
  readonly dryRun: boolean
  readonly precondition: Precondition
}

interface Parts {
  readonly inventory: () => Inventory
  readonly files: LiveFiles
  readonly validator: DocumentValidator
  readonly pusher: Pusher
  readonly clock: Clock
}

/** A live JSON file in the layout that takes the least room: what does not fit in that fits in none. */
const shortest = Buffer.from("[0]")

/** The config files of the fleet as they stand: read, checked, compared, replaced. */
export class Configs {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** The live file. @throws {Fault} `config_not_found`, `vm_disabled`, those of Inventory.locate, Transport.open and Session.read */
  async read(ref: ConfigRef, caller: Caller): Promise<LiveConfig> {
    const located = this.#parts.inventory().locate(ref)
    const file = await this.#parts.files.read(located, caller.signal)
    if (!file) throw notFound(located)
    return { ...contentOf(file.bytes, located.type), path: located.path, file }
  }

  /** Puts a whole config in place (API 3). @throws {Fault} those of Pusher.push, `config_unparsable`, `config_invalid`, `config_too_complex`, `precondition_required` */
  async put(ref: ConfigRef, body: Body, options: PutOptions, caller: Caller): Promise<PushReport> {
    const located = this.#parts.inventory().locate(ref)
    const attempt = new Attempt("write", ref, caller, this.#parts.clock)
    try {
      requireAllowed(located, options.precondition)
      this.#parts.pusher.requireSettled({ located })
      const warnings = await this.#requireValid(located.type, body, options.validate)
      const plan: PushPlan = {
        located,
        caller,
        precondition: options.precondition,
        keepVersions: options.backup,
        attributes: null,
        content: (live) => contentFor(body, located.type, live, warnings),
      }
      return options.dryRun ? await this.rehearse(plan) : await this.#parts.pusher.push(plan, attempt)
    } catch (error) {
      if (options.dryRun) throw error
      throw await this.#parts.pusher.refused(attempt, error)
    }
  }

  /** What a push would answer, with its diff; nothing changes anywhere. */
  async rehearse(plan: PushPlan): Promise<PushReport> {
    const seen = await this.#parts.pusher.rehearse(plan)
    const report = reportOf(plan, seen, { backupId: null, versionId: null, operationId: null })
    const after = seen.same && seen.live ? seen.live.bytes : seen.bytes
    return { ...report, dryRun: true, diff: unifiedDiff(report.path, seen.live?.bytes ?? null, after) }
  }

  /** Whether a body could be put there; no VM is contacted. @throws {Fault} `body_too_large` */
  async validate(ref: ConfigRef, body: Body): Promise<ValidateReport> {
    const { type } = this.#parts.inventory().locate(ref)
    try {
      const warnings = await this.#requireValid(type, body, true)
      // Its format may hold no such value, whatever the schema says to it.
      if ("value" in body) requireFit(renderDocument(body.value, type, shortest), type)
      return { valid: true, errors: [], warnings }
    } catch (error) {
      if (!(error instanceof Fault) || error.details.errors === undefined) throw error
      return { valid: false, errors: error.details.errors, warnings: [] }
    }
  }

  /** Live against body. @throws {Fault} as `read`; `invalid_body` for a value the format cannot hold, `body_too_large` */
  async diff(ref: ConfigRef, body: Body, caller: Caller): Promise<DiffReport> {
    const live = await this.read(ref, caller)
    const next = contentFor(body, live.type, live.bytes, [])
    const after = next.same ? live.bytes : next.bytes
    requireFit(after, live.type)
    return diffOf(live.path, live, contentOf(after, live.type))
  }

  /** The settings of a type on a VM, no contact. @throws {Fault} those of Inventory.locate */
  typeOf(ref: ConfigRef): ConfigType {
    return this.#parts.inventory().locate(ref).type
  }

  /** Whether the type's schema marks secrets. */
  hasSecrets(type: string): boolean {
    return this.#parts.validator.schemas().some((schema) => schema.type === type && schema.hasSecrets)
  }

  async #requireValid(type: ConfigType, body: Body, validate: boolean): Promise<readonly Warning[]> {
    if ("bytes" in body) requireFit(body.bytes, type)
    if (!validate)
      return [{ code: "not_validated", message: "The config was neither parsed nor checked (validate=false)." }]
    const document = "bytes" in body ? parseDocument(body.bytes, type) : null
    const value = "bytes" in body ? document?.value : body.value
    await requireSchema(this.#parts.validator, type, value, document)
    const noSchema: Warning = {
      code: "no_schema",
      message: `Type ${type.type} has no schema: only its syntax was checked.`,
    }
    return [...(document?.warnings ?? []), ...(type.schemaFile === null ? [noSchema] : [])]
  }
}

/** @throws {Fault} `config_invalid` with every error, with line and column where the body was text */
async function requireSchema(
  validator: DocumentValidator,
  type: ConfigType,
  value: unknown,
  document: ParsedDocument | null,
): Promise<void> {
  const { errors, truncated } = await validator.validate(type.type, value)
  const [first] = errors
  if (!first) return
  const placed = errors.map((error) => ({ ...error, ...(document?.locate(error.pointer ?? "") ?? {}) }))
  const count = truncated
    ? `more than ${errors.length} errors`
    : errors.length === 1
      ? "1 error"
      : `${errors.length} errors`
  const where = first.pointer ? `at ${first.pointer}` : "at the top"
  throw new Fault("config_invalid", `${count}, the first ${where}: ${first.message}`, {
    errors: placed,
    ...(truncated ? { truncated } : {}),
    fileState: "unchanged",
  })
}

/** Bytes as content that is parsed once, when asked. */
export function contentOf(bytes: Buffer, type: ConfigType): Content {
  let parsed: ParsedDocument | undefined
  return {
    bytes,
    digest: digestOf(bytes),
    type,
    document: () => {
      parsed ??= parseDocument(bytes, type)
      return parsed
    },
  }
}

/** What of a body is to stand on the VM, given what stands there. */
function contentFor(body: Body, type: ConfigType, live: Buffer | null, warnings: readonly Warning[]): NewContent {
  if ("bytes" in body) return { bytes: body.bytes, same: live?.equals(body.bytes) ?? false, warnings }
  const standing = live && liveDocument(live, type)
  if (live && standing && "value" in standing && isDeepStrictEqual(standing.value, body.value)) {
    return { bytes: live, same: true, warnings: [...standing.warnings, ...warnings] }
  }
  const bytes = renderDocument(body.ordered ?? body.value, type, live)
  const lost = live ? lostBy(live, { bytes, value: body.value }, type) : []
  const unread = live?.length && standing instanceof Fault ? [replacedUnread(standing)] : []
  return { bytes, same: live?.equals(bytes) ?? false, warnings: [...warnings, ...lost, ...unread] }
}

/** What of the live file a JSON body cannot hold, and what takes its place does not have. */
function lostBy(
  live: Buffer,
  next: { readonly bytes: Buffer; readonly value: unknown },
  type: ConfigType,
): readonly Warning[] {
  const keepThem = "send the text itself to keep them"
  const comments = countComments(live, type) - countComments(next.bytes, type)
  const types = countTypes(live, type)
  const retyped = countRetyped(live, type, next.value)
  const commentsLost: Warning = {
    code: "comments_lost",
    message: `${comments} comment${comments === 1 ? "" : "s"} of the live file are not in a JSON body and go with it; ${keepThem}.`,
  }
  const typesChanged: Warning = {
    code: "types_changed",
    message: `Keys and dates of the live file become text, ${types} of them: JSON has no others; ${keepThem}.`,
  }
  const valuesRetyped: Warning = {
    code: "types_changed",
    message: `${retyped} value${retyped === 1 ? "" : "s"} of the live file are written as YAML 1.2 reads them, which is something else than other readers read (YAML 1.1: no, 0022, 12:30, line ends of its own; some: a block that the file ends in without a line end); ${keepThem}, or say in yaml_version how the file is read.`,
  }
  return [
    ...(comments > 0 ? [commentsLost] : []),
    ...(types > 0 ? [typesChanged] : []),
    ...(retyped > 0 ? [valuesRetyped] : []),
  ]
}

function replacedUnread(why: Fault): Warning {
  return {
    code: "not_parsable",
    message: `What stands there is replaced whole, with all that is not in the body, and its comments are counted by their looks. ${why.message}`,
  }
}

/** The live document; of a file that cannot be parsed the reason. */
function liveDocument(bytes: Buffer, type: ConfigType): ParsedDocument | Fault {
  try {
    return parseDocument(bytes, type)
  } catch (error) {
    if (error instanceof Fault) return error
    throw error
  }
}

/** Two contents compared; `operations` null where a side has no value (text, or not parsable). */
export function diffOf(path: string, before: Content, after: Content): DiffReport {
  return {
    changed: !before.bytes.equals(after.bytes),
    unified: unifiedDiff(path, before.bytes, after.bytes),
    operations: operationsOf(before, after),
  }
}

function operationsOf(before: Content, after: Content): readonly unknown[] | null {
  if (after.type.format === "text") return null
  try {
    return diffOperations(before.document().value, after.document().value)
  } catch (error) {
    if (error instanceof Fault) return null
    throw error
  }
}

export function notFound({ vm, path }: Located): Fault {
  return new Fault("config_not_found", `No file stands at ${path} on VM ${vm.vmId}.`)
}
