/**
 * Everything that reaches past ssh2's public API; no other file does. test/ssh/internals.test.ts fails first when a
 * release of ssh2 changes any of it.
 *
 * Three things cannot be had otherwise: the keys of a connection as key objects (`keepKeys`), SFTP over a command (`sudo -n sftp-server`), and a first connection in 5 round
 * trips instead of 9. ssh2 waits for each answer before it asks the next question; here the questions that may be asked
 * together leave together: service request, signed authentication (RFC 4252, 7 lets a client sign at once), and the
 * opening of the channel (RFC 4252, 5.1: what follows the request that succeeds is passed to the service above).
 */

import { createSecretKey } from "node:crypto"
import type { Client, ParsedKey, SFTPWrapper } from "ssh2"

/** As ssh2's own Channel.js: what its flow control counts on. */
const windowBytes = 2 * 1024 * 1024
const packetBytes = 32 * 1024

type Sign = (data: Buffer, done: (signature: Buffer) => void) => void

interface Protocol {
  readonly _cipher?: { _encKey?: unknown }
  readonly _decipher?: { _decipherKey?: unknown }
  readonly _handlers: { SERVICE_ACCEPT: (protocol: unknown, name: string) => void }
  service: (name: string) => void
  authPK: (user: string, key: ParsedKey, algorithm: string | undefined, sign?: Sign) => void
  session(channel: number, window: number, packet: number): void
  subsystem(channel: number, name: string, wantReply: boolean): void
  exec(channel: number, command: string, wantReply: boolean): void
}

interface SftpInternals {
  readonly outgoing: { readonly id: number }
  readonly _callbacks: ((refused: unknown) => void)[]
  readonly _version: number
  readonly _extensions: Readonly<Record<string, string>>
  readonly _maxReadLen: number
  readonly _maxWriteLen: number
  push: (data: Buffer | null) => void
  _init(): void
}

interface ClientInternals {
  readonly _protocol: Protocol
  /** The server's software, e.g. `OpenSSH_9.2p1`; undefined before it has said so. */
  readonly _remoteVer: string | undefined
  readonly _chanMgr: { add(opened: ChannelOpened): number }
}

type RawSftp = SFTPWrapper & SftpInternals
type ChannelOpened = ((error: Error | undefined, sftp: RawSftp) => void) & { type?: string }

/** How the server is asked for SFTP. */
export type SftpRequest = { readonly subsystem: string } | { readonly command: string }

export interface OpenedSftp {
  readonly wrapper: SFTPWrapper
  /** Name -> version, as the server announced them. */
  readonly extensions: Readonly<Record<string, string>>
  /** Bytes of one READ or WRITE; ssh2 splits what is longer, and sends the rest behind whatever was sent after it. */
  longest(): { readonly read: number; readonly write: number }
}

/** The server would not start SFTP. `exitCode`: of the command, where it got that far. */
export class SftpNotStarted extends Error {
  readonly exitCode: number | null

  constructor(message: string, exitCode: number | null) {
    super(message)
    this.name = "SftpNotStarted"
    this.exitCode = exitCode
  }
}

/**
 * To be called right after `client.connect()`: saves two round trips of authentication by a key that we hold.
 * @param onSigned called when the signed request has left, and what is sent now is read after it was granted. OpenSSH
 *   only: a server that decides asynchronously may take what follows for an error.
 */
export function hurryAuthentication(client: Client, onSigned: () => void): void {
  const internals = internalsOf(client)
  const protocol = internals._protocol
  const { service, authPK } = protocol
  const accepted = protocol._handlers.SERVICE_ACCEPT
  protocol.service = (name) => {
    service.call(protocol, name)
    protocol._handlers.SERVICE_ACCEPT = () => {}
    // The rest of what came with the handshake is read first: it may name the server's signature algorithms.
    queueMicrotask(() => {
      try {
        accepted(protocol, name)
      } catch (error) {
        client.emit("error", error instanceof Error ? error : new Error(String(error)))
      }
    })
  }
  protocol.authPK = (user, key, algorithm, sign) => {
    const signer = sign ?? signerOf(key, algorithm)
    authPK.call(protocol, user, key, algorithm, signer)
    if (!sign && signer && isOpenSsh(internals._remoteVer)) onSigned()
  }
}

