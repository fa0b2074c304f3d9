import { parseDocument } from "../documents/document.ts"
import type { ConfigType } from "../domain/config-type.ts"
import { digestOf } from "../domain/digest.ts"
import { type FaultCode, isFault } from "../domain/fault.ts"
import type { CheckReport } from "../domain/report.ts"
import type { Check } from "../domain/transport.ts"
import type { Version, VersionState } from "../domain/version.ts"
import { stateOf } from "./version-keeper.ts"
import type { ReadVersion, VersionReader } from "./version-reader.ts"

/**
 * Opens a version and holds it against its row.
 * @returns `state`: what the version is now known to be; null where the store could not be asked. `keyId`: the key that
 *   opened it; null: none did
 */
export async function verifyVersion(
  version: Version,
  reader: VersionReader,
  type: ConfigType,
): Promise<{ report: CheckReport; state: VersionState | null; keyId: string | null }> {
  const checks: Check[] = []
  let begin = performance.now()
  const note = (name: string, ok: boolean, detail: string): void => {
    const now = performance.now()
    checks.push({ name, ok, detail, durationMs: Math.round((now - begin) * 10) / 10 })
    begin = now
  }
  let opened: ReadVersion
  try {
    opened = await reader.open(version, type)
  } catch (error) {
    if (!isFault(error)) throw error
    const refused: CheckReport = { ok: false, checks }
    if (!unwritable.has(error.code)) {
      note("open", false, error.message)
      return { report: refused, state: stateOf(error.code), keyId: null }
    }
    note("open", true, openedDetail)
    note("render", false, error.message)
    return { report: refused, state: "ok", keyId: null }
  }
  note("open", true, openedDetail)
  const { bytes, keyId } = opened
  for (const { name, same, detail } of comparisons(version, bytes)) {
    if (same || version.format === "cmb1") note(name, same, detail)
    else note(name, true, `${detail} ${renderedAnew}`)
  }
  const sound = checks.every((check) => check.ok)
  // Bytes that do not parse stood on the VM like this: told, but no damage.
  note("parse", true, parseDetail(bytes, type))
  return { report: { ok: sound, checks }, state: sound ? "ok" : "damaged", keyId }
}

/** Of a legacy backup that opened and cannot be written in today's format: whole, and of no use as it is. */
const unwritable: ReadonlySet<FaultCode> = new Set(["config_unparsable", "config_too_complex"])
const openedDetail = "It is whole, and a loaded key opens it."
/** A legacy backup is proved by its seal; what its row names is how its value was written down on the day it was entered. */
const renderedAnew =
  "That is no damage: its value is written down anew each time, and the type's format was changed since."

/** The row of a version that no key opened when it was entered names neither size nor digest. */
function comparisons({ size, digest }: Version, bytes: Buffer) {
  const sameSize = size === null || bytes.length === size
  const sameDigest = digest === null || digestOf(bytes) === digest
  const sizeDetail = `${bytes.length} bytes; the row ${size === null ? "does not say" : `says ${size}`}.`
  const digestDetail = sameDigest
    ? "The bytes are those that the row names."
    : "The bytes are not those that the row names."
  return [
    { name: "size", same: sameSize, detail: sizeDetail },
    { name: "digest", same: sameDigest, detail: digest === null ? "The row names no digest." : digestDetail },
  ]
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
