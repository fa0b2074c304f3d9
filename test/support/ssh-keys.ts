import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { makeTemporary } from "./temporary.ts"

const run = promisify(execFile)

export type KeyType = "ed25519" | "ecdsa" | "rsa"

export interface HostKey {
  readonly type: KeyType
  /** The private key's file. */
  readonly path: string
  /** As in known_hosts: `ssh-ed25519 AAAA...`. */
  readonly publicKey: string
  /** `SHA256:<base64, no padding>` */
  readonly fingerprint: string
}

/** A fresh key pair in `home`, by ssh-keygen. */
export async function makeHostKey(home: string, type: KeyType): Promise<HostKey> {
  const path = join(home, `host_${type}`)
  await makeKey(path, type)
  const [name = "", blob = ""] = (await readFile(`${path}.pub`, "utf8")).trimEnd().split(" ")
  const digest = createHash("sha256").update(Buffer.from(blob, "base64")).digest("base64")
  return { type, path, publicKey: `${name} ${blob}`, fingerprint: `SHA256:${digest.replace(/=+$/, "")}` }
}

let clientKey: Promise<string> | null = null

/** Path of the private key that servers of this test process let in; one per process. */
export function sharedClientKey(): Promise<string> {
  clientKey ??= makeClientKey()
  return clientKey
}

async function makeClientKey(): Promise<string> {
  const path = join(makeTemporary("key"), "id_ed25519")
  await makeKey(path, "ed25519")
  return path
}

async function makeKey(path: string, type: KeyType): Promise<void> {
  const bits = type === "rsa" ? ["-b", "2048"] : []
  await run("ssh-keygen", ["-q", "-t", type, ...bits, "-N", "", "-C", "", "-f", path])
}
