import * as fs from "node:fs/promises"
import { codeOf, errno, RootedPaths } from "./rooted-paths.ts"
import { change, listed, permissionBits, systemFlags, told } from "./sftp-files.ts"
import {
  attributesPacket,
  dataPacket,
  Fields,
  handlePacket,
  maxPacketBytes,
  namesPacket,
  openFlag,
  request,
  status,
  statusPacket,
  uint64sPacket,
  versionPacket,
} from "./sftp-wire.ts"

/** Names and versions as OpenSSH's sftp-server tells them. */
const extensions = {
  "posix-rename@openssh.com": "1",
  "statvfs@openssh.com": "2",
  "hardlink@openssh.com": "1",
  "fsync@openssh.com": "1",
}

const defaultMode = 0o666
const defaultDirectoryMode = 0o777
const maxHandles = 100
const namesPerAnswer = 100
const readHeadBytes = 1024
const longestName = 255

/** Which status an error of the file system becomes (sftp-server.c, errno_to_portable); any other: failure. */
const statusOfCode: Readonly<Record<string, number>> = {
  ENOENT: status.noSuchFile,
  ENOTDIR: status.noSuchFile,
  EBADF: status.noSuchFile,
  ELOOP: status.noSuchFile,
  EPERM: status.permissionDenied,
  EACCES: status.permissionDenied,
  EINVAL: status.badMessage,
  ENAMETOOLONG: status.badMessage,
  ENOSYS: status.unsupported,
}

type Handle =
  | { readonly kind: "file"; readonly file: fs.FileHandle; readonly append: boolean }
  | { readonly kind: "directory"; readonly real: string; readonly names: string[] }

type Answer = (id: number, fields: Fields) => Promise<Buffer>

/** One SFTP channel over a folder: behaves as OpenSSH's sftp-server in a chroot. Requests are answered one after the other. */
export class SftpSession {
  readonly #paths: RootedPaths
  readonly #handles = new Map<string, Handle>()
  readonly #switchedSymlink: boolean
  #opened = 0

  /** @param switchedSymlink OpenSSH's clients send the two paths of SYMLINK the other way round */
  constructor(root: string, options: { readonly switchedSymlink: boolean }) {
    this.#paths = new RootedPaths(root)
    this.#switchedSymlink = options.switchedSymlink
  }

  /** @returns the answer to one packet @throws {MalformedPacket} */
  async answer(packet: Buffer): Promise<Buffer> {
    const fields = new Fields(packet)
    const type = fields.byte()
    if (type === request.init) return versionPacket(extensions)
    const id = fields.uint32()
    try {
      const answer = this.#answers[type]
      return answer ? await answer(id, fields) : statusPacket(id, status.unsupported, "not supported")
    } catch (error) {
      const code = codeOf(error)
      if (code === "") throw error
      return statusPacket(id, statusOfCode[code] ?? status.failure, code)
    }
  }

