import { constants } from "node:fs"
import { access, mkdir } from "node:fs/promises"
import { StartError } from "../domain/start-error.ts"

/** Makes the directory of the backups, 0700, where it does not exist. @throws {StartError} where that cannot be, or nothing can be written */
export async function makeLocation(location: string): Promise<void> {
  try {
    await mkdir(location, { recursive: true, mode: 0o700 })
    await access(location, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    throw new StartError(
      `The backups cannot be kept in ${location} (${code}). Choose a writable path in config_management.backup_location, ` +
        "or run elevated.",
      { cause },
    )
  }
}
