import { join } from "node:path"
import { idPattern } from "../domain/vm.ts"
import type { FsPort } from "./fs-port.ts"
import { asideName } from "./listing.ts"
import { isTempName } from "./names.ts"

/** Temp files of one process are few: as many as it had puts under way. */
const mostRemoved = 10_000

/**
 * Removes temp files that an earlier process left, from the location, what was put aside, and the two levels below both.
 * Everything else stays.
 * What cannot be read or removed is left: putting and opening will say what is wrong.
 */
export async function sweepTempFiles(fs: FsPort, location: string): Promise<void> {
  let left = mostRemoved
  const sweep = async (directory: string, depth: number): Promise<void> => {
    const names = await fs.readdir(directory).catch(() => [])
    for (const name of names) {
      if (isTempName(name) && left-- > 0) await fs.unlink(join(directory, name)).catch(() => undefined)
    }
    if (depth === 0) return
    // A file among them fails to be read as a directory, and is left.
    for (const name of names.filter((each) => idPattern.test(each))) await sweep(join(directory, name), depth - 1)
  }
  await sweep(location, 2)
  await sweep(join(location, asideName), 2)
}
