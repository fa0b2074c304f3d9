import { randomBytes } from "node:crypto"
import { join } from "node:path"
import { type FsPort, replaceFile } from "./fs-port.ts"
import { tempName } from "./names.ts"
import { isStorageFull } from "./storage-fault.ts"

/** Room that is kept so that backups can be removed when there is none left. */
const reserveBytes = 1024 * 1024
const fileName = ".reserve"

/** Keeps the reserve, whole or not at all, where there is room for it. @returns whether it stands */
export async function keepReserve(fs: FsPort, location: string): Promise<boolean> {
  const path = join(location, fileName)
  try {
    if (await fs.exists(path)) return true
    if ((await fs.freeBytes(location)) < 8 * reserveBytes) return false
    // Random: a file system that compresses would keep nothing for zeros.
    await replaceFile(fs, path, join(location, tempName("reserve")), randomBytes(reserveBytes))
    return true
  } catch {
    // Not being able to keep it must not stop the start: reading goes on, and health() tells.
    return false
  }
}

/** Does work that a full disk must not keep from being done: where there is no room for it the reserve gives some. */
export async function withReserve<T>(fs: FsPort, location: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!isStorageFull(error)) throw error
    await fs.unlink(join(location, fileName)).catch(() => undefined)
    return work()
  }
}
