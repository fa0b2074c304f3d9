import { parseExactly, renderExactly } from "../documents/exact-document.ts"
import type { ExactValue } from "../documents/exact-json.ts"
import { formats } from "../documents/formats.ts"
import type { Catalog } from "../domain/catalog.ts"
import { type ConfigRef, type ConfigType, type FormatName, keyOf } from "../domain/config-type.ts"
import { digestOf } from "../domain/digest.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { LegacyRef, LegacyStore } from "../domain/legacy-store.ts"
import type { ImportedVersion } from "../domain/version.ts"
import type { Warning } from "../domain/warning.ts"
import { stateOf } from "./version-keeper.ts"

/** The bytes that a legacy backup stands for, and what its reader should know of them. */
export interface RenderedLegacy {
  readonly bytes: Buffer
  readonly warnings: readonly Warning[]
}

/**
 * What the original sealed, as a file of its type: a text as it is, a value written down in the type's format. What is not
 * JSON is a text, and an object whose only member is the text `_raw` stands for that text.
 * @throws {Fault} `config_unparsable`, `config_too_complex` where the format cannot hold the value
 */
export function renderLegacy(plain: Buffer, type: Pick<ConfigType, "type" | "format">): RenderedLegacy {
  // Whatever a text file held, JSON or not, was sealed as it was; only a string of JSON is what the original put around a text.
  if (type.format === "text") return asIs(textOf(parsedOrUndefined(plain)) ?? plain)
  const value = parseExactly(plain)
  if (value === undefined) return asIs(plain)
  const text = value instanceof Map || type.format === "env" ? textOf(value) : null
  if (text !== null) return asIs(text)
  try {
    return { bytes: renderExactly(value, type.format), warnings: [commentsLost] }
  } catch (error) {
    throw isFault(error) ? withWayOut(error, type) : error
  }
}

const commentsLost: Warning = {
  code: "comments_lost",
  message:
    "The original service kept the value of this config and not its text: comments, layout and quoting of the file are not in the backup.",
}

function asIs(text: Buffer | string): RenderedLegacy {
  return { bytes: Buffer.from(text), warnings: [] }
}

/** The text that a value stands for; null: it stands for itself. */
function textOf(value: ExactValue | undefined): string | null {
  if (typeof value === "string") return value
  const raw = value instanceof Map && value.size === 1 ? value.get("_raw") : null
  return typeof raw === "string" ? raw : null
}

function parsedOrUndefined(plain: Buffer): ExactValue | undefined {
  try {
    return parseExactly(plain)
  } catch (error) {
    if (isFault(error)) return undefined
    throw error
  }
}

function withWayOut(fault: Fault, type: Pick<ConfigType, "type">): Fault {
  return new Fault(
    fault.code,
    `${fault.message} What was sealed is shown as it is while config_types.${type.type}.format is text.`,
    { ...fault.details, cause: fault },
  )
}

/** To be raised where a restore writes any value otherwise than before: the next start looks at each legacy backup once more. */
export const renderingRevision = 1

/** What is known of a legacy backup since its row was entered. */
export interface Entered {
  /** SHA-256 of what a restore would have written then; null: it was not known. */
  readonly digest: string | null
  /** SHA-256 of what it sealed, which no way of writing that down changes; null: it was entered before that was noted. */
  readonly sealed: string | null
  /** Whether it did not open when it was entered: whatever it was found to hold since, its name alone says what it is. */
  readonly isLate: boolean
}

/**
 * In the catalog stands under the name of a legacy backup the digest of what it sealed, none while it never opened, whose it is,
 * and a mark where it opened late. Never thrown away: names hold a time, and do not come again.
 */
export async function enteredAs(
  catalog: Pick<Catalog, "fact">,
  { backupId, digest }: Pick<ImportedVersion, "backupId" | "digest">,
): Promise<Entered> {
  const fact = await catalog.fact(sealedFact(backupId))
  const [sealed = "", , late] = fact?.split(" ") ?? []
  return { digest, sealed: sealed || null, isLate: late === lateMark || (fact !== null && sealed === "") }
}

/** The config that a legacy backup was listed as, also where its row is gone; null: it was not. */
export async function ownerOf(
  catalog: Pick<Catalog, "fact" | "getVersion">,
  backupId: string,
): Promise<ConfigRef | null> {
  const [, owner] = (await catalog.fact(sealedFact(backupId)))?.split(" ") ?? []
  const [vmId, type] = owner?.split("/") ?? []
  return (await catalog.getVersion(backupId)) ?? (vmId && type ? { vmId, type } : null)
}

