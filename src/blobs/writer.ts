import { dirname } from "node:path"
import type { BlobRef } from "../domain/blob-store.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import { type FsPort, readWhole, removeFile, replaceFile, syncDirectory, writeNew } from "./fs-port.ts"
import { directoryOf, pathOf, tempName } from "./names.ts"

/** A blob on its way to the disk. */
export interface SealedFile {
  readonly ref: BlobRef
  readonly sealed: Buffer
}

interface Placement {
  readonly file: SealedFile
  readonly directory: string
  readonly path: string
  readonly temp: string
  /** How far it has got: what must go when the put fails. */
  stage: "planned" | "written" | "placed"
}

/**
 * Puts files in place, all or none: each under a temporary name, synced, given its own name, the name synced, read back.
 * What can run at once does: the time of a put is that of its slowest file, two syncs long.
 */
export class BlobWriter {
  readonly #location: string
  readonly #fs: FsPort
  readonly #failpoint: Failpoint
  /** Directories that are known to exist, and durably so. */
  readonly #made = new Set<string>()

  constructor(location: string, fs: FsPort, failpoint: Failpoint) {
    this.#location = location
    this.#fs = fs
    this.#failpoint = failpoint
  }

  /** @param check throws when what was read back (null: no regular file) is not what was written */
  async write(files: readonly SealedFile[], check: (file: SealedFile, found: Buffer | null) => void): Promise<void> {
    const placements = files.map((file) => this.#plan(file))
    const directories = [...new Set(placements.map(({ directory }) => directory))]
    try {
      for (const directory of directories) await this.#makeDirectory(directory)
      await allDone(placements.map((placement) => this.#place(placement)))
      await allDone([
        ...directories.map((directory) => syncDirectory(this.#fs, directory)),
        ...placements.map(({ temp }) => removeFile(this.#fs, temp)),
        ...placements.map(async ({ file, path }) => check(file, await readWhole(this.#fs, path, file.sealed.length))),
      ])
    } catch (error) {
      await this.#undo(placements, directories)
      throw error
    }
  }

  /** Puts one file in place at once, over whatever stands there. */
  async replace(file: SealedFile): Promise<void> {
    const { directory, path, temp } = this.#plan(file)
    const place = async (): Promise<void> => {
      await this.#makeDirectory(directory)
      await replaceFile(this.#fs, path, temp, file.sealed)
    }
    await place().catch(async (error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error
      // A directory that was made is gone: what is put back here may be what went with it.
      this.#forget(directory)
      await place()
    })
  }

  #plan(file: SealedFile): Placement {
    const directory = directoryOf(this.#location, file.ref)
    const temp = `${directory}/${tempName(file.ref.backupId)}`
    return { file, directory, path: pathOf(this.#location, file.ref), temp, stage: "planned" }
  }

  /** Makes a directory and the one above it, up to the location: that one is never made, for it may be a mount that is gone. */
  async #makeDirectory(directory: string): Promise<void> {
    if (this.#made.has(directory) || directory === this.#location) return
    const parent = dirname(directory)
    await this.#makeDirectory(parent)
    await this.#fs.mkdir(directory).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error
    })
    // Synced where it existed, too: another put may have made it a moment ago.
    await syncDirectory(this.#fs, parent)
    this.#made.add(directory)
  }

  #forget(directory: string): void {
    this.#made.delete(directory)
    this.#made.delete(dirname(directory))
  }

  async #place(placement: Placement): Promise<void> {
    const { temp, path, file } = placement
    placement.stage = "written"
    await writeNew(this.#fs, temp, file.sealed)
    await this.#failpoint("blobs.temp")
    await this.#giveName(temp, path)
    placement.stage = "placed"
    await this.#failpoint("blobs.placed")
  }

  /** A link, not a rename: it fails where a blob of that name stands. */
  async #giveName(temp: string, path: string): Promise<void> {
    try {
      await this.#fs.link(temp, path)
    } catch (error) {
      if (!withoutLinks.has((error as NodeJS.ErrnoException).code ?? "")) throw error
      // The process owns the location: nobody makes the file in between.
      if (await this.#fs.exists(path))
        throw Object.assign(new Error("the blob exists"), { code: "EEXIST", cause: error })
      await this.#fs.rename(temp, path)
    }
  }

  /** Removes what this put has made, and nothing else. What cannot be removed now is swept at the next start, or is an orphan. */
  async #undo(placements: readonly Placement[], directories: readonly string[]): Promise<void> {
    for (const directory of directories) this.#forget(directory)
    const paths = placements.flatMap(({ stage, temp, path }) => {
      if (stage === "planned") return []
      return stage === "placed" ? [path, temp] : [temp]
    })
    await Promise.allSettled(paths.map((path) => this.#fs.unlink(path)))
    await Promise.allSettled(directories.map((directory) => syncDirectory(this.#fs, directory)))
  }
}

/** What link(2) answers where the file system has no hard links. */
const withoutLinks: ReadonlySet<string> = new Set(["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EMLINK"])

/** Waits for all, then rejects with the first failure: nothing goes on behind a caller that cleans up. */
async function allDone(works: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(works)
  const failed = results.find((result) => result.status === "rejected")
  if (failed) throw failed.reason
}
