import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs"
import { basename, dirname, join, sep } from "node:path"
import Database from "better-sqlite3"
import { type MasterKey, openBlob } from "../../src/blobs/cipher.ts"
import { decodeBlob } from "../../src/blobs/format.ts"
import { digestOf } from "../../src/domain/digest.ts"
import type { FaultRun } from "./frame.ts"

/** Where to look when all is quiet again, and what may be found. The service may run or not. */
export interface Audited {
  /** Live files of the VMs, as paths of this machine, each with the contents it may have (null: none may stand there). */
  readonly files: Readonly<Record<string, readonly (Buffer | string | null)[]>>
  /** `state_dir` */
  readonly state: string
  /** `backup_location` */
  readonly backups: string
  /** The keys that open, one at least. */
  readonly keys: readonly MasterKey[]
  /** Contents that were acknowledged: each must stand on a VM or open from a blob. */
  readonly acknowledged?: readonly (Buffer | string)[]
  /** Journals at `tidying` may stand: their operations have ended, and late looks are still to come. */
  readonly mayTidy?: boolean
  /** The service's log, and what it wrote to stderr. */
  readonly log?: readonly Readonly<Record<string, unknown>>[]
  readonly stderr?: string
  /** A process, and how many descriptors it had when it was quiet before. */
  readonly descriptors?: { readonly pid: number; readonly before: number }
}

/** Something that must not be, in words. */
export interface Finding {
  readonly counter: "lost" | "torn" | "wrong outcomes"
  readonly what: string
}

/** Ends a fault run: counts whatever is not as it must be. */
export function audit(run: Pick<FaultRun, "found">, audited: Audited): void {
  for (const { counter, what } of findingsOf(audited)) run.found(counter, what)
}

export function findingsOf(audited: Audited): readonly Finding[] {
  const blobs = readBlobs(audited)
  return [
    ...auditFiles(audited),
    ...blobs.findings,
    ...auditCatalog(audited, blobs.digests),
    ...auditAcknowledged(audited, blobs.digests),
    ...auditLog(audited),
    ...auditDescriptors(audited),
  ]
}

function auditFiles({ files }: Audited): readonly Finding[] {
  const findings: Finding[] = []
  for (const [path, allowed] of Object.entries(files)) {
    const found = existsSync(path) ? readFileSync(path) : null
    const isAllowed = allowed.some((each) => (each === null ? found === null : found?.equals(Buffer.from(each))))
    if (!isAllowed && found === null) findings.push(finding("lost", `${path} is gone`))
    else if (!isAllowed) findings.push(finding("torn", `${path} is neither old nor new`))
  }
  for (const directory of new Set(Object.keys(files).map((path) => dirname(path)))) {
    for (const name of existsSync(directory) ? readdirSync(directory) : []) {
      if (ownLeftover.test(name)) findings.push(finding("wrong outcomes", `${name} is left in ${directory}`))
    }
  }
  return findings
}

/** Staging files and second names of ours: `<path>.<operationId>.new` and `.old`; probe files. */
const ownLeftover = /\.[0-9a-f]{8}-[0-9a-f-]{27}\.(new|old)$|\.config-manager/

/** @returns digests of what the blobs hold, by `<vmId>/<type>/<backupId>` */
function readBlobs({ backups, keys }: Audited): { digests: ReadonlyMap<string, string>; findings: readonly Finding[] } {
  const digests = new Map<string, string>()
  const findings: Finding[] = []
  const names = existsSync(backups) ? readdirSync(backups, { recursive: true, encoding: "utf8" }).sort() : []
  for (const name of names) {
    if (name.endsWith(".tmp")) findings.push(finding("wrong outcomes", `the temporary file ${name} is left`))
    if (!name.endsWith(".cmb") || name.startsWith(".")) continue
    const place = name.slice(0, -".cmb".length).split(sep).join("/")
    try {
      digests.set(place, digestOfBlob(readFileSync(join(backups, name)), place, keys))
    } catch (error) {
      findings.push(finding("lost", `the blob ${place} does not open: ${(error as Error).message}`))
      digests.set(place, "unreadable")
    }
  }
  return { digests, findings }
}

