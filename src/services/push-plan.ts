import type { Caller, Precondition } from "../domain/caller.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import type { Located } from "../domain/inventory.ts"
import type { Outcome, PushReport } from "../domain/report.ts"
import type { ReadOptions, RemoteFile } from "../domain/transport.ts"
import type { Version } from "../domain/version.ts"
import type { Warning } from "../domain/warning.ts"
import { requireFit, requirePrecondition } from "./push-conditions.ts"
import { emptyWarnings } from "./suspect-empty.ts"
import { type Standing, standingOf } from "./version-keeper.ts"

/** The bytes a push is to put in place. */
export interface NewContent {
  readonly bytes: Buffer
  /** The live file already says the same: nothing is to be written for the bytes' sake. */
  readonly same: boolean
  readonly warnings: readonly Warning[]
}

/** Permission bits and owner of a file. */
export interface Attributes {
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** One push: what, where, for whom. */
export interface PushPlan {
  readonly located: Located
  readonly caller: Caller
  readonly precondition: Precondition
  /** False for `backup=false`. */
  readonly keepVersions: boolean
  /** Mode and owner to give; null: those of the live file, or the type's for a new one. */
  readonly attributes: Attributes | null
  /** Decides the new bytes once the live ones are known (null: no file stands there). */
  readonly content: (live: Buffer | null) => NewContent
}

/** A plan held against what stands on the VM. */
export interface Comparison {
  readonly live: Standing | null
  /** The live file itself, or the place where it is to be created, as `LiveLook` has it. */
  readonly realPath: string
  readonly newest: Version | null
  /** Nothing is to be written: bytes and, where the plan names them, mode and owner stand there. */
  readonly same: boolean
  readonly bytes: Buffer
  readonly digest: string
  readonly mode: number
  /** null: the SSH user's own. */
  readonly owner: { readonly uid: number; readonly gid: number } | null
  readonly warnings: readonly Warning[]
}

/** @throws {Fault} `precondition_failed`, `body_too_large`, and what the plan's content throws */
export function compare(
  plan: PushPlan,
  { file, realPath }: { readonly file: RemoteFile | null; readonly realPath: string },
  newest: Version | null,
  foreignStaging: boolean,
): Comparison {
  const live = file && standingOf(file)
  requirePrecondition(plan.precondition, live?.digest ?? null)
  const content = plan.content(live?.bytes ?? null)
  requireFit(content.bytes, plan.located.type)
  const attributes = plan.attributes ?? live
  const attributesStand =
    live !== null && attributes?.mode === live.mode && attributes.uid === live.uid && attributes.gid === live.gid
  const next = standingOf({ bytes: content.bytes, mode: 0, uid: 0, gid: 0 })
  const warnings = [...content.warnings]
  if (live && plan.attributes && !attributesStand) warnings.push(attributesChange(live, plan.attributes))
  if (live) warnings.push(...emptyWarnings(live, newest))
  if (foreignStaging) warnings.push(foreignFile(plan.located.path))
  return {
    live,
    realPath,
    newest,
    same: content.same && attributesStand,
    bytes: content.bytes,
    digest: next.digest,
    mode: attributes?.mode ?? plan.located.type.mode,
    owner: attributes && { uid: attributes.uid, gid: attributes.gid },
    warnings,
  }
}

/** The answer to a push, or to its rehearsal. */
export function reportOf(
  plan: PushPlan,
  seen: Comparison,
  ended: Pick<PushReport, "backupId" | "versionId" | "operationId"> & { readonly warnings?: readonly Warning[] },
): PushReport {
  const standing = seen.same && seen.live ? seen.live : seen
  const outcome: Outcome = seen.same ? "unchanged" : seen.live ? "written" : "created"
  return {
    ...refOf(plan.located),
    path: plan.located.path,
    outcome,
    digest: standing.digest,
    previousDigest: seen.live?.digest ?? null,
    size: standing.bytes.length,
    backupId: ended.backupId,
    versionId: ended.versionId,
    operationId: ended.operationId,
    dryRun: false,
    diff: null,
    warnings: [...seen.warnings, ...(ended.warnings ?? [])],
  }
}

export function refOf({ vm, type }: Located): ConfigRef {
  return { vmId: vm.vmId, type: type.type }
}

/** The name beside `path` under which the new bytes are written before they take its place. */
export function stagingPathOf(path: string, operationId: string): string {
  return `${path}.${operationId}.new`
}

export function readOptions({ type }: Located): ReadOptions {
  return { maxBytes: type.maxBytes, followSymlinks: type.followSymlinks }
}

/** The diff of a restore shows bytes only. */
function attributesChange(from: Attributes, to: Attributes): Warning {
  const text = ({ mode, uid, gid }: Attributes): string => `${mode.toString(8).padStart(4, "0")} ${uid}:${gid}`
  return { code: "attributes_changed", message: `Mode and owner: from ${text(from)} to ${text(to)}.` }
}

function foreignFile(path: string): Warning {
  return {
    code: "foreign_staging_file",
    message: `${path}.new stands beside the file and is not ours (the original tool leaves such files); it was not touched.`,
  }
}
