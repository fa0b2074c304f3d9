import type { FileState } from "../domain/fault.ts"
import type { OperationKind, OperationState } from "../domain/operation.ts"
import { idPattern } from "../domain/vm.ts"

/** A row of operations by the names of its columns. */
export type OperationColumns = Readonly<Record<string, string | number | null>>

const kinds: readonly OperationKind[] = ["write", "patch", "restore", "backup", "revert", "adopt"]
const states: readonly OperationState[] = [
  "running",
  "succeeded",
  "unchanged",
  "failed",
  "rolled_back",
  "in_doubt",
  "pending_confirmation",
  "reverted",
]
const fileStates: readonly (FileState | null)[] = [null, "unchanged", "written", "rolled_back", "unknown"]

type Value = string | number | null | undefined
type Check = (value: Value) => boolean

const matches =
  (pattern: RegExp): Check =>
  (value) =>
    typeof value === "string" && pattern.test(value)
const oneOf =
  (known: readonly unknown[]): Check =>
  (value) =>
    known.includes(value)
const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value)

const time = matches(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
const digest = matches(/^[0-9a-f]{64}$/)
/** Ids of versions may be the names of legacy files. */
const name = matches(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$/)

/** What must be right for a row to tell anything: what happened to which file, and when. */
const checks: Readonly<Record<string, Check>> = {
  seq: (value) => Number.isSafeInteger(value) && (value as number) > 0,
  operation_id: matches(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  kind: oneOf(kinds),
  vm_id: matches(idPattern),
  type: matches(idPattern),
  state: oneOf(states),
  file_state: oneOf(fileStates),
  started_at: time,
  finished_at: orNull(time),
  digest: orNull(digest),
  previous_digest: orNull(digest),
  backup_id: orNull(name),
  version_id: orNull(name),
}

/** @returns the row, less what may be missing and cannot be read; null where it tells nothing reliable */
export function repairOperation(row: OperationColumns): OperationColumns | null {
  if (!Object.entries(checks).every(([column, fits]) => fits(row[column]))) return null
  const { stages = null, problem = null } = row
  return { ...row, stages: isStages(stages) ? stages : "[]", problem: isProblem(problem) ? problem : null }
}

function isStages(text: Value): boolean {
  const value = parse(text)
  return Array.isArray(value) && value.every((each) => typeof each?.name === "string" && typeof each.ms === "number")
}

function isProblem(text: Value): boolean {
  const value = parse(text)
  if (typeof value !== "object" || value === null) return false
  const { code, status, detail } = value as Record<string, unknown>
  return typeof code === "string" && typeof status === "number" && typeof detail === "string"
}

function parse(text: Value): unknown {
  try {
    return typeof text === "string" ? JSON.parse(text) : null
  } catch {
    return null
  }
}
