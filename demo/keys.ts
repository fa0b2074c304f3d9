import { generateKeyPairSync, randomBytes } from "node:crypto"
import { mkdir, writeFile } from "node:fs/promises"
import ssh2 from "ssh2"
import type { Places } from "./settings.ts"

/** Makes the key of the backups, and the one that the VMs let in. @returns its public half, as in authorized_keys */
export async function writeKeys(places: Places): Promise<string> {
  await writeFile(places.backupKey, randomBytes(32), { mode: 0o600 })

  // Not by ssh2's own generateKeyPairSync: about one in 250 of its ed25519 keys cannot be read back.
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
  const pem = privateKey.export({ type: "sec1", format: "pem" })
  const key = ssh2.utils.parseKey(pem)
  if (key instanceof Error) throw key
  await mkdir(places.sshKeys, { mode: 0o700 })
  await writeFile(places.clientKey, pem, { mode: 0o600 })
  return `${key.type} ${key.getPublicSSH().toString("base64")}`
}
