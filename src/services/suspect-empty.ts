import type { Version } from "../domain/version.ts"
import type { Warning } from "../domain/warning.ts"
import type { Standing } from "./version-keeper.ts"

/**
 * A file that was not empty and is found empty was more likely lost (a disk that was full, a file cut and never written
 * again) than meant so: it is kept like any other, and the version before it as if it were still the newest (retention.ts).
 */
export function emptyWarnings(found: Standing, newest: Version | null): readonly Warning[] {
  if (found.bytes.length > 0 || newest === null || (newest.size ?? 0) === 0) return []
  const message =
    `The file on the VM is empty, and had ${newest.size} bytes in the newest version, ${newest.backupId}. ` +
    "That one is not removed for as long as nothing else has taken the place of the empty one."
  return [{ code: "suspect_empty", message }]
}
