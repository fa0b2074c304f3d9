import { readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import type { ParsedKey } from "ssh2"
import ssh2 from "ssh2"
import { Fault } from "../domain/fault.ts"
import type { Vm } from "../domain/vm.ts"

/** The one way in which a connection proves who we are. */
export type Identity =
  | { readonly kind: "key"; readonly key: ParsedKey; readonly path: string }
  | { readonly kind: "agent"; readonly socket: string }

export interface KeySources {
  readonly keyStoragePath: string
  /** `ssh.private_key_path`; null: none. */
  readonly privateKeyPath: string | null
  /** Of encrypted keys; null: none. */
  readonly passphrase: string | null
  readonly agentSocket: string | null
}

interface CachedKey {
  readonly stamp: string
  readonly key: ParsedKey
}

/** Finds and reads private keys. What was parsed is kept: an encrypted key costs a tenth of a second each time. */
export class PrivateKeys {
  readonly #sources: KeySources
  readonly #parsed = new Map<string, CachedKey>()

  constructor(sources: KeySources) {
    this.#sources = sources
  }

  /**
   * The VM's own path, else its key in the key storage, else the key of all VMs, else the agent.
   * @throws {Fault} `vm_auth_failed` when the first of these that is there cannot be used, or none is there
   */
  async identityOf(vm: Vm): Promise<Identity> {
    const { keyStoragePath, privateKeyPath } = this.#sources
    if (vm.privateKeyPath !== null) return this.#read(vm.privateKeyPath)
    for (const type of ["ed25519", "ecdsa", "rsa"]) {
      const path = join(keyStoragePath, `id_${type}_${vm.vmId}`)
      if (await stands(path)) return this.#read(path)
    }
    if (privateKeyPath !== null) return this.#read(privateKeyPath)
    return this.#agentOr(
      `No private key for VM "${vm.vmId}": put one at ${join(keyStoragePath, `id_ed25519_${vm.vmId}`)}, ` +
        "or set ssh.private_key_path or ssh.agent.",
    )
  }

  /** For a jump host, which serves many VMs: the key of all VMs, else the agent, else the key of the VM behind it. */
  async identityOfJump(vm: Vm): Promise<Identity> {
    const { privateKeyPath, agentSocket } = this.#sources
    if (privateKeyPath !== null) return this.#read(privateKeyPath)
    if (agentSocket !== null) return { kind: "agent", socket: agentSocket }
    return this.identityOf(vm)
  }

  #agentOr(sentence: string): Identity {
    const socket = this.#sources.agentSocket
    if (socket === null) throw new Fault("vm_auth_failed", sentence)
    return { kind: "agent", socket }
  }

  async #read(path: string): Promise<Identity> {
    try {
      const found = await stat(path)
      // To read a named pipe would take a thread for good, and hold up the end of the process.
      if (!found.isFile()) throw new Fault("vm_auth_failed", `The private key ${path} is not a regular file.`)
      const stamp = `${found.mtimeMs}:${found.size}:${found.ino}`
      const cached = this.#parsed.get(path)
      if (cached?.stamp === stamp) return { kind: "key", key: cached.key, path }
      const key = parse(await readFile(path), this.#sources.passphrase, path)
      this.#parsed.set(path, { stamp, key })
      return { kind: "key", key, path }
    } catch (error) {
      if (error instanceof Fault) throw error
      throw new Fault("vm_auth_failed", `The private key ${path} cannot be read: ${readReason(error)}.`, {
        cause: error,
      })
    }
  }
}

async function stands(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    // A key that is there and cannot be reached is told by the attempt to read it.
    return !isErrno(error, "ENOENT", "ENOTDIR")
  }
}

function parse(text: Buffer, passphrase: string | null, path: string): ParsedKey {
  const found: unknown = ssh2.utils.parseKey(text, passphrase ?? undefined)
  const key: unknown = Array.isArray(found) ? found[0] : found
  if (key instanceof Error || !isParsedKey(key)) throw unusable(path, passphrase, key)
  if (!key.isPrivateKey()) {
    throw new Fault("vm_auth_failed", `${path} holds a public key; the private one is needed.`)
  }
  return key
}

function unusable(path: string, passphrase: string | null, cause: unknown): Fault {
  const message = cause instanceof Error ? cause.message : ""
  // The causes are not handed on: parsers may quote what they read.
  if (/encrypted|passphrase|decrypt|integrity/i.test(message)) {
    const why = passphrase === null ? "no passphrase is set" : "the passphrase does not open it"
    return new Fault(
      "vm_auth_failed",
      `The private key ${path} is encrypted and ${why}: put it in the variable that ssh.passphrase_env names.`,
    )
  }
  return new Fault("vm_auth_failed", `The private key ${path} is not one that can be read: OpenSSH or PEM is expected.`)
}

function isParsedKey(value: unknown): value is ParsedKey {
  return typeof value === "object" && value !== null && "isPrivateKey" in value
}

function readReason(error: unknown): string {
  if (isErrno(error, "ENOENT", "ENOTDIR")) return "there is no such file"
  if (isErrno(error, "EACCES", "EPERM")) return "the service's user has no permission to"
  if (isErrno(error, "EISDIR")) return "it is a directory"
  return "the file system reports an error"
}

function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && codes.includes(error.code)
}