function digestOfBlob(bytes: Buffer, place: string, keys: readonly MasterKey[]): string {
  const parts = decodeBlob(bytes)
  const { vm_id, type, backup_id } = parts.header
  if (place !== `${vm_id}/${type}/${backup_id}`) throw new Error("it is another version's")
  for (const slot of parts.slots) {
    const key = keys.find(({ keyId }) => keyId.equals(slot.keyId))
    if (key) return digestOf(openBlob(parts, slot, key))
  }
  throw new Error("none of the keys opens it")
}

interface Row {
  readonly place: string
  readonly digest: string | null
}

function auditCatalog({ state, mayTidy = false }: Audited, digests: ReadonlyMap<string, string>): readonly Finding[] {
  const db = new Database(join(state, "catalog.db"), { readonly: true, fileMustExist: true })
  try {
    const rows = db
      .prepare<[], Row>(
        "SELECT vm_id || '/' || type || '/' || backup_id AS place, digest FROM versions WHERE format = 'cmb1'",
      )
      .all()
    const provisional = db.prepare("SELECT backup_id FROM provisional_versions").pluck().all()
    const open = db
      .prepare("SELECT operation_id || ' at ' || phase FROM operations WHERE phase NOT IN ('done', ?)")
      .pluck()
      .all(mayTidy ? "tidying" : "done")
    const running = db
      .prepare("SELECT operation_id || ' is ' || state FROM operations WHERE finished_at IS NULL")
      .pluck()
      .all()
    return [
      ...compareRows(rows, digests),
      ...provisional.map((id) => finding("wrong outcomes", `the provisional row ${id} is left`)),
      ...open.map((what) => finding("wrong outcomes", `the journal of ${what} is open`)),
      ...running.map((what) => finding("wrong outcomes", `the operation ${what}, and has no end`)),
    ]
  } finally {
    db.close()
  }
}

function compareRows(rows: readonly Row[], digests: ReadonlyMap<string, string>): readonly Finding[] {
  const places = new Set(rows.map(({ place }) => place))
  const orphans = [...digests.keys()].filter((place) => !places.has(place))
  return [
    ...rows.flatMap(({ place, digest }): readonly Finding[] => {
      const found = digests.get(place)
      if (found === undefined) return [finding("lost", `the row ${place} has no blob`)]
      return found === digest || found === "unreadable" ? [] : [finding("lost", `the blob ${place} holds other bytes`)]
    }),
    ...orphans.map((place) => finding("wrong outcomes", `the blob ${place} has no row`)),
  ]
}

function auditAcknowledged(
  { acknowledged = [], files }: Audited,
  digests: ReadonlyMap<string, string>,
): readonly Finding[] {
  const live = Object.keys(files).flatMap((path) => (existsSync(path) ? [digestOf(readFileSync(path))] : []))
  const had = new Set([...digests.values(), ...live])
  const lost = acknowledged.filter((content) => !had.has(digestOf(Buffer.from(content))))
  return lost.map((content) => finding("lost", `a content of ${content.length} bytes was acknowledged and is nowhere`))
}

/** pino's levels: 60 is fatal; `unexpected error` is the line of an internal_error. */
function auditLog({ log = [], stderr = "" }: Audited): readonly Finding[] {
  const bugs = log.filter(
    ({ level, msg, code }) => level === 60 || msg === "unexpected error" || code === "internal_error",
  )
  return [
    ...bugs.map((line) => finding("wrong outcomes", `the log tells of a bug: ${JSON.stringify(line).slice(0, 500)}`)),
    ...(stderr === "" ? [] : [finding("wrong outcomes", `stderr is not empty: ${stderr.slice(0, 500)}`)]),
  ]
}

function auditDescriptors({ descriptors }: Audited): readonly Finding[] {
  if (!descriptors) return []
  const { pid, before } = descriptors
  const now = descriptorsOf(pid)
  if (now.length <= before) return []
  return [finding("wrong outcomes", `${now.length} descriptors are open, ${before} were: ${now.join(", ")}`)]
}

/** What the open descriptors of a process lead to; sockets and pipes without their numbers. */
export function descriptorsOf(pid: number): readonly string[] {
  const directory = `/proc/${pid}/fd`
  return readdirSync(directory).flatMap((name) => {
    try {
      return [basename(readlinkSync(join(directory, name))).replace(/:\[\d+\]$/, "")]
    } catch {
      // Closed since the directory was listed.
      return []
    }
  })
}

function finding(counter: Finding["counter"], what: string): Finding {
  return { counter, what }
}
