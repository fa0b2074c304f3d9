import { dirname, join } from "node:path"
import type { BlobRef } from "../domain/blob-store.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { idPattern } from "../domain/vm.ts"
import { type FsPort, syncDirectory } from "./fs-port.ts"
import { pathOf } from "./names.ts"

const suffix = ".cmb"
/** No VM's directory: ids do not begin with a dot. */
const asideName = ".unreadable"

/** The blobs below `location`, as their names tell, config by config. Whatever else stands there is left out. */
export async function* listBlobs(
  fs: FsPort,
  location: string,
): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
  for (const vmId of await idsIn(fs, location)) {
    for (const type of await idsIn(fs, join(location, vmId))) {
      const names = await namesIn(fs, join(location, vmId, type))
      const backupIds = names.flatMap((name) => (name.endsWith(suffix) ? [name.slice(0, -suffix.length)] : []))
      yield { ref: { vmId, type }, backupIds: backupIds.filter((id) => idPattern.test(id)) }
    }
  }
}

/** Moves a blob's file to `.unreadable/<vmId>/<type>/`, under a name of its own there. @returns its new path */
export async function putAside(fs: FsPort, location: string, ref: BlobRef): Promise<string> {
  const directories = [asideName, ref.vmId, ref.type].map((_, index, parts) => {
    return join(location, ...parts.slice(0, index + 1))
  })
  for (const directory of directories) await makeDirectory(fs, directory)
  const [directory = location] = directories.slice(-1)
  let to = join(directory, `${ref.backupId}${suffix}`)
  for (let copy = 2; await fs.exists(to); copy += 1) to = join(directory, `${ref.backupId}.${copy}${suffix}`)
  const from = pathOf(location, ref)
  await fs.rename(from, to)
  await syncDirectory(fs, directory)
  await syncDirectory(fs, dirname(from))
  return to
}

async function makeDirectory(fs: FsPort, path: string): Promise<void> {
  await fs.mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error
  })
  // Before anything is moved there: a power loss must not take the directory away with what stands in it.
  await syncDirectory(fs, dirname(path))
}

async function idsIn(fs: FsPort, path: string): Promise<readonly string[]> {
  return (await namesIn(fs, path)).filter((name) => idPattern.test(name))
}

/** A file among the directories holds no blobs. A directory that cannot be read is a failure: its blobs are not gone. */
async function namesIn(fs: FsPort, path: string): Promise<readonly string[]> {
  try {
    return await fs.readdir(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOTDIR") return []
    throw error
  }
}
