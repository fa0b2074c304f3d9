import { join } from "node:path"
import { isCopyName, type StoreFiles } from "../domain/copies.ts"
import { type FsPort, nodeFs, readWhole, replaceFile } from "./fs-port.ts"
import { identityOf, requireIdentity } from "./location.ts"
import { tempName } from "./names.ts"
import { storageFault } from "./storage-fault.ts"

const maxBytes = 256 * 1024 * 1024

/** Files directly in the directory of the backups. */
export class DiskStoreFiles implements StoreFiles {
  readonly #location: string
  readonly #fs: FsPort
  /** Of the location when it was first used: nothing is written to another one that stands in its place. */
  #identity: string | null = null

  constructor(location: string, fs: FsPort = nodeFs) {
    this.#location = location
    this.#fs = fs
  }

  async read(name: string): Promise<Buffer | null> {
    try {
      this.#identity ??= await identityOf(this.#fs, this.#location)
      return await readWhole(this.#fs, this.#pathOf(name), maxBytes)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === "ENOENT" || code === "ELOOP" || code === "ENXIO") return null
      throw storageFault(error, this.#location)
    }
  }

  async write(name: string, bytes: Buffer): Promise<void> {
    try {
      this.#identity ??= await identityOf(this.#fs, this.#location)
      await requireIdentity(this.#fs, this.#location, this.#identity)
      await replaceFile(this.#fs, this.#pathOf(name), join(this.#location, tempName("copy")), bytes)
    } catch (error) {
      throw storageFault(error, this.#location)
    }
  }

  #pathOf(name: string): string {
    if (!isCopyName(name) || name.includes("/")) throw new Error("A file beside the blobs has a plain name.")
    return join(this.#location, name)
  }
}
