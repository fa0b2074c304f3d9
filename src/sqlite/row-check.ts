import { createHash } from "node:crypto"
import type { Version } from "../domain/version.ts"

/** The members of a version that never change. The others can be found again: from the next version, notes and the blob. */
const fixed = [
  "backupId",
  "vmId",
  "type",
  "path",
  "validFrom",
  "size",
  "digest",
  "mode",
  "uid",
  "gid",
  "trigger",
  "reason",
  "actor",
  "operationId",
  "keyId",
  "format",
] as const satisfies readonly (keyof Version)[]

/**
 * Check value of a row: SQLite's own check does not look into what columns hold. It finds rot, and proves nothing.
 * @returns 16 hex digits
 */
export function rowCheck(row: Pick<Version, (typeof fixed)[number]>): string {
  const text = JSON.stringify(fixed.map((name) => row[name]))
  return createHash("sha256").update(text).digest("hex").slice(0, 16)
}

const states: readonly Version["state"][] = ["ok", "damaged", "missing", "locked"]
const timePattern = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

/** Whether the members that change, and so have no check value, are of a kind that was ever written. */
export function canChangeTo({ state, verifiedAt }: Pick<Version, "state" | "verifiedAt">): boolean {
  return states.includes(state) && (verifiedAt === null || timePattern.test(verifiedAt))
}
