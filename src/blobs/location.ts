import { dirname } from "node:path"
import { Fault } from "../domain/fault.ts"
import { StartError } from "../domain/start-error.ts"
import { type FsPort, syncDirectory } from "./fs-port.ts"

/**
 * Makes the directory of the backups, 0700, where it does not exist, and its name durable.
 * @returns what it is known by: see `identityOf`
 * @throws {StartError} where that cannot be, or nothing can be written
 */
export async function makeLocation(fs: FsPort, location: string): Promise<string> {
  try {
    await makeDirectory(fs, location)
    await fs.access(location)
    await syncNamesOf(fs, location)
    return await identityOf(fs, location)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw new StartError(
      `The backups cannot be kept in ${location} (${code}). Choose a writable path in config_management.backup_location, ` +
        "or run elevated.",
      { cause },
    )
  }
}

/** Tells a directory from any other that stands in its place: an empty one below a mount that is gone, one made anew. */
export async function identityOf(fs: FsPort, path: string): Promise<string> {
  const [device, inode] = await Promise.all([fs.device(path), fs.inode(path)])
  return `${device}:${inode}`
}

/** @throws {Fault} `backup_storage_unavailable` where another directory stands there now: nothing that is found in it counts */
export async function requireIdentity(fs: FsPort, path: string, identity: string): Promise<void> {
  if ((await identityOf(fs, path)) === identity) return
  throw new Fault(
    "backup_storage_unavailable",
    `${path} is another directory, or on another file system, than at the start: put it back, or restart the service.`,
  )
}

/** Step by step: where the kernel says ENOENT for a parent that is there (as in /proc), Node's own `recursive` never returns. */
async function makeDirectory(fs: FsPort, path: string): Promise<void> {
  if (await fs.exists(path)) return
  const parent = dirname(path)
  if (parent !== path) await makeDirectory(fs, parent)
  await fs.mkdir(path)
}

/**
 * Syncs every directory above `path` on its file system: whoever made them (an earlier start, which the power may have ended
 * before it got here), a power loss must not take the way to the blobs away.
 */
async function syncNamesOf(fs: FsPort, path: string): Promise<void> {
  const device = await fs.device(path)
  for (let above = dirname(path); (await fs.device(above)) === device; above = dirname(above)) {
    await syncDirectory(fs, above).catch((error: NodeJS.ErrnoException) => {
      if (!notOurs.has(error.code ?? "")) throw error
    })
    if (above === dirname(above)) return
  }
}

/** Directories above that this user may not open, or whose file system takes no fsync of a directory, were made by others. */
const notOurs: ReadonlySet<string> = new Set(["EACCES", "EPERM", "EROFS", "EINVAL"])