/** @param sealed null: not known, since it does not open */
export function noteSealed(
  catalog: Pick<Catalog, "setFact">,
  { backupId, ...ref }: LegacyRef,
  { sealed, isLate }: Pick<Entered, "sealed" | "isLate">,
): Promise<void> {
  return catalog.setFact(sealedFact(backupId), `${sealed ?? ""} ${keyOf(ref)} ${isLate ? lateMark : ""}`)
}

const lateMark = "late"
const sealedFact = (backupId: string): string => `legacy_sealed:${backupId}`

/**
 * Whether a file holds the backup that its row was entered for: two that changed places open all the same, and nothing in them
 * says which is which. Its type may have another format since. Where neither digest is known nothing vouches for the file.
 */
export function isAsEntered(plain: Buffer, { digest, sealed }: Entered): boolean {
  if (sealed !== null) return digestOf(plain) === sealed
  const isIn = (format: FormatName): boolean => {
    try {
      return digestOf(renderLegacy(plain, { type: "", format }).bytes) === digest
    } catch (error) {
      if (isFault(error)) return false
      throw error
    }
  }
  return digest !== null && formatNames.some(isIn)
}

/** Whether nothing is known of what a file held: any is taken for it. */
export function isUnknown({ digest, sealed }: Entered): boolean {
  return digest === null && sealed === null
}

/** Whether nothing vouches for a file: an answer with its content says so (`originUnproved`). */
export function isUnproved(entered: Entered): boolean {
  return entered.isLate || isUnknown(entered)
}

export const originUnproved: Warning = {
  code: "origin_unproved",
  message:
    "This backup did not open when it was entered, so that its file name alone says whose it is and of when: nothing would tell " +
    "another one that had been given that name by then.",
}

const formatNames = Object.keys(formats) as FormatName[]

/** @throws {Fault} `backup_corrupt` where a file does not hold the backup that its row was entered for */
export function requireAsEntered(backupId: string, plain: Buffer, entered: Entered): void {
  if (isUnknown(entered) || isAsEntered(plain, entered)) return
  throw new Fault(
    "backup_corrupt",
    `The file ${backupId} holds another backup than the one that was entered under its name: see whether files changed places. ` +
      "Where it is meant so, config-manager reindex takes it in as it stands.",
  )
}

/**
 * The row of a legacy backup. It is opened: size and digest are those of what a restore would write now.
 * @param path of the config's file today; "" where it is not mapped
 * @param keyId of the key that opened it before, as its row tells: without it damage looks like a missing key
 * @param entered as its row tells; null: it has none, or one that cannot be relied on
 * @param onSealed told of the digest of what it sealed, where it opens
 * @throws {Fault} `backup_storage_unavailable`
 */
export async function legacyVersion(
  ref: LegacyRef,
  store: LegacyStore,
  type: ConfigType,
  path: string,
  keyId: string | null = null,
  entered: Entered | null = null,
  onSealed: (sealed: string) => void = () => {},
): Promise<ImportedVersion> {
  const open = async (): ReturnType<LegacyStore["open"]> => {
    const opened = await store.open(ref.backupId, keyId)
    if (entered) requireAsEntered(ref.backupId, opened.plain, entered)
    onSealed(digestOf(opened.plain))
    return opened
  }
  return { ...originOf(ref, path), ...(await look(open, type)) }
}

function originOf({ backupId, vmId, type, validFrom }: LegacyRef, path: string) {
  const unknown = { mode: null, uid: null, gid: null, reason: null, operationId: null, verifiedAt: null }
  const origin = { trigger: "imported", actor: "config_manager", format: "legacy" } as const
  return { ...unknown, ...origin, backupId, vmId, type, path, validFrom }
}

async function look(
  open: () => ReturnType<LegacyStore["open"]>,
  type: ConfigType,
): Promise<Pick<ImportedVersion, "size" | "digest" | "keyId" | "state">> {
  let opened: Awaited<ReturnType<LegacyStore["open"]>>
  try {
    opened = await open()
  } catch (error) {
    const state = isFault(error) ? stateOf(error.code) : null
    if (state === null) throw error
    return { size: null, digest: null, keyId: null, state }
  }
  const { keyId, plain } = opened
  try {
    const { bytes } = renderLegacy(plain, type)
    return { size: bytes.length, digest: digestOf(bytes), keyId, state: "ok" }
  } catch (error) {
    // It is whole and opens; that today's format cannot hold it is told to whoever reads it.
    if (isFault(error)) return { size: null, digest: null, keyId, state: "ok" }
    throw error
  }
}
