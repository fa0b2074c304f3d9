import { randomBytes } from "node:crypto"
import { statfsSync, statSync, unlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"

/** Enough for the log of many removals. */
const reserveBytes = 1024 * 1024

/** Room beside the catalog, kept for the writes that make room: on a full disk even the removal of a row needs some. */
export class Reserve {
  readonly #path: string

  constructor(catalogPath: string) {
    this.#path = join(dirname(catalogPath), ".reserve")
  }

  /**
   * Takes the room, where there is plenty. Not being able to is no failure: nothing but a full disk needs it.
   * @returns bytes that are left besides
   */
  keep(): number {
    const freeBytes = this.#freeBytes()
    const isKept = statSync(this.#path, { throwIfNoEntry: false })?.size === reserveBytes
    if (isKept || freeBytes < 8 * reserveBytes) return freeBytes
    try {
      // Random: a file system that compresses would keep nothing for zeros.
      writeFileSync(this.#path, randomBytes(reserveBytes), { mode: 0o600 })
    } catch {
      this.give()
    }
    return freeBytes
  }

  #freeBytes(): number {
    const { bavail, bsize } = statfsSync(dirname(this.#path))
    return bavail * bsize
  }

  /** Gives the room back. @returns whether there was any */
  give(): boolean {
    try {
      unlinkSync(this.#path)
      return true
    } catch {
      return false
    }
  }
}
