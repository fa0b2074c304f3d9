import { type FsPort, nodeFs, type OpenFile } from "../../src/blobs/fs-port.ts"

/** Stands between the blob store and a file system: does a call, or fails it, or never ends it. */
type Around = <T>(work: () => Promise<T>) => Promise<T>

/** `fs`, with every call going through `around`. A `close` that fails has closed all the same, as close(2) does. */
export function interpose(fs: FsPort, around: Around, mostTaken = Number.POSITIVE_INFINITY): FsPort {
  const open = async (path: string, flags: number): Promise<OpenFile> => {
    const file = await fs.open(path, flags)
    return {
      write: (bytes, position) => around(() => file.write(bytes.subarray(0, mostTaken), position)),
      read: (into, position) => around(() => file.read(into.subarray(0, mostTaken), position)),
      size: () => around(() => file.size()),
      sync: () => around(() => file.sync()),
      close: () => file.close().then(() => around(async () => undefined)),
    }
  }
  return {
    open: (path, flags) => around(() => open(path, flags)),
    mkdir: (path) => around(() => fs.mkdir(path)),
    link: (from, to) => around(() => fs.link(from, to)),
    rename: (from, to) => around(() => fs.rename(from, to)),
    unlink: (path) => around(() => fs.unlink(path)),
    readdir: (path) => around(() => fs.readdir(path)),
    realpath: (path) => around(() => fs.realpath(path)),
    exists: (path) => around(() => fs.exists(path)),
    access: (path) => around(() => fs.access(path)),
    device: (path) => around(() => fs.device(path)),
    inode: (path) => around(() => fs.inode(path)),
    freeBytes: (path) => around(() => fs.freeBytes(path)),
  }
}

interface FaultyFsOptions {
  /** The call that fails, from 1; 0: none. */
  readonly failAt?: number
  readonly code?: string
  /** Of each read and write that is asked for, at most so many bytes are done. */
  readonly mostTaken?: number
}

/** The real file system, but for one call that fails. */
export class FaultyFs implements FsPort {
  calls = 0
  /** The call that fails; may be set anew while nothing is under way. */
  failAt: number
  readonly #code: string
  readonly #fs: FsPort

  constructor({ failAt = 0, code = "EIO", mostTaken }: FaultyFsOptions = {}) {
    this.failAt = failAt
    this.#code = code
    this.#fs = interpose(nodeFs, (work) => this.#call(work), mostTaken)
  }

  open = (path: string, flags: number) => this.#fs.open(path, flags)
  mkdir = (path: string) => this.#fs.mkdir(path)
  link = (from: string, to: string) => this.#fs.link(from, to)
  rename = (from: string, to: string) => this.#fs.rename(from, to)
  unlink = (path: string) => this.#fs.unlink(path)
  readdir = (path: string) => this.#fs.readdir(path)
  realpath = (path: string) => this.#fs.realpath(path)
  exists = (path: string) => this.#fs.exists(path)
  access = (path: string) => this.#fs.access(path)
  device = (path: string) => this.#fs.device(path)
  inode = (path: string) => this.#fs.inode(path)
  freeBytes = (path: string) => this.#fs.freeBytes(path)

  async #call<T>(work: () => Promise<T>): Promise<T> {
    this.calls += 1
    if (this.calls === this.failAt) {
      throw Object.assign(new Error(`${this.#code}: told to fail`), { code: this.#code })
    }
    return work()
  }
}
