import { spawn } from "node:child_process"
import { appendFileSync } from "node:fs"
import { Fields, PacketReader, request } from "../../demo/sftp-wire.ts"

/**
 * A subsystem for sshd: OpenSSH's own sftp-server, but answering READ with `longestRead` bytes at most, as the draft
 * allows, and with what was said in a file, a line per packet, written before the packet is handed on.
 * Arguments: path of the sftp-server, path of the record, longestRead (0: as long as asked for).
 */
const [program = "", recordPath = "", longestRead = "0"] = process.argv.slice(2)
const limit = Number(longestRead)
const server = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] })

const types: Readonly<Record<number, string>> = {
  ...Object.fromEntries(Object.entries(request).map(([name, type]) => [type, name])),
  101: "status",
  102: "handle",
}

function note(direction: ">" | "<", packet: Buffer): void {
  const fields = new Fields(packet)
  const type = fields.byte()
  const name = types[type] ?? String(type)
  const id = fields.uint32()
  appendFileSync(recordPath, `${direction} ${name} ${id} ${detail(name, fields)}\n`)
}

function detail(name: string, fields: Fields): string {
  if (name === "status") return String(fields.uint32())
  if (name === "handle" || name === "close") return fields.bytes().toString("hex")
  if (name === "open" || name === "lstat" || name === "rename") return fields.text()
  if (name !== "extended") return ""
  const extension = fields.text()
  return extension === "fsync@openssh.com" ? `${extension} ${fields.bytes().toString("hex")}` : extension
}

/** READ ends with the number of bytes that are asked for. */
function cutRead(packet: Buffer): void {
  if (limit === 0 || packet[0] !== request.read) return
  const at = packet.length - 4
  packet.writeUInt32BE(Math.min(packet.readUInt32BE(at), limit), at)
}

function pass(from: NodeJS.ReadableStream, to: NodeJS.WritableStream, direction: ">" | "<"): void {
  const packets = new PacketReader()
  from.on("data", (chunk: Buffer) => {
    for (const packet of packets.push(chunk)) {
      if (direction === ">") cutRead(packet)
      note(direction, packet)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(packet.length)
      to.write(Buffer.concat([length, packet]))
    }
  })
  from.on("end", () => to.end())
}

pass(process.stdin, server.stdin, ">")
pass(server.stdout, process.stdout, "<")
server.stdin.on("error", () => {})
