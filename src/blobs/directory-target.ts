import { dirname, join } from "node:path"
import { type CopyTarget, isCopyName } from "../domain/copies.ts"
import { Fault } from "../domain/fault.ts"
import { type FsPort, nodeFs, readWhole, removeFile, replaceFile, syncDirectory } from "./fs-port.ts"
import { storageFault } from "./storage-fault.ts"

const maxBytes = 256 * 1024 * 1024

/** Copies in a directory of this host, most likely a mount of another's: never made here, for it may just not be mounted. */
export class DirectoryTarget implements CopyTarget {
  readonly name: string
  /** A mount whose host is away takes a thread of Node's few with each call, for as long as it likes. */
  readonly parallel = 1
  readonly #fs: FsPort

  constructor(path: string, fs: FsPort = nodeFs) {
    this.name = path
    this.#fs = fs
  }

  async put(name: string, bytes: Buffer): Promise<void> {
    const path = this.#pathOf(name)
    try {
      await this.#makeDirectory(dirname(path))
      const temp = temporaryOf(path)
      // What an attempt that did not end has left; there is one process and one attempt at a time.
      await removeFile(this.#fs, temp)
      await replaceFile(this.#fs, path, temp, bytes)
      const found = await readWhole(this.#fs, path, bytes.length)
      if (!found?.equals(bytes)) throw notGivenBack(this.name)
    } catch (error) {
      throw storageFault(error, this.name)
    }
  }

  async get(name: string): Promise<Buffer | null> {
    try {
      return await readWhole(this.#fs, this.#pathOf(name), maxBytes)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return null
      throw storageFault(error, this.name)
    }
  }

  async remove(name: string): Promise<void> {
    const path = this.#pathOf(name)
    try {
      await removeFile(this.#fs, path)
      await removeFile(this.#fs, temporaryOf(path))
    } catch (error) {
      throw storageFault(error, this.name)
    }
  }

  async *list(): AsyncIterable<string> {
    try {
      yield* this.#below("", 2)
    } catch (error) {
      throw storageFault(error, this.name)
    }
  }

  async *#below(prefix: string, depth: number): AsyncIterable<string> {
    for (const name of await this.#fs.readdir(join(this.name, prefix))) {
      if (!isCopyName(name)) continue
      const path = `${prefix}${name}`
      // What stands where the versions do is not asked what it is: there are many, and a mount may be far.
      if (depth > 0 && (await this.#isDirectory(path))) yield* this.#below(`${path}/`, depth - 1)
      else yield path
    }
  }

  async #isDirectory(name: string): Promise<boolean> {
    try {
      await this.#fs.readdir(join(this.name, name))
      return true
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === "ENOTDIR" || code === "ELOOP") return false
      // A symbolic link that leads nowhere hides no copies; what was there a moment ago and is gone may be the whole place.
      if (code === "ENOENT" && (await this.#fs.exists(join(this.name, name)))) return false
      throw error
    }
  }

  async #makeDirectory(path: string): Promise<void> {
    if (path === this.name || (await this.#fs.exists(path))) return
    await this.#makeDirectory(dirname(path))
    await this.#fs.mkdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error
    })
    await syncDirectory(this.#fs, dirname(path))
  }

  #pathOf(name: string): string {
    if (isCopyName(name)) return join(this.name, name)
    throw new Error("The name of a copy has a part that is none.")
  }
}

/** One name of its own for each file: what an attempt has left is in nobody's way but the next one's, which removes it. */
function temporaryOf(path: string): string {
  return join(dirname(path), `.${path.slice(dirname(path).length + 1)}.tmp`)
}

function notGivenBack(name: string): Fault {
  return new Fault("backup_storage_unavailable", `${name} does not give back what was written to it.`)
}