/**
 * Makes key objects of a connection's keys, after each key exchange. ssh2 makes a cipher for every packet, and Node finds out
 * whether a key is an object by an exception: 18 us for bytes, 3 us for a key object, some 80 times a push. Without effect
 * for ciphers that hold their keys otherwise.
 */
export function keepKeys(client: Client): void {
  const { _protocol: protocol } = internalsOf(client)
  const convert = (): void => {
    const { _cipher: cipher, _decipher: decipher } = protocol
    if (cipher && Buffer.isBuffer(cipher._encKey)) cipher._encKey = createSecretKey(cipher._encKey)
    if (decipher && Buffer.isBuffer(decipher._decipherKey))
      decipher._decipherKey = createSecretKey(decipher._decipherKey)
  }
  client.on("ready", convert)
  // The other direction changes its key a moment before or after the one that is told.
  client.on("handshake", () => setImmediate(convert))
}

function isOpenSsh(software: string | undefined): boolean {
  return software?.startsWith("OpenSSH_") ?? false
}

/** @returns undefined for a key whose private half is elsewhere (an agent's): the server is asked first, as ever */
function signerOf(key: ParsedKey, algorithm: string | undefined): Sign | undefined {
  if (typeof key.isPrivateKey !== "function" || !key.isPrivateKey()) return undefined
  const hash = { "rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512" }[algorithm ?? ""]
  return (data, done) => {
    const signature: unknown = key.sign(data, hash)
    if (!Buffer.isBuffer(signature)) throw new Error("the private key cannot sign", { cause: signature })
    done(signature)
  }
}

/** Opens a channel that speaks SFTP in three round trips: the channel, the request, the version. */
export async function openSftp(client: Client, request: SftpRequest): Promise<OpenedSftp> {
  const { _chanMgr: channels, _protocol: protocol } = internalsOf(client)
  return new Promise((resolve, reject) => {
    const opened: ChannelOpened = (error, sftp) => {
      if (error) return reject(error)
      try {
        resolve(start(protocol, sftp, request))
      } catch (reason) {
        reject(reason)
      }
    }
    // This name makes ssh2 put its SFTP class on the channel instead of a stream.
    opened.type = "sftp"
    const channel = channels.add(opened)
    if (channel === -1) return reject(new Error("no free channel"))
    protocol.session(channel, windowBytes, packetBytes)
  })
}

function start(protocol: Protocol, sftp: RawSftp, request: SftpRequest): Promise<OpenedSftp> {
  return new Promise((resolve, reject) => {
    let exitCode: number | null = null
    const fail = (message: string) => reject(new SftpNotStarted(message, exitCode))
    sftp.on("error", (error: Error) => fail(error.message))
    sftp.on("exit", (code: unknown) => {
      exitCode = typeof code === "number" ? code : null
    })
    sftp.on("close", () => fail("the channel was closed before SFTP had started"))
    sftp._callbacks.push((refused) => {
      if (refused) fail("the request was refused")
    })
    // ssh2 calls SFTP ready only after a further round trip for limits@openssh.com; the version is all we wait for.
    const push = sftp.push
    sftp.push = (data) => {
      push.call(sftp, data)
      if (sftp._version === -1) return
      sftp.push = push
      // What the server says of its limits comes after its version, and before any answer to what we ask.
      const longest = () => ({ read: sftp._maxReadLen, write: sftp._maxWriteLen })
      resolve({ wrapper: sftp, extensions: sftp._extensions, longest })
    }
    if ("subsystem" in request) protocol.subsystem(sftp.outgoing.id, request.subsystem, true)
    else protocol.exec(sftp.outgoing.id, request.command, true)
    sftp._init()
  })
}

function internalsOf(client: Client): ClientInternals {
  const found = client as unknown as ClientInternals
  const { _protocol: protocol, _chanMgr: channels } = found as Partial<ClientInternals>
  const methods = [protocol?.service, protocol?.authPK, protocol?.session, protocol?.subsystem, protocol?.exec]
  if (!protocol || !channels || typeof channels.add !== "function") throw new Error("ssh2's internals have changed")
  if (!methods.every((each) => typeof each === "function")) throw new Error("ssh2's internals have changed")
  if (typeof protocol._handlers?.SERVICE_ACCEPT !== "function") throw new Error("ssh2's internals have changed")
  return found
}