  async close(): Promise<void> {
    const open = [...this.#handles.values()]
    this.#handles.clear()
    await Promise.all(open.map((handle) => (handle.kind === "file" ? handle.file.close() : null)))
  }

  readonly #answers: Readonly<Record<number, Answer>> = {
    [request.open]: (id, fields) => this.#open(id, fields),
    [request.close]: (id, fields) => this.#close(id, fields),
    [request.read]: (id, fields) => this.#read(id, fields),
    [request.write]: (id, fields) => this.#write(id, fields),
    [request.lstat]: async (id, fields) => attributesPacket(id, told(await fs.lstat(await this.#name(fields)))),
    [request.stat]: async (id, fields) => attributesPacket(id, told(await fs.stat(await this.#target(fields)))),
    [request.fstat]: async (id, fields) => attributesPacket(id, told(await this.#file(fields).file.stat())),
    [request.setstat]: async (id, fields) => {
      const real = await this.#target(fields)
      return after(
        id,
        change(fields.attributes(), {
          truncate: (size) => fs.truncate(real, size),
          chmod: (mode) => fs.chmod(real, mode),
          utimes: (atime, mtime) => fs.utimes(real, atime, mtime),
          chown: (uid, gid) => fs.chown(real, uid, gid),
        }),
      )
    },
    [request.fsetstat]: async (id, fields) => {
      const { file } = this.#file(fields)
      return after(id, change(fields.attributes(), file))
    },
    [request.opendir]: (id, fields) => this.#openDirectory(id, fields),
    [request.readdir]: (id, fields) => this.#readDirectory(id, fields),
    [request.remove]: async (id, fields) => after(id, fs.unlink(await this.#entry(fields))),
    [request.mkdir]: async (id, fields) => {
      const real = await this.#entry(fields)
      const { mode = defaultDirectoryMode } = fields.attributes()
      return after(id, fs.mkdir(real, { mode: mode & permissionBits }))
    },
    [request.rmdir]: async (id, fields) => after(id, fs.rmdir(await this.#entry(fields))),
    [request.realpath]: async (id, fields) => {
      const { virtual } = await this.#paths.find(fields.text(), true)
      return namesPacket(id, [{ name: virtual, longName: virtual, attributes: {} }])
    },
    [request.rename]: (id, fields) => this.#rename(id, fields),
    [request.readlink]: async (id, fields) => {
      const target = await fs.readlink(await this.#name(fields))
      return namesPacket(id, [{ name: target, longName: target, attributes: {} }])
    },
    [request.symlink]: async (id, fields) => {
      const [first, second] = [fields.text(), fields.text()]
      const [link, target] = this.#switchedSymlink ? [second, first] : [first, second]
      if (target.includes("\0")) throw errno("EINVAL")
      return after(id, fs.symlink(target, (await this.#paths.find(link, false)).real))
    },
    [request.extended]: (id, fields) => this.#extended(id, fields),
  }

  async #open(id: number, fields: Fields): Promise<Buffer> {
    const path = fields.text()
    const flags = fields.uint32()
    const { mode = defaultMode } = fields.attributes()
    const isExclusive = (flags & openFlag.create) !== 0 && (flags & openFlag.exclusive) !== 0
    // O_EXCL is told of symlinks as they stand: one to nowhere is in the way as well.
    const { real } = await this.#paths.find(path, !isExclusive)
    const file = await fs.open(real, systemFlags(flags), mode & permissionBits)
    return this.#keep(id, { kind: "file", file, append: (flags & openFlag.append) !== 0 })
  }

  async #close(id: number, fields: Fields): Promise<Buffer> {
    const name = fields.text()
    const handle = this.#handles.get(name)
    if (!handle) throw errno("EBADF")
    this.#handles.delete(name)
    return after(id, handle.kind === "file" ? handle.file.close() : Promise.resolve())
  }

  async #read(id: number, fields: Fields): Promise<Buffer> {
    const { file } = this.#file(fields)
    const position = fields.uint64()
    const length = Math.min(fields.uint32(), maxPacketBytes - readHeadBytes)
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position)
    return bytesRead === 0 && length > 0
      ? statusPacket(id, status.eof, "end of file")
      : dataPacket(id, buffer.subarray(0, bytesRead))
  }

  async #write(id: number, fields: Fields): Promise<Buffer> {
    const { file, append } = this.#file(fields)
    const position = fields.uint64()
    const bytes = fields.bytes()
    let at = 0
    while (at < bytes.length) {
      at += (await file.write(bytes, at, bytes.length - at, append ? null : position + at)).bytesWritten
    }
    return after(id, Promise.resolve())
  }

  async #openDirectory(id: number, fields: Fields): Promise<Buffer> {
    const real = await this.#target(fields)
    return this.#keep(id, { kind: "directory", real, names: [".", "..", ...(await fs.readdir(real))] })
  }

  async #readDirectory(id: number, fields: Fields): Promise<Buffer> {
    const handle = this.#handles.get(fields.text())
    if (handle?.kind !== "directory") throw errno("EBADF")
    const names = handle.names.splice(0, namesPerAnswer)
    if (names.length === 0) return statusPacket(id, status.eof, "end of directory")
    const files = await Promise.all(names.map((name) => listed(handle.real, name)))
    return namesPacket(
      id,
      files.filter((file) => file !== null),
    )
  }

  /** As sftp-server does it: what exists is not replaced. */
  async #rename(id: number, fields: Fields): Promise<Buffer> {
    const [from, to] = [await this.#entry(fields), await this.#entry(fields)]
    if ((await fs.lstat(from)).isFile()) {
      await fs.link(from, to)
      return after(id, fs.unlink(from))
    }
    const isTaken = await fs.lstat(to).then(
      () => true,
      () => false,
    )
    if (isTaken) throw errno("EEXIST")
    return after(id, fs.rename(from, to))
  }

  async #extended(id: number, fields: Fields): Promise<Buffer> {
    switch (fields.text()) {
      case "posix-rename@openssh.com":
        return after(id, fs.rename(await this.#entry(fields), await this.#entry(fields)))
      case "hardlink@openssh.com":
        return after(id, fs.link(await this.#entry(fields), await this.#entry(fields)))
      case "fsync@openssh.com":
        return after(id, this.#file(fields).file.sync())
      case "statvfs@openssh.com": {
        const { bsize, blocks, bfree, bavail, files, ffree } = await fs.statfs(await this.#target(fields))
        return uint64sPacket(id, [bsize, bsize, blocks, bfree, bavail, files, ffree, ffree, 0, 0, longestName])
      }
      default:
        return statusPacket(id, status.unsupported, "not supported")
    }
  }

  /** Where the next path stands, itself. */
  async #name(fields: Fields): Promise<string> {
    return (await this.#paths.find(fields.text(), false)).real
  }

  /** The same, for what is made, moved or removed: not the root. */
  async #entry(fields: Fields): Promise<string> {
    const { virtual, real } = await this.#paths.find(fields.text(), false)
    if (virtual === "/") throw errno("EBUSY")
    return real
  }

  /** Where the next path leads. */
  async #target(fields: Fields): Promise<string> {
    return (await this.#paths.find(fields.text(), true)).real
  }

  #file(fields: Fields): Handle & { readonly kind: "file" } {
    const handle = this.#handles.get(fields.text())
    if (handle?.kind !== "file") throw errno("EBADF")
    return handle
  }

  async #keep(id: number, handle: Handle): Promise<Buffer> {
    if (this.#handles.size >= maxHandles) {
      if (handle.kind === "file") await handle.file.close()
      throw errno("EMFILE")
    }
    const name = String(++this.#opened)
    this.#handles.set(name, handle)
    return handlePacket(id, name)
  }
}

/** The answer to a request that has nothing to tell but that it was done. */
async function after(id: number, work: Promise<unknown>): Promise<Buffer> {
  await work
  return statusPacket(id, status.ok, "")
}
