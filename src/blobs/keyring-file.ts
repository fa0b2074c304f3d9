import { join } from "node:path"
import { StartError } from "../domain/start-error.ts"
import { type FsPort, nodeFs, readWhole, replaceFile } from "./fs-port.ts"
import { makeLocation } from "./location.ts"
import { tempName } from "./names.ts"

/** What `keyring.json` remembers beside the blobs. No blob needs it to be opened: each slot has its own key id and salt. */
export interface KeyringFile {
  /** 16 bytes: of the key that sealed last. */
  readonly activeKeyId: Buffer
  /** 16 bytes: the salt that a passphrase seals with. */
  readonly scryptSalt: Buffer
}

const fileName = "keyring.json"
/** Bytes. It has some 120; a longer one is none of ours. */
const longest = 4096

/** @returns null where there is none @throws {StartError} for one that cannot be read */
export async function readKeyringFile(location: string, fs: FsPort = nodeFs): Promise<KeyringFile | null> {
  const path = join(location, fileName)
  let bytes: Buffer | null
  try {
    bytes = await readWhole(fs, path, longest)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === "ENOENT") return null
    throw new StartError(`${path} cannot be read (${code}).`, { cause })
  }
  const keyring = bytes && parse(bytes.toString("utf8"))
  if (keyring) return keyring
  throw new StartError(
    `${path} is damaged. No backup needs it to be opened: move it away and start again, and a new one is made. ` +
      "Make sure first that the key is the right one, since it can then be compared with the versions alone.",
  )
}

/** Replaces the file at once. @throws {StartError} */
export async function writeKeyringFile(location: string, keyring: KeyringFile, fs: FsPort = nodeFs): Promise<void> {
  await makeLocation(fs, location)
  const temp = join(location, tempName("keyring"))
  const text = JSON.stringify({
    version: 1,
    activeKeyId: keyring.activeKeyId.toString("hex"),
    scryptSalt: keyring.scryptSalt.toString("hex"),
  })
  try {
    await replaceFile(fs, join(location, fileName), temp, Buffer.from(`${text}\n`))
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw new StartError(`${join(location, fileName)} cannot be written (${code}).`, { cause })
  }
}

function parse(text: string): KeyringFile | null {
  const value = parseJson(text)
  if (typeof value !== "object" || value === null) return null
  const { version, activeKeyId, scryptSalt } = value as Record<string, unknown>
  if (version !== 1 || !isHex16(activeKeyId) || !isHex16(scryptSalt)) return null
  return { activeKeyId: Buffer.from(activeKeyId, "hex"), scryptSalt: Buffer.from(scryptSalt, "hex") }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

function isHex16(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value)
}
