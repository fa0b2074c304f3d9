import { createHash } from "node:crypto"
import { connect, type Socket } from "node:net"
import type { Duplex } from "node:stream"
import type { ServerHostKeyAlgorithm } from "ssh2"
import ssh2 from "ssh2"
import { Fault } from "../domain/fault.ts"
import { algorithms } from "./dial.ts"
import { connectFault } from "./errors.ts"

/** Key types that can be trusted later (see host-keys.ts), each with the signature algorithms that ask for it. */
const askedFor = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
} as const satisfies Readonly<Record<string, readonly ServerHostKeyAlgorithm[]>>

export type HostKeyType = keyof typeof askedFor

const allTypes = Object.keys(askedFor) as HostKeyType[]

export interface ScannedHostKey {
  readonly type: string
  /** The public key as it came over the wire. */
  readonly blob: Buffer
  /** `SHA256:<base64, no padding>` */
  readonly fingerprint: string
  /** For known_hosts, without a line end. */
  readonly line: string
}

export interface ScanOptions {
  /** Of the whole scan. */
  readonly timeoutMs: number
  /** Default: all that the service can use. */
  readonly types?: readonly HostKeyType[]
  /** Opens a stream to the host in place of TCP; asked once per key type. Must give up when the signal aborts. */
  readonly via?: (signal: AbortSignal) => Promise<Duplex>
}

/**
 * Asks a host for its keys, one connection per type, each given up before authentication. What comes back is what the
 * network says: somebody has to compare it with the machine itself.
 * @returns those that it has, in the order of `types`
 * @throws {Fault} `vm_unreachable`, `vm_unsupported`
 */
export async function scanHostKeys(
  host: string,
  port: number,
  options: ScanOptions,
): Promise<readonly ScannedHostKey[]> {
  const whom = `${host}:${port}`
  const deadline = new AbortController()
  const sentence = `${whom} did not answer within ${options.timeoutMs / 1000} s.`
  const timer = setTimeout(() => deadline.abort(new Fault("vm_unreachable", sentence)), options.timeoutMs)
  const open = options.via ?? ((signal) => openTcp(host, port, signal))
  const found: ScannedHostKey[] = []
  try {
    // One after the other: sshd drops some of many that come at once.
    for (const type of options.types ?? allTypes) {
      const blob = await askForKey(await open(deadline.signal), type, deadline.signal)
      if (blob) found.push(scanned(host, port, type, blob))
    }
    return found
  } catch (error) {
    throw connectFault(error, whom)
  } finally {
    clearTimeout(timer)
  }
}

function scanned(host: string, port: number, type: HostKeyType, blob: Buffer): ScannedHostKey {
  const name = port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`
  const digest = createHash("sha256").update(blob).digest("base64")
  return {
    type,
    blob,
    fingerprint: `SHA256:${digest.replace(/=+$/, "")}`,
    line: `${name} ${type} ${blob.toString("base64")}`,
  }
}

function openTcp(host: string, port: number, signal: AbortSignal): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true })
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve(socket))
    socket.once("error", reject)
    signal.addEventListener("abort", () => {
      if (socket.connecting) socket.destroy()
      reject(signal.reason)
    })
  })
}

/** @returns null when the host has no key of that type */
async function askForKey(stream: Duplex, type: HostKeyType, signal: AbortSignal): Promise<Buffer | null> {
  const client = new ssh2.Client()
  try {
    return await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason))
      if (signal.aborted) reject(signal.reason)
      client.on("error", (error) => (hasNoSuchKey(error) ? resolve(null) : reject(error)))
      client.once("close", () => reject(new Error("the connection ended before the host key was shown")))
      client.connect({
        sock: stream,
        // Never sent: the key is refused before anybody is asked to log in.
        username: "nobody",
        authHandler: [],
        algorithms: { kex: algorithms.kex, serverHostKey: [...askedFor[type]] },
        hostVerifier: (key: Buffer) => {
          resolve(Buffer.from(key))
          return false
        },
        readyTimeout: 0,
      })
    })
  } finally {
    // ssh2 reports errors late, and one without a listener would end the process.
    client.on("error", () => {})
    stream.on("error", () => {})
    client.destroy()
    stream.destroy()
  }
}

function hasNoSuchKey(error: Error): boolean {
  return error.message.includes("no matching host key format")
}
