/** What was seen of a sticky directory: ids of users. */
interface Owners {
  readonly directory: number
  /** Of a file that we made there, before it was given away. */
  readonly ours: number
}

/**
 * In a sticky directory anybody who may write to a file can give it a second name, but only the file's owner, the directory's
 * and root can take that away again. What one session has seen of owners tells whether it could.
 */
export class StickyDirectories {
  readonly #directories = new Map<string, Owners>()
  readonly #files = new Map<string, number>()

  /** A file that was read. */
  noteFile(path: string, uid: number): void {
    this.#files.set(path, uid)
  }

  noteDirectory(directory: string, owners: Owners): void {
    this.#directories.set(directory, owners)
  }

  /** Whether a second name of `path`, in `directory`, could be removed again. */
  mayRemove(path: string, directory: string): boolean {
    const owners = this.#directories.get(directory)
    if (!owners) return true
    const { ours } = owners
    return ours === 0 || ours === owners.directory || ours === this.#files.get(path)
  }
}
