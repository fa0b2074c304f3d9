import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { StartError } from "../domain/start-error.ts"
import { nodeFs, syncDirectory, writeNew } from "./fs-port.ts"
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

/** @returns null where there is none @throws {StartError} for one that cannot be read */
export async function readKeyringFile(location: string): Promise<KeyringFile | null> {
  const path = join(location, fileName)
  let text: string
  try {
    text = await readFile(path, "utf8")
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (code === "ENOENT") return null
    throw new StartError(`${path} cannot be read (${code}).`, { cause })
  }
  const keyring = parse(text)
  if (keyring) return keyring
  throw new StartError(
    `${path} is damaged. No backup needs it to be opened: move it away and start again, and a new one is made. ` +
      "Make sure first that the key is the right one, since it can then not be compared with the last.",
  )
}

/** Replaces the file at once. @throws {StartError} */
export async function writeKeyringFile(location: string, keyring: KeyringFile): Promise<void> {
  await makeLocation(location)
  const temp = join(location, tempName("keyring"))
  const text = JSON.stringify({
    version: 1,
    activeKeyId: keyring.activeKeyId.toString("hex"),
    scryptSalt: keyring.scryptSalt.toString("hex"),
  })
  try {
    await writeNew(nodeFs, temp, Buffer.from(`${text}\n`))
    await nodeFs.rename(temp, join(location, fileName))
    await syncDirectory(nodeFs, location)
  } catch (cause) {
    await nodeFs.unlink(temp).catch(() => undefined)
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
