import { constants } from "node:fs"
import { access, link, lstat, mkdir, open, readdir, realpath, rename, stat, statfs, unlink } from "node:fs/promises"
import { dirname } from "node:path"

/** The calls that the blob store makes to the file system, so that a test can let any one of them fail. Errors are Node's. */
export interface FsPort {
  /** @param flags of open(2); a new file gets mode 0600 */
  open(path: string, flags: number): Promise<OpenFile>
  /** With mode 0700; `EEXIST` where something stands already. */
  mkdir(path: string): Promise<void>
  link(from: string, to: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  readdir(path: string): Promise<readonly string[]>
  /** Where a path leads once every symbolic link on it was followed. */
  realpath(path: string): Promise<string>
  exists(path: string): Promise<boolean>
  /** Rejects where this user may not list a directory, enter it and make files in it. */
  access(path: string): Promise<void>
  /** The device a path stands on. */
  device(path: string): Promise<bigint>
  /** Which file or directory of its device it is. */
  inode(path: string): Promise<bigint>
  /** Bytes that this user may still write there. */
  freeBytes(path: string): Promise<number>
}

export interface OpenFile {
  /** Writes at `position`. @returns how many bytes it took, perhaps not all */
  write(bytes: Uint8Array, position: number): Promise<number>
  /** @returns how many bytes were there, perhaps not all of them; 0 at the end */
  read(into: Buffer, position: number): Promise<number>
  /** @returns null for anything but a regular file */
  size(): Promise<number | null>
  sync(): Promise<void>
  close(): Promise<void>
}

export const nodeFs: FsPort = {
  async open(path, flags) {
    const handle = await open(path, flags, 0o600)
    return {
      write: async (bytes, position) => (await handle.write(bytes, 0, bytes.length, position)).bytesWritten,
      read: async (into, position) => (await handle.read(into, 0, into.length, position)).bytesRead,
      size: async () => {
        const stats = await handle.stat()
        return stats.isFile() ? stats.size : null
      },
      sync: () => handle.sync(),
      close: () => handle.close(),
    }
  },
  mkdir: (path) => mkdir(path, 0o700),
  link,
  rename,
  unlink,
  readdir: (path) => readdir(path),
  realpath: (path) => realpath(path),
  exists: (path) =>
    lstat(path).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return false
        throw error
      },
    ),
  access: (path) => access(path, constants.R_OK | constants.W_OK | constants.X_OK),
  device: async (path) => (await stat(path, { bigint: true })).dev,
  inode: async (path) => (await stat(path, { bigint: true })).ino,
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path)
    return bavail * bsize
  },
}

/** Writes a file that must not exist yet, and makes its bytes durable (not its name: see `syncDirectory`). */
export async function writeNew(fs: FsPort, path: string, bytes: Uint8Array): Promise<void> {
  const file = await fs.open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW)
  try {
    for (let written = 0; written < bytes.length; ) {
      const taken = await file.write(bytes.subarray(written), written)
      if (taken === 0) throw Object.assign(new Error("the file took no more bytes"), { code: "EIO" })
      written += taken
    }
    await file.sync()
  } finally {
    await file.close()
  }
}

/**
 * Reads a regular file whole.
 * @returns null for one of more than `maxBytes`, and for anything but a regular file
 */
export async function readWhole(fs: FsPort, path: string, maxBytes: number): Promise<Buffer | null> {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const file = await fs.open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const size = await file.size()
    if (size === null || size > maxBytes) return null
    const bytes = Buffer.alloc(size)
    for (let filled = 0; filled < size; ) {
      const got = await file.read(bytes.subarray(filled), filled)
      if (got === 0) return bytes.subarray(0, filled)
      filled += got
    }
    return bytes
  } finally {
    await file.close()
  }
}

/** Makes the names in a directory durable. */
export async function syncDirectory(fs: FsPort, path: string): Promise<void> {
  const directory = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** Puts `bytes` at `path` at once, over whatever stands there, and durably: a reader sees the old file or the new one. */
export async function replaceFile(fs: FsPort, path: string, temp: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeNew(fs, temp, bytes)
    await fs.rename(temp, path)
  } catch (error) {
    await fs.unlink(temp).catch(() => undefined)
    throw error
  }
  await syncDirectory(fs, dirname(path))
}

/** Removes a file; one that is gone counts as removed. After a power loss it may be back: see `removeForGood`. */
export async function removeFile(fs: FsPort, path: string): Promise<void> {
  await fs.unlink(path).catch(unlessGone)
}

/** As `removeFile`, and it does not come back. */
export async function removeForGood(fs: FsPort, path: string): Promise<void> {
  await removeFile(fs, path)
  await syncDirectory(fs, dirname(path)).catch(unlessGone)
}

function unlessGone(error: NodeJS.ErrnoException): void {
  if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error
}
