import type { Socket } from "node:net"
import { Fields, request, statusPacket, versionPacket } from "../../demo/sftp-wire.ts"
import { type PacketServer, type SshServer, type SshServerOptions, startSshServer } from "../../demo/ssh-server.ts"

/** One request of a client. */
export interface Message {
  /** Counted from 1, over all connections. */
  readonly number: number
  /** As in the draft: `open`, `lstat`, ..; an extension by its name up to the `@`: `fsync`, `posix-rename`. */
  readonly name: string
  /** The first path that it names; empty: it names a handle. */
  readonly path: string
}

/** What comes of a request. `acted`: whether it is done first; either way the client is not told. */
export type Fate =
  | {
      /**
       * `drop`: no answer to this one; `freeze`: none to any other of its connection either, and none of them is done;
       * `reset`, `fin`: the connection ends that way.
       */
      readonly how: "drop" | "freeze" | "reset" | "fin"
      readonly acted: boolean
    }
  | { readonly how: "refuse"; readonly status: number; readonly text?: string }

const names: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(request).map(([name, type]) => [type, name]),
)
const withPath = new Set([
  "open",
  "lstat",
  "stat",
  "setstat",
  "opendir",
  "remove",
  "mkdir",
  "rmdir",
  "realpath",
  "rename",
])
const withPathExtended = new Set(["posix-rename", "hardlink", "statvfs"])
const success = 0

/** An SFTP server with faults, which can be changed while it runs. Everything else is as the demo's server does it. */
export class SftpFaults {
  /** All requests so far but INIT, whatever came of them. */
  readonly messages: Message[] = []
  /** Asked for each request; null: it is served. */
  rule: (message: Message) => Fate | null = () => null
  /** What is said in place of an answer. */
  rewrite: (message: Message, answer: Buffer | null) => Buffer | null = (_message, answer) => answer
  /** READ answers with this many bytes at most. */
  longestRead = Number.POSITIVE_INFINITY
  /** What connections made from now on are offered; null: what the server has. */
  extensions: Readonly<Record<string, string>> | null = null
  /** `fsync@openssh.com` is acknowledged and not done. */
  liesAboutFsync = false
  /** How often it lied. */
  fsyncsNotDone = 0

  /** The `n`-th request from now has this fate. @returns whether it has come, as a question */
  at(n: number, fate: Fate): () => boolean {
    const number = this.messages.length + n
    let fired = false
    this.rule = (message) => {
      if (message.number !== number) return null
      fired = true
      return fate
    }
    return () => fired
  }

  /** Back to a server without faults. */
  clear(): void {
    this.rule = () => null
    this.rewrite = (_message, answer) => answer
    this.longestRead = Number.POSITIVE_INFINITY
    this.extensions = null
    this.liesAboutFsync = false
  }

  /** For `startSshServer`. */
  readonly before = (sftp: PacketServer, socket: Socket): PacketServer => {
    let isFrozen = false
    return {
      close: () => sftp.close(),
      answer: async (packet) => {
        const told = this.extensions
        if (packet[0] === request.init) return told === null ? sftp.answer(packet) : versionPacket(told)
        const message = messageOf(packet, this.messages.length + 1)
        this.messages.push(message)
        if (isFrozen) return null
        const fate = this.rule(message)
        if (fate === null) return this.rewrite(message, await this.#serve(sftp, packet, message))
        if (fate.how === "refuse") return statusPacket(packet.readUInt32BE(1), fate.status, fate.text ?? "refused")
        if (fate.acted) await sftp.answer(packet)
        isFrozen = fate.how !== "drop"
        if (fate.how === "reset") socket.resetAndDestroy()
        if (fate.how === "fin") socket.end()
        return null
      },
    }
  }

  #serve(sftp: PacketServer, packet: Buffer, { name }: Message): Promise<Buffer | null> {
    if (name === "fsync" && this.liesAboutFsync) {
      this.fsyncsNotDone++
      return Promise.resolve(statusPacket(packet.readUInt32BE(1), success, ""))
    }
    // READ ends with the number of bytes that are asked for.
    const lengthAt = packet.length - 4
    if (name === "read") packet.writeUInt32BE(Math.min(packet.readUInt32BE(lengthAt), this.longestRead), lengthAt)
    return sftp.answer(packet)
  }
}

export interface FaultyServer extends SshServer {
  readonly faults: SftpFaults
}

export async function startFaultyServer(options: Omit<SshServerOptions, "before">): Promise<FaultyServer> {
  const faults = new SftpFaults()
  return { ...(await startSshServer({ ...options, before: faults.before })), faults }
}

function messageOf(packet: Buffer, number: number): Message {
  const fields = new Fields(packet)
  const name = names[fields.byte()] ?? "unknown"
  fields.uint32()
  if (name !== "extended") return { number, name, path: withPath.has(name) ? fields.text() : "" }
  const [extension = ""] = fields.text().split("@")
  return { number, name: extension, path: withPathExtended.has(extension) ? fields.text() : "" }
}
