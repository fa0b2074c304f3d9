import { type CopyTarget, isCopyName } from "../domain/copies.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { Session, Transport } from "../domain/transport.ts"
import type { Vm } from "../domain/vm.ts"

const maxBytes = 256 * 1024 * 1024
const readOptions = { maxBytes, followSymlinks: false }

interface SftpTargetOptions {
  /** As the settings name it. */
  readonly name: string
  readonly host: Vm
  /** The directory on `host`, absolute; it must be there. */
  readonly path: string
  readonly transport: Transport
}

/** Copies on another host, by the same SSH as the VMs: its host key is checked and its key found in the same way. */
export class SftpTarget implements CopyTarget {
  readonly name: string
  readonly parallel = 4
  readonly #options: SftpTargetOptions
  /** Directories that are known to be there. */
  readonly #made = new Set<string>()

  constructor(options: SftpTargetOptions) {
    this.name = options.name
    this.#options = options
  }

  put(name: string, bytes: Buffer): Promise<void> {
    const path = this.#pathOf(name)
    const temporary = temporaryOf(path)
    return this.#with(async (session) => {
      await this.#makeDirectories(session, name)
      // What an attempt that did not end has left; there is one process and one attempt at a time.
      await session.remove([temporary])
      await session.stage(temporary, { bytes, mode: 0o600, owner: null, keepOwner: true })
      await session.rename(temporary, path)
      const found = await session.read(path, readOptions)
      if (found?.bytes.equals(bytes)) return
      throw new Fault("backup_storage_unavailable", `${this.name} does not give back what was written to it.`)
    }).catch((error: unknown) => {
      // A directory that was there may be gone.
      this.#made.clear()
      throw isFault(error, "vm_disk_full") ? new Fault("storage_full", error.message, { cause: error }) : error
    })
  }

  get(name: string): Promise<Buffer | null> {
    const path = this.#pathOf(name)
    return this.#with(async (session) => {
      try {
        return (await session.read(path, readOptions))?.bytes ?? null
      } catch (error) {
        if (isFault(error, "not_a_regular_file")) return null
        throw error
      }
    })
  }

  remove(name: string): Promise<void> {
    const path = this.#pathOf(name)
    return this.#with((session) => session.remove([path, temporaryOf(path)]))
  }

  async *list(): AsyncIterable<string> {
    const names = await this.#with((session) => session.list(this.#options.path))
    if (!names) throw new Fault("backup_storage_unavailable", `${this.name} is no directory.`)
    yield* this.#below("", names, 2)
  }

  async *#below(prefix: string, names: readonly string[], depth: number): AsyncIterable<string> {
    for (const name of names.filter(isCopyName)) {
      const path = `${prefix}${name}`
      // What stands where the versions do is not asked what it is: there are many, and each question is a way there and back.
      const inside = depth > 0 ? await this.#with((session) => session.list(this.#pathOf(path))) : null
      if (inside === null) yield path
      else yield* this.#below(`${path}/`, inside, depth - 1)
    }
  }

  async #makeDirectories(session: Session, name: string): Promise<void> {
    const parts = name.split("/").slice(0, -1)
    for (const [index] of parts.entries()) {
      const directory = this.#pathOf(parts.slice(0, index + 1).join("/"))
      if (this.#made.has(directory)) continue
      await session.makeDirectory(directory)
      this.#made.add(directory)
    }
  }

  async #with<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const { transport, host } = this.#options
    const session = await transport.open(host, { become: false, sftpServer: null })
    try {
      return await work(session)
    } finally {
      session.close()
    }
  }

  #pathOf(name: string): string {
    if (!isCopyName(name)) throw new Error("The name of a copy has a part that is none.")
    return this.#options.path === "/" ? `/${name}` : `${this.#options.path}/${name}`
  }
}

function temporaryOf(path: string): string {
  const at = path.lastIndexOf("/") + 1
  return `${path.slice(0, at)}.${path.slice(at)}.tmp`
}
