import { lstat, readlink } from "node:fs/promises"
import { join } from "node:path"

/** As the kernel has it. */
const maxSymlinks = 40

/** A path of a client, found: `virtual` as the client sees it, `real` on our disk. No part of `real` but its last is a symlink. */
export interface FoundPath {
  readonly virtual: string
  readonly real: string
}

/**
 * Paths below a folder which its users take for `/`, as after chroot: `..` stops at the root, and symlinks lead nowhere else,
 * absolute ones neither. Each part is looked at by itself, so it holds against what stands on the disk; a process of this
 * machine that swaps parts during the look could still lead it astray.
 */
export class RootedPaths {
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  /**
   * @param followLast whether a symlink at the very end is followed; its target need not exist
   * @throws ENOENT, ENOTDIR, ELOOP, EINVAL, as the file system does
   */
  async find(path: string, followLast: boolean): Promise<FoundPath> {
    // The file system would take it for the end of the path.
    if (path.includes("\0")) throw errno("EINVAL")
    const done: string[] = []
    let rest = partsOf(path)
    let symlinks = 0
    for (let part = rest.shift(); part !== undefined; part = rest.shift()) {
      // What stands before it was no last part, so it is a directory.
      if (part === ".") continue
      if (part === "..") {
        done.pop()
        continue
      }
      const isLast = rest.length === 0
      const target = isLast && !followLast ? null : await this.#symlinkTarget([...done, part], isLast)
      if (target === null) {
        done.push(part)
        continue
      }
      if (++symlinks > maxSymlinks) throw errno("ELOOP")
      if (target.startsWith("/")) done.length = 0
      rest = [...partsOf(target), ...rest]
    }
    return { virtual: `/${done.join("/")}`, real: join(this.#root, ...done) }
  }

  /** @returns null for what is no symlink */
  async #symlinkTarget(parts: readonly string[], mayBeMissing: boolean): Promise<string | null> {
    const real = join(this.#root, ...parts)
    try {
      const stats = await lstat(real)
      if (stats.isSymbolicLink()) return await readlink(real)
      if (!mayBeMissing && !stats.isDirectory()) throw errno("ENOTDIR")
      return null
    } catch (error) {
      if (mayBeMissing && codeOf(error) === "ENOENT") return null
      throw error
    }
  }
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "")
}

export function errno(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code })
}

export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : ""
}
