/** Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02) and of OpenSSH's extensions to it (its file PROTOCOL, 4). */

export const request = {
  init: 1,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  lstat: 7,
  fstat: 8,
  setstat: 9,
  fsetstat: 10,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  rmdir: 15,
  realpath: 16,
  stat: 17,
  rename: 18,
  readlink: 19,
  symlink: 20,
  extended: 200,
} as const

const response = { version: 2, status: 101, handle: 102, data: 103, name: 104, attrs: 105, extendedReply: 201 } as const

export const status = {
  ok: 0,
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  badMessage: 5,
  unsupported: 8,
} as const

export const openFlag = { read: 1, write: 2, append: 4, create: 8, truncate: 16, exclusive: 32 } as const

const attribute = { size: 1, owner: 2, mode: 4, times: 8, extended: 0x80000000 } as const

/** What a file is like; members left out are not told, or not to be changed. */
export interface Attributes {
  readonly size?: number
  readonly owner?: { readonly uid: number; readonly gid: number }
  readonly mode?: number
  /** Seconds since 1970. */
  readonly times?: { readonly atime: number; readonly mtime: number }
}

export interface NamedFile {
  readonly name: string
  /** As `ls -l` shows it. */
  readonly longName: string
  readonly attributes: Attributes
}

/** As OpenSSH's sftp-server has it. */
export const maxPacketBytes = 256 * 1024

/** The other side does not speak the protocol: nothing it sends from here on can be understood. */
export class MalformedPacket extends Error {}

/** Cuts a stream of bytes into packets. */
export class PacketReader {
  #pending: Buffer = Buffer.alloc(0)

  /** @returns the packets that are whole now, without their length @throws {MalformedPacket} */
  push(chunk: Buffer): readonly Buffer[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk])
    const packets: Buffer[] = []
    while (this.#pending.length >= 4) {
      const length = this.#pending.readUInt32BE(0)
      if (length === 0 || length > maxPacketBytes) throw new MalformedPacket(`a packet of ${length} bytes`)
      if (this.#pending.length < 4 + length) break
      packets.push(this.#pending.subarray(4, 4 + length))
      this.#pending = this.#pending.subarray(4 + length)
    }
    return packets
  }
}

/** Takes the fields of one packet, in their order. */
export class Fields {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  byte(): number {
    return this.#take(1).readUInt8(0)
  }

  uint32(): number {
    return this.#take(4).readUInt32BE(0)
  }

  /** Past 2^53 nothing can be addressed here. */
  uint64(): number {
    const value = this.#take(8).readBigUInt64BE(0)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new MalformedPacket("a position past 2^53")
    return Number(value)
  }

  bytes(): Buffer {
    return this.#take(this.uint32())
  }

  text(): string {
    return this.bytes().toString("utf8")
  }

  attributes(): Attributes {
    const flags = this.uint32()
    const size = flags & attribute.size ? { size: this.uint64() } : {}
    const owner = flags & attribute.owner ? { owner: { uid: this.uint32(), gid: this.uint32() } } : {}
    const mode = flags & attribute.mode ? { mode: this.uint32() } : {}
    const times = flags & attribute.times ? { times: { atime: this.uint32(), mtime: this.uint32() } } : {}
    if (flags & attribute.extended) {
      const count = this.uint32()
      for (let n = 0; n < 2 * count; n++) this.bytes()
    }
    return { ...size, ...owner, ...mode, ...times }
  }

  #take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw new MalformedPacket("a packet that ends too early")
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}

/** The answer to INIT: the only place where extensions are told. */
export function versionPacket(extensions: Readonly<Record<string, string>>): Buffer {
  return packet(response.version, uint32(3), ...Object.entries(extensions).flat().map(text))
}

export function statusPacket(id: number, code: number, message: string): Buffer {
  return packet(response.status, uint32(id), uint32(code), text(message), text("en"))
}

export function handlePacket(id: number, handle: string): Buffer {
  return packet(response.handle, uint32(id), text(handle))
}

export function dataPacket(id: number, bytes: Buffer): Buffer {
  return packet(response.data, uint32(id), string(bytes))
}

export function attributesPacket(id: number, attributes: Attributes): Buffer {
  return packet(response.attrs, uint32(id), attributeBytes(attributes))
}

export function namesPacket(id: number, files: readonly NamedFile[]): Buffer {
  const entries = files.flatMap((file) => [text(file.name), text(file.longName), attributeBytes(file.attributes)])
  return packet(response.name, uint32(id), uint32(files.length), ...entries)
}

/** The answer to `statvfs@openssh.com` is eleven of these. */
export function uint64sPacket(id: number, values: readonly (number | bigint)[]): Buffer {
  return packet(response.extendedReply, uint32(id), ...values.map(uint64))
}

function attributeBytes({ size, owner, mode, times }: Attributes): Buffer {
  const fields: Buffer[] = []
  let flags = 0
  const add = (flag: number, ...values: readonly Buffer[]) => {
    flags |= flag
    fields.push(...values)
  }
  if (size !== undefined) add(attribute.size, uint64(size))
  if (owner) add(attribute.owner, uint32(owner.uid), uint32(owner.gid))
  if (mode !== undefined) add(attribute.mode, uint32(mode))
  if (times) add(attribute.times, uint32(times.atime), uint32(times.mtime))
  return Buffer.concat([uint32(flags), ...fields])
}

function packet(type: number, ...fields: readonly Buffer[]): Buffer {
  return string(Buffer.concat([Buffer.of(type), ...fields]))
}

function text(value: string): Buffer {
  return string(Buffer.from(value, "utf8"))
}

function string(bytes: Buffer): Buffer {
  return Buffer.concat([uint32(bytes.length), bytes])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value >>> 0)
  return bytes
}

function uint64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)))
  return bytes
}
