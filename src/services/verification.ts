import { parseDocument } from "../documents/document.ts"
import type { BlobStore } from "../domain/blob-store.ts"
import type { ConfigType } from "../domain/config-type.ts"
import { digestOf } from "../domain/digest.ts"
import { isFault } from "../domain/fault.ts"
import type { CheckReport } from "../domain/report.ts"
import type { Check } from "../domain/transport.ts"
import type { Version, VersionState } from "../domain/version.ts"
import { stateOf } from "./version-keeper.ts"

/**
 * Opens a version's blob and holds it against its row.
 * @returns `state`: what the version is now known to be; null where the store could not be asked
 */
export async function verifyVersion(
  version: Version,
  blobs: BlobStore,
  type: ConfigType,
): Promise<{ report: CheckReport; state: VersionState | null }> {
  const checks: Check[] = []
  let begin = performance.now()
  const note = (name: string, ok: boolean, detail: string): void => {
    const now = performance.now()
    checks.push({ name, ok, detail, durationMs: Math.round((now - begin) * 10) / 10 })
    begin = now
  }
  let bytes: Buffer
  try {
    bytes = (await blobs.open(version)).bytes
    note("open", true, "The blob is whole and a loaded key opens it.")
  } catch (error) {
    if (!isFault(error)) throw error
    note("open", false, error.message)
    return { report: { ok: false, checks }, state: stateOf(error.code) }
  }
  note("size", bytes.length === version.size, `${bytes.length} bytes; the row says ${version.size}.`)
  const same = digestOf(bytes) === version.digest
  note("digest", same, same ? "The bytes are those that the row names." : "The bytes are not those that the row names.")
  const sound = checks.every((check) => check.ok)
  // Bytes that do not parse stood on the VM like this: told, but no damage.
  note("parse", true, parseDetail(bytes, type))
  return { report: { ok: sound, checks }, state: sound ? "ok" : "damaged" }
}

function parseDetail(bytes: Buffer, type: ConfigType): string {
  try {
    parseDocument(bytes, type)
    return `The bytes parse as ${type.format}.`
  } catch (error) {
    if (isFault(error)) return `The bytes do not parse as ${type.format}: ${error.message}`
    throw error
  }
}
