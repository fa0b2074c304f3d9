import type { Socket } from "node:net"
import type { SFTPWrapper, Stats } from "ssh2"
import { Fault } from "../domain/fault.ts"
import { SftpError, sftpStatus } from "./errors.ts"
import type { OpenedSftp } from "./internals.ts"

/**
 * Every server must take packets of 34 000 bytes (draft-ietf-secsh-filexfer-02, 3). ssh2 itself splits what is over 31 952
 * bytes for servers it does not know by name, and sends the rest behind what we have pipelined after it.
 */
const chunkBytes = 31 * 1024

/** Room of a file system, as `statvfs` has it. */
export interface Room {
  readonly freeBytes: number
  /** 0 with `inodes` 0: the file system does not count them. */
  readonly freeInodes: number
  readonly inodes: number
  readonly readOnly: boolean
}

const readOnlyFlag = 1
const required = { "posix-rename@openssh.com": "1", "fsync@openssh.com": "1" } as const

/** Extensions without which a file cannot be replaced safely, and which this server does not offer. */
export function missingExtensions(extensions: Readonly<Record<string, string>>): readonly string[] {
  return Object.entries(required).flatMap(([name, version]) => (extensions[name] === version ? [] : [name]))
}

/**
 * One SFTP channel, its calls as promises. A call whose peer has vanished never comes back by itself:
 * `fail` rejects every pending call, and each later one. Refusals of the server reject with `SftpError`.
 */
export class Sftp {
  readonly #wrapper: SFTPWrapper
  readonly #extensions: Readonly<Record<string, string>>
  readonly #longest: OpenedSftp["longest"]
  readonly #wire: Socket
  readonly #broken: (cause: unknown) => void
  readonly #pending = new Set<(reason: unknown) => void>()
  #fault: Fault | null = null

  /** @param wire the TCP socket at the bottom @param broken told once an answer can no longer be expected; a fault is why */
  constructor(opened: OpenedSftp, wire: Socket, broken: (cause: unknown) => void) {
    this.#wrapper = opened.wrapper
    this.#extensions = opened.extensions
    this.#longest = opened.longest
    this.#wire = wire
    this.#broken = broken
    this.#wrapper.on("error", broken)
    this.#wrapper.on("end", () => broken(new Error("the SFTP channel has ended")))
    this.#wrapper.on("close", () => broken(new Error("the SFTP channel was closed")))
  }

  get canLink(): boolean {
    return this.#extensions["hardlink@openssh.com"] === "1"
  }

  /** Most bytes to ask for in one `read`. */
  get readBytes(): number {
    return Math.min(chunkBytes, this.#longest().read)
  }

  /** Most bytes to hand to one `write`; the server may allow less than every server must (`limits@openssh.com`). */
  get writeBytes(): number {
    return Math.min(chunkBytes, this.#longest().write)
  }

  /** Sends what `send` asks for in as few segments as the network allows: one flight, one round trip. */
  flight<T>(send: () => T): T {
    this.#wire.cork()
    try {
      return send()
    } finally {
      this.#wire.uncork()
    }
  }

  fail(fault: Fault): void {
    this.#fault = fault
    for (const reject of [...this.#pending]) reject(fault)
  }

  lstat(path: string): Promise<Stats> {
    return this.#call((done) => this.#wrapper.lstat(path, done), isTold)
  }

  fstat(handle: Buffer): Promise<Stats> {
    return this.#call((done) => this.#wrapper.fstat(handle, done), isTold)
  }

  realpath(path: string): Promise<string> {
    return this.#call((done) => this.#wrapper.realpath(path, done))
  }

  /** Existing files only. */
  openToRead(path: string): Promise<Buffer> {
    return this.#call((done) => this.#wrapper.open(path, "r", done), Buffer.isBuffer)
  }

  /** New files only (O_EXCL, so symlinks are refused too), readable by nobody else. */
  create(path: string): Promise<Buffer> {
    return this.#call((done) => this.#wrapper.open(path, "wx+" as "xw+", 0o600, done), Buffer.isBuffer)
  }

  close(handle: Buffer): Promise<void> {
    return this.#call((done) => this.#wrapper.close(handle, done))
  }

  /** @returns up to `length` bytes; none at the end of the file */
  read(handle: Buffer, length: number, position: number): Promise<Buffer> {
    return this.#call((done) => {
      const buffer = Buffer.allocUnsafe(length)
      this.#wrapper.read(handle, buffer, 0, length, position, (error, count) => {
        const failed = error as Error | undefined
        if (failed && statusOf(failed) === sftpStatus.eof) return done(undefined, Buffer.alloc(0))
        done(failed, failed ? undefined : buffer.subarray(0, count))
      })
    })
  }

