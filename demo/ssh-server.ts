import { createHash, generateKeyPairSync } from "node:crypto"
import { once } from "node:events"
import { realpath } from "node:fs/promises"
import { createServer, type Socket } from "node:net"
import ssh2, { type AuthContext, type Connection, type ParsedKey, type ServerChannel } from "ssh2"
import { SftpSession } from "./sftp-session.ts"
import { PacketReader } from "./sftp-wire.ts"

const host = "127.0.0.1"

export interface SshServerOptions {
  /** The folder that clients take for `/`. */
  readonly root: string
  /** A private key in PEM or OpenSSH's format; default: a fresh one. */
  readonly hostKey?: string | Buffer
  /** The one public key that is let in, under any user name, as in authorized_keys. */
  readonly authorizedKey: string
  /** Default: any that is free. */
  readonly port?: number
  /** Stands between a channel and what serves it; for tests that need a server with faults. */
  readonly before?: (sftp: PacketServer, socket: Socket) => PacketServer
}

/** What serves one SFTP channel. */
export interface PacketServer {
  /** @returns null: nothing is said to this packet @throws {MalformedPacket} */
  answer(packet: Buffer): Promise<Buffer | null>
  close(): Promise<void>
}

export interface SshServer {
  readonly port: number
  /** `SHA256:<base64, no padding>` of the host key. */
  readonly fingerprint: string
  /** The line of known_hosts for this server at `name`. */
  hostKeyLine(name: string): string
  /** Cuts every connection. Repeatable. */
  close(): Promise<void>
}

/** An SSH server on loopback that offers a folder over SFTP and nothing else: no shell, no commands, no forwarding. */
export async function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const root = await realpath(options.root)
  const hostKeyText = options.hostKey ?? freshHostKey()
  const hostKey = parseKey(hostKeyText, "host key")
  const authorizedKey = parseKey(options.authorizedKey, "authorized key")
  const sockets = new Set<Socket>()
  const ssh = new ssh2.Server({ hostKeys: [hostKeyText], ident: "config-manager-demo" }, (connection, info) => {
    const isOpenSsh = info.header.versions.software.startsWith("OpenSSH")
    const socket = [...sockets].find(({ remotePort }) => remotePort === info.port)
    serve(connection, authorizedKey, () => {
      const sftp = new SftpSession(root, { switchedSymlink: isOpenSsh })
      return options.before && socket ? options.before(sftp, socket) : sftp
    })
  })
  // Sockets of our own, so that they can be cut at the end, and none waits to fill a segment.
  const listener = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
    ssh.injectSocket(socket)
  })
  listener.listen(options.port ?? 0, host)
  await once(listener, "listening")
  const address = listener.address()
  const port = typeof address === "object" && address ? address.port : 0
  const publicKey = hostKey.getPublicSSH()
  return {
    port,
    fingerprint: `SHA256:${createHash("sha256").update(publicKey).digest("base64").replace(/=+$/, "")}`,
    hostKeyLine: (name) =>
      `${port === 22 ? name : `[${name}]:${port}`} ${hostKey.type} ${publicKey.toString("base64")}`,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      if (!listener.listening) return
      listener.close()
      await once(listener, "close")
    },
  }
}

function serve(connection: Connection, authorizedKey: ParsedKey, makeSftp: () => PacketServer): void {
  // A peer that goes away without a word is its own affair.
  connection.on("error", () => {})
  connection.on("authentication", (context) => authenticate(context, authorizedKey))
  connection.on("session", (accept) => {
    // ssh2 refuses every request of a session that nobody listens for: exec, shell, pty.
    // Its own SFTP server (the event "sftp") can neither tell extensions in VERSION nor answer them with data; a bare
    // channel can.
    accept().on("subsystem", (acceptSubsystem, rejectSubsystem, { name }) => {
      if (name === "sftp") void talk(acceptSubsystem(), makeSftp())
      else rejectSubsystem()
    })
  })
}

function authenticate(context: AuthContext, authorizedKey: ParsedKey): void {
  if (mayEnter(context, authorizedKey)) context.accept()
  else context.reject(["publickey"])
}

function mayEnter(context: AuthContext, authorizedKey: ParsedKey): boolean {
  if (context.method !== "publickey" || !authorizedKey.getPublicSSH().equals(context.key.data)) return false
  const { signature, blob, hashAlgo } = context
  // Without a signature the client only asks whether the key would do; ssh2 lets nobody in for that.
  return !signature || (blob !== undefined && authorizedKey.verify(blob, signature, hashAlgo) === true)
}

/** Answers one request after the other, in order, until the client goes or makes no sense any more. */
async function talk(channel: ServerChannel, sftp: PacketServer): Promise<void> {
  const gone = new AbortController()
  channel.once("close", () => gone.abort())
  channel.on("error", () => {})
  const packets = new PacketReader()
  try {
    for await (const chunk of channel) {
      for (const packet of packets.push(chunk)) {
        const answer = await sftp.answer(packet)
        const hasRoom = answer === null || channel.write(answer)
        if (!hasRoom) await once(channel, "drain", { signal: gone.signal })
      }
    }
  } catch {
    // Cut off, or malformed: nothing more can be answered on this channel.
  } finally {
    channel.end()
    await sftp.close()
  }
}

/** Not by ssh2's own generateKeyPairSync: some of its ed25519 keys cannot be read back. */
function freshHostKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
  return privateKey.export({ type: "sec1", format: "pem" }).toString()
}

function parseKey(text: string | Buffer, what: string): ParsedKey {
  const parsed: ParsedKey | readonly ParsedKey[] | Error = ssh2.utils.parseKey(text)
  const key = Array.isArray(parsed) ? parsed[0] : parsed
  if (key instanceof Error || !key) throw new Error(`The ${what} cannot be read.`)
  return key
}
