import { randomBytes } from "node:crypto"
import { constants } from "node:fs"
import { join } from "node:path"
import { type FsPort, writeNew } from "./fs-port.ts"

/** Room that is kept so that backups can be removed when there is none left. */
const reserveBytes = 1024 * 1024
const fileName = ".reserve"

/** Keeps the reserve where there is room for it. @returns whether it stands */
export async function keepReserve(fs: FsPort, location: string): Promise<boolean> {
  const path = join(location, fileName)
  try {
    if ((await sizeOf(fs, path)) === reserveBytes) return true
    // A start that was cut short may have left a part of it.
    await dropReserve(fs, location)
    if ((await fs.freeBytes(location)) < 8 * reserveBytes) return false
    // Random: a file system that compresses would keep nothing for zeros.
    await writeNew(fs, path, randomBytes(reserveBytes))
    return true
  } catch {
    // Not being able to keep it must not stop the start: reading goes on, and health() tells.
    await dropReserve(fs, location)
    return false
  }
}

export async function dropReserve(fs: FsPort, location: string): Promise<void> {
  await fs.unlink(join(location, fileName)).catch(() => undefined)
}

/** @returns null where none stands */
async function sizeOf(fs: FsPort, path: string): Promise<number | null> {
  const file = await fs.open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => null)
  if (!file) return null
  try {
    return await file.size()
  } finally {
    await file.close()
  }
}