  write(handle: Buffer, bytes: Buffer, position: number): Promise<void> {
    return this.#call((done) => this.#wrapper.write(handle, bytes, 0, bytes.length, position, (error) => done(error)))
  }

  setOwner(handle: Buffer, owner: { readonly uid: number; readonly gid: number }): Promise<void> {
    return this.#call((done) => this.#wrapper.fsetstat(handle, { uid: owner.uid, gid: owner.gid }, done))
  }

  setMode(handle: Buffer, mode: number): Promise<void> {
    return this.#call((done) => this.#wrapper.fsetstat(handle, { mode }, done))
  }

  fsync(handle: Buffer): Promise<void> {
    return this.#call((done) => this.#wrapper.ext_openssh_fsync(handle, (error) => done(error)))
  }

  /** Refuses when `to` exists. */
  link(from: string, to: string): Promise<void> {
    return this.#call((done) => this.#wrapper.ext_openssh_hardlink(from, to, done))
  }

  /** Replaces `to` at once. */
  replace(from: string, to: string): Promise<void> {
    return this.#call((done) => this.#wrapper.ext_openssh_rename(from, to, done))
  }

  /** Refuses when `to` exists (draft-ietf-secsh-filexfer-02, 6.5). */
  rename(from: string, to: string): Promise<void> {
    return this.#call((done) => this.#wrapper.rename(from, to, done))
  }

  remove(path: string): Promise<void> {
    return this.#call((done) => this.#wrapper.unlink(path, done))
  }

  openDirectory(path: string): Promise<Buffer> {
    return this.#call((done) => this.#wrapper.opendir(path, done), Buffer.isBuffer)
  }

  /** @returns some of its names, `.` and `..` among them; none: these were all */
  async names(handle: Buffer): Promise<readonly string[]> {
    return this.#call<readonly string[]>((done) => {
      this.#wrapper.readdir(handle, (error, entries) => {
        const failed = error as Error | undefined
        if (failed && statusOf(failed) === sftpStatus.eof) return done(undefined, [])
        done(
          failed,
          entries?.map(({ filename }) => filename),
        )
      })
    })
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call((done) => this.#wrapper.mkdir(path, { mode: 0o700 }, done))
  }

  /** @returns null where the server cannot tell */
  async room(path: string): Promise<Room | null> {
    if (this.#extensions["statvfs@openssh.com"] !== "2") return null
    const found = await this.#call<Record<string, number>>((done) => this.#wrapper.ext_openssh_statvfs(path, done))
    return {
      freeBytes: (found.f_bavail ?? 0) * (found.f_frsize || found.f_bsize || 0),
      freeInodes: found.f_favail ?? 0,
      inodes: found.f_files ?? 0,
      readOnly: ((found.f_flag ?? 0) & readOnlyFlag) !== 0,
    }
  }

  /** @param isWhole whether an answer holds what was asked for; one that does not ends the connection: nothing it says is worth anything */
  #call<T>(
    send: (done: (error?: Error | null, result?: T) => void) => void,
    isWhole: (result: T | undefined) => boolean = () => true,
  ): Promise<T> {
    const answer = new Promise<T>((resolve, reject) => {
      if (this.#fault) return reject(this.#fault)
      this.#pending.add(reject)
      const done = (error?: Error | null, result?: T) => {
        if (!error) {
          if (!isWhole(result)) return this.#broken(leftOut())
          this.#pending.delete(reject)
          return resolve(result as T)
        }
        const status = statusOf(error)
        // No status: no answer either. The connection's own fault is what the caller is to see.
        if (status === null) return this.#broken(error)
        this.#pending.delete(reject)
        reject(new SftpError(status, error.message))
      }
      try {
        send(done)
      } catch (error) {
        this.#pending.delete(reject)
        reject(error)
      }
    })
    // Of several calls in one flight the first to fail is the one that is told.
    answer.catch(() => {})
    return answer
  }
}

/** A server may leave out any attribute (draft-ietf-secsh-filexfer-02, 5): without a size every file would be an empty one. */
function isTold(stats: Stats | undefined): boolean {
  if (stats?.mode === undefined) return false
  const { size, uid, gid, mtime } = stats
  return !stats.isFile() || [size, uid, gid, mtime].every((each) => each !== undefined)
}

function leftOut(): Fault {
  return new Fault(
    "vm_unsupported",
    "The SFTP server of the VM leaves out of its answers what a file cannot be kept or replaced without: its size, mode, owner and time, or its handle.",
  )
}

function statusOf(error: Error): number | null {
  return "code" in error && typeof error.code === "number" ? error.code : null
}
