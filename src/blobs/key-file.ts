import { constants } from "node:fs"
import { open } from "node:fs/promises"
import { StartError } from "../domain/start-error.ts"

const keyLength = 32
/** No key file is longer; the rest is not read. */
const longestLength = 1024

/** A key file as it was read. */
export interface KeyFile {
  /** 32 bytes */
  readonly key: Buffer
  /** The file's bytes as they stand: the original service derived its key from these, unless they were 32. */
  readonly bytes: Buffer
}

/**
 * Reads a key file: 32 raw bytes, or 64 hex digits, or base64 of 32 bytes; one line end may follow.
 * @throws {StartError} that says what was found and what to do: a length, never a byte of it
 */
export async function readKeyFile(path: string): Promise<KeyFile> {
  const bytes = await readGuarded(path)
  const key = parseKey(bytes)
  const found = `The key file ${path} has ${bytes.length} bytes`
  if (bytes.length === 0) throw new StartError(`The key file ${path} is empty. ${howToMake(path)}`)
  if (bytes.length > longestLength)
    throw new StartError(`The key file ${path} has more than ${longestLength} bytes. ${wanted}`)
  if (!key) throw new StartError(`${found} that are no key. ${wanted} ${howToMake(path)}`)
  if (key.every((byte) => byte === 0)) throw new StartError(`${found}, and its key is all zero. ${howToMake(path)}`)
  return { key, bytes }
}

/** The command that makes a key file. */
export function howToMake(path: string): string {
  return `Make one with: (umask 077; openssl rand -hex 32 > ${path}).`
}

const wanted = "A key is 32 raw bytes, 64 hex digits, or base64 of 32 bytes; one line end may follow."

async function readGuarded(path: string): Promise<Buffer> {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === "ENOENT")
      throw new StartError(`The key file ${path} does not exist. ${howToMake(path)}`, { cause })
    throw new StartError(`The key file ${path} cannot be read (${cause.code}).`, { cause })
  })
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) throw new StartError(`The key file ${path} is not a regular file.`)
    const reader = {
      uid: process.geteuid?.() ?? 0,
      groups: [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])],
    }
    if (isOpenToOthers(stats, reader)) {
      const mode = (stats.mode & 0o777).toString(8).padStart(4, "0")
      const own = stats.uid === reader.uid ? "" : `chown ${reader.uid} ${path} && `
      throw new StartError(
        `The key file ${path} is open to others (mode ${mode}). Close it with: ${own}chmod 600 ${path}`,
      )
    }
    const buffer = Buffer.alloc(longestLength + 1)
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

/**
 * Whether anybody but its reader and root can get at a key file.
 *
 * Its group may read it, and no more, where root owns it and the group is root's or one of the reader's: only root can have
 * set that up, and for the reader there is no other way in. So stand the files of systemd's LoadCredential (root:root 0440;
 * what shows as the group's bits is the mask of an ACL that names the service's user) and of Kubernetes (root:fsGroup 0440).
 * A file of the reader's own needs no group: there, its bits are an umask that was forgotten, and the group may be everybody's.
 */
export function isOpenToOthers(
  file: { readonly mode: number; readonly uid: number; readonly gid: number },
  reader: { readonly uid: number; readonly groups: readonly number[] },
): boolean {
  const beyondOwner = file.mode & 0o077
  if (beyondOwner === 0) return false
  const givenByRoot = file.uid === 0 && reader.uid !== 0 && [0, ...reader.groups].includes(file.gid)
  return !(beyondOwner === 0o040 && givenByRoot)
}

/** @returns null for anything that is not a key */
function parseKey(bytes: Buffer): Buffer | null {
  const readings = [bytes, withoutLineEnd(bytes)]
  const raw = readings.find((reading) => reading.length === keyLength)
  if (raw) return raw
  for (const reading of readings) {
    const text = reading.toString("latin1")
    if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, "hex")
    const decoded = /^[A-Za-z0-9+/]{43}=$/.test(text) ? Buffer.from(text, "base64") : null
    if (decoded && decoded.toString("base64") === text) return decoded
  }
  return null
}

function withoutLineEnd(bytes: Buffer): Buffer {
  if (bytes.at(-1) !== 0x0a) return bytes
  return bytes.subarray(0, bytes.at(-2) === 0x0d ? -2 : -1)
}
