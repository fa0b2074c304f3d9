import { constants } from "node:fs"
import { join } from "node:path"
import { Fault } from "../domain/fault.ts"
import { maxNoteLength, type Note, type Notes, type ParsedNotes, unreadNotesName } from "../domain/notes.ts"
import { idPattern } from "../domain/vm.ts"
import { type FsPort, nodeFs, type OpenFile, readWhole, replaceFile, syncDirectory } from "./fs-port.ts"
import { identityOf, requireIdentity } from "./location.ts"
import { tempName } from "./names.ts"
import { storageFault } from "./storage-fault.ts"

const fileName = "notes.jsonl"
/** No note of ours makes a longer line: one is not parsed. */
const maxLineBytes = 16 * 1024
/** A larger file is none of ours. */
const maxFileBytes = 256 * 1024 * 1024
const lineEnd = 0x0a

/** Notes as lines of JSON in `<location>/notes.jsonl`, 0600. One process owns the location. */
export class DiskNotes implements Notes {
  readonly #location: string
  readonly #path: string
  readonly #fs: FsPort
  /** Where the file ends for us while what stands behind it may not be durable; null: where it ends. */
  #endsAt: number | null = null
  /** Whether the file's name is known to be durable: an earlier process may have ended before it saw to that. */
  #isNamed = false
  /** Of the location when it was first used: what stands in another one's notes is not ours, and ours do not go there. */
  #identity: string | null = null
  /** One call after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(location: string, fs: FsPort = nodeFs) {
    this.#location = location
    this.#path = join(location, fileName)
    this.#fs = fs
  }

  append(notes: readonly Note[]): Promise<void> {
    return this.#inTurn(async () => {
      await this.#takeBack()
      if (notes.length === 0) return
      await this.#append(linesOf(notes)).catch(async (error: unknown) => {
        // Where that fails too it is tried again before the next append, and not read until then.
        await this.#takeBack().catch(() => undefined)
        throw error
      })
    })
  }

  read(): Promise<readonly Note[]> {
    return this.#inTurn(async () => parseNotes(await this.#bytes()).notes)
  }

  unread(): Promise<number> {
    return this.#inTurn(async () => unreadIn(await this.#bytes()))
  }

  replace(notes: readonly Note[]): Promise<void> {
    return this.#inTurn(async () => {
      const before = await this.#bytes()
      if (unreadIn(before) > 0) await this.#put(unreadNotesName(before), before)
      await this.#replace(linesOf(notes))
    })
  }

  async #append(lines: Buffer): Promise<void> {
    const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants
    const file = await this.#fs.open(this.#path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK)
    try {
      const end = await file.size()
      if (end === null) throw noFile(this.#path)
      this.#endsAt = end
      await this.#write(file, end, lines)
    } finally {
      await file.close()
    }
    if (this.#endsAt === 0 || !this.#isNamed) await syncDirectory(this.#fs, this.#location)
    this.#isNamed = true
    this.#endsAt = null
  }

  async #write(file: OpenFile, end: number, lines: Buffer): Promise<void> {
    // A line that was cut off, by a power loss, must not swallow the first of these.
    const bytes = (await isCutOff(file, end)) ? Buffer.concat([Buffer.of(lineEnd), lines]) : lines
    for (let written = 0; written < bytes.length; ) {
      const taken = await file.write(bytes.subarray(written), end + written)
      if (taken === 0) throw Object.assign(new Error("the file took no more bytes"), { code: "EIO" })
      written += taken
    }
    await file.sync()
  }

  /** Takes away what a failed append may have left: it was answered as not done, and must not come to count later. */
  async #takeBack(): Promise<void> {
    if (this.#endsAt !== null) await this.#replace(await this.#bytes())
  }

  async #replace(bytes: Buffer): Promise<void> {
    await this.#put(fileName, bytes)
    this.#endsAt = null
  }

  #put(name: string, bytes: Buffer): Promise<void> {
    return replaceFile(this.#fs, join(this.#location, name), join(this.#location, tempName("notes")), bytes)
  }

  async #bytes(): Promise<Buffer> {
    try {
      const bytes = await readWhole(this.#fs, this.#path, maxFileBytes)
      if (!bytes) throw noFile(this.#path)
      return bytes.subarray(0, this.#endsAt ?? bytes.length)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0)
      throw error
    }
  }

  async #checkPlace(): Promise<void> {
    this.#identity ??= await identityOf(this.#fs, this.#location)
    await requireIdentity(this.#fs, this.#location, this.#identity)
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const checked = async (): Promise<T> => {
      await this.#checkPlace()
      return work()
    }
    const done = this.#turn.then(checked).catch((error: unknown) => {
      throw storageFault(error, this.#location)
    })
    this.#turn = done.catch(() => undefined)
    return done
  }
}

async function isCutOff(file: OpenFile, end: number): Promise<boolean> {
  if (end === 0) return false
  const last = Buffer.alloc(1)
  return (await file.read(last, end - 1)) === 1 && last[0] !== lineEnd
}

function noFile(path: string): Fault {
  return new Fault("backup_storage_unavailable", `${path} is not a file of notes; see what stands there.`)
}

function linesOf(notes: readonly Note[]): Buffer {
  return Buffer.from(notes.map((note) => `${JSON.stringify(note)}\n`).join(""))
}

/** Whole lines, and a last one without its end where it is whole all the same. Others are left out, and counted. */
export function parseNotes(bytes: Buffer): ParsedNotes {
  const notes: Note[] = []
  let unread = 0
  for (let begin = 0; begin < bytes.length; ) {
    const found = bytes.indexOf(lineEnd, begin)
    const end = found < 0 ? bytes.length : found
    const note = end - begin > maxLineBytes ? null : noteOf(bytes.toString("utf8", begin, end))
    if (note) notes.push(note)
    else if (end > begin) unread += 1
    begin = end + 1
  }
  return { notes, unread }
}

/** A last line without its end was cut off, and nobody was told that it was noted. */
function unreadIn(bytes: Buffer): number {
  return parseNotes(bytes.subarray(0, bytes.lastIndexOf(lineEnd) + 1)).unread
}

function noteOf(line: string): Note | null {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value !== "object" || value === null) return null
    return versionNoteOf(value as Members) ?? departureNoteOf(value as Members)
  } catch {
    return null
  }
}

type Members = Readonly<Record<string, unknown>>

const recordIdPattern = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,199}$/

/** Any other member may be one of ours whose name rotted. */
function versionNoteOf({ at, backupId, pinned, note, ...others }: Members): Note | null {
  if (Object.keys(others).length > 0) return null
  if (!isTime(at) || typeof backupId !== "string" || !recordIdPattern.test(backupId)) return null
  const isPin = pinned === undefined || typeof pinned === "boolean"
  const isNote = note == null || (typeof note === "string" && [...note].length <= maxNoteLength)
  if (!isPin || !isNote) return null
  return { at, backupId, ...(pinned !== undefined && { pinned }), ...(note !== undefined && { note }) }
}

function departureNoteOf({ at, vmId, type, left }: Members): Note | null {
  const isIds = typeof vmId === "string" && idPattern.test(vmId) && typeof type === "string" && idPattern.test(type)
  return isTime(at) && isIds && typeof left === "boolean" ? { at, vmId, type, left } : null
}

/** In the one notation that times are compared in. */
function isTime(text: unknown): text is string {
  if (typeof text !== "string" || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(text)) return false
  return !Number.isNaN(Date.parse(text))
}
