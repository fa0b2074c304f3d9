import { constants, type Stats } from "node:fs"
import { lstat } from "node:fs/promises"
import { join } from "node:path"
import { codeOf } from "./rooted-paths.ts"
import { type Attributes, type NamedFile, openFlag } from "./sftp-wire.ts"

/** Files of the disk in the words of SFTP. */

export const permissionBits = 0o7777

/** What of a file can be changed; a `FileHandle` has just these. */
interface Changeable {
  truncate(size: number): Promise<void>
  chmod(mode: number): Promise<void>
  utimes(atime: number, mtime: number): Promise<void>
  chown(uid: number, gid: number): Promise<void>
}

/** In the order of sftp-server. */
export async function change({ size, mode, times, owner }: Attributes, file: Changeable): Promise<void> {
  if (size !== undefined) await file.truncate(size)
  if (mode !== undefined) await file.chmod(mode & permissionBits)
  if (times) await file.utimes(times.atime, times.mtime)
  if (owner) await file.chown(owner.uid, owner.gid)
}

export function systemFlags(flags: number): number {
  const has = (flag: number) => (flags & flag) !== 0
  const both = has(openFlag.read) && has(openFlag.write)
  return (
    // A FIFO without a writer would hold a thread of ours for good; and the path was followed to its end already.
    constants.O_NONBLOCK |
    constants.O_NOFOLLOW |
    (both ? constants.O_RDWR : has(openFlag.write) ? constants.O_WRONLY : constants.O_RDONLY) |
    (has(openFlag.append) ? constants.O_APPEND : 0) |
    (has(openFlag.create) ? constants.O_CREAT : 0) |
    (has(openFlag.truncate) ? constants.O_TRUNC : 0) |
    (has(openFlag.exclusive) ? constants.O_EXCL : 0)
  )
}

export function told({ size, uid, gid, mode, atimeMs, mtimeMs }: Stats): Attributes {
  const times = { atime: Math.floor(atimeMs / 1000), mtime: Math.floor(mtimeMs / 1000) }
  return { size, owner: { uid, gid }, mode, times }
}

/** @returns null for a file that has gone in the meantime */
export async function listed(directory: string, name: string): Promise<NamedFile | null> {
  try {
    const stats = await lstat(join(directory, name))
    const kind = stats.isDirectory() ? "d" : stats.isSymbolicLink() ? "l" : "-"
    const bits = ["r", "w", "x"].flatMap((_, group) =>
      ["r", "w", "x"].map((bit, place) => (stats.mode & (0o400 >> (3 * group + place)) ? bit : "-")),
    )
    const when = stats.mtime.toISOString().slice(0, 16).replace("T", " ")
    const longName = `${kind}${bits.join("")} ${stats.nlink} ${stats.uid} ${stats.gid} ${stats.size} ${when} ${name}`
    return { name, longName, attributes: told(stats) }
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null
    throw error
  }
}
