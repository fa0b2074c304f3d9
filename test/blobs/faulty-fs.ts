import { type FsPort, nodeFs, type OpenFile } from "../../src/blobs/fs-port.ts"

/**
 * The real file system, but for one call that fails: the `failAt`-th (from 1; 0: none). A `close` that fails has closed
 * all the same, as close(2) does.
 */
export class FaultyFs implements FsPort {
  calls = 0
  readonly #failAt: number
  readonly #code: string
  /** Of each write that is asked for, at most so many bytes are taken. */
  readonly #mostTaken: number

  constructor({ failAt = 0, code = "EIO", mostTaken = Number.POSITIVE_INFINITY } = {}) {
    this.#failAt = failAt
    this.#code = code
    this.#mostTaken = mostTaken
  }

  open = (path: string, flags: number) =>
    this.#call(async (): Promise<OpenFile> => {
      const file = await nodeFs.open(path, flags)
      return {
        write: (bytes, position) => this.#call(() => file.write(bytes.subarray(0, this.#mostTaken), position)),
        read: (into, position) => this.#call(() => file.read(into.subarray(0, this.#mostTaken), position)),
        size: () => this.#call(() => file.size()),
        sync: () => this.#call(() => file.sync()),
        close: () => file.close().then(() => this.#call(async () => undefined)),
      }
    })
  mkdir = (path: string) => this.#call(() => nodeFs.mkdir(path))
  link = (from: string, to: string) => this.#call(() => nodeFs.link(from, to))
  rename = (from: string, to: string) => this.#call(() => nodeFs.rename(from, to))
  unlink = (path: string) => this.#call(() => nodeFs.unlink(path))
  readdir = (path: string) => this.#call(() => nodeFs.readdir(path))
  exists = (path: string) => this.#call(() => nodeFs.exists(path))
  device = (path: string) => this.#call(() => nodeFs.device(path))
  freeBytes = (path: string) => this.#call(() => nodeFs.freeBytes(path))

  async #call<T>(work: () => Promise<T>): Promise<T> {
    this.calls += 1
    if (this.calls === this.#failAt) {
      throw Object.assign(new Error(`${this.#code}: told to fail`), { code: this.#code })
    }
    return work()
  }
}
