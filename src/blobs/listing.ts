import { dirname, join } from "node:path"
import type { BlobRef } from "../domain/blob-store.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { idPattern } from "../domain/vm.ts"
import { notGivenBack } from "./blob-faults.ts"
import { type FsPort, readWhole, removeFile, replaceFile, syncDirectory } from "./fs-port.ts"
import { pathOf, tempName } from "./names.ts"

const suffix = ".cmb"
/** No VM's directory: ids do not begin with a dot. */
export const asideName = ".unreadable"
/** No blob is larger: a larger file is not read into memory. */
export const maxBlobBytes = 256 * 1024 * 1024

/** The blobs below `location`, as their names tell, config by config. Whatever else stands there is left out. */
export async function* listBlobs(
  fs: FsPort,
  location: string,
): AsyncIterable<{ readonly ref: ConfigRef; readonly backupIds: readonly string[] }> {
  const root = await fs.realpath(location)
  for (const vmId of (await fs.readdir(location)).filter(isId)) {
    for (const type of (await namesIn(fs, root, vmId)).filter(isId)) {
      const names = await namesIn(fs, root, join(vmId, type))
      const backupIds = names.flatMap((name) => (name.endsWith(suffix) ? [name.slice(0, -suffix.length)] : []))
      yield { ref: { vmId, type }, backupIds: backupIds.filter(isId) }
    }
  }
}

/** Those that stand in `.unreadable`, as their names tell. */
export async function* listAside(fs: FsPort, location: string): ReturnType<typeof listBlobs> {
  const aside = join(location, asideName)
  if (!(await fs.exists(aside))) return
  for await (const { ref, backupIds } of listBlobs(fs, aside)) {
    const ids = new Set(backupIds)
    // `<id>.2` is the second file of that name, and the first stands beside it.
    yield { ref, backupIds: backupIds.filter((id) => !ids.has(id.replace(/\.\d+$/, "")) || !/\.\d+$/.test(id)) }
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
  await fs.rename(from, to).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EXDEV") throw error
    // Beside it: `.unreadable` may be what a link leads elsewhere.
    return moveAcross(fs, { from, to, temp: join(directory, tempName(ref.backupId)), error })
  })
  await syncDirectory(fs, directory)
  await syncDirectory(fs, dirname(from))
  return to
}

/** As rename, where a link or a mount has led one of the two to another file system. At every moment one of the two is whole. */
async function moveAcross(
  fs: FsPort,
  {
    from,
    to,
    temp,
    error,
  }: { readonly from: string; readonly to: string; readonly temp: string; readonly error: Error },
): Promise<void> {
  // One that could not be removed would be copied anew by each start.
  await fs.access(dirname(from))
  const bytes = await readWhole(fs, from, maxBlobBytes)
  if (bytes === null) throw error
  try {
    await replaceFile(fs, to, temp, bytes)
    if (!(await readWhole(fs, to, bytes.length))?.equals(bytes)) throw notGivenBack(dirname(to))
  } catch (failure) {
    await fs.unlink(to).catch(() => undefined)
    throw failure
  }
  await removeFile(fs, from)
}

async function makeDirectory(fs: FsPort, path: string): Promise<void> {
  await fs.mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EEXIST") throw error
  })
  // Before anything is moved there: a power loss must not take the directory away with what stands in it.
  await syncDirectory(fs, dirname(path))
}

function isId(name: string): boolean {
  return idPattern.test(name)
}

/**
 * The names in a directory below `root`. A file among the directories holds no blobs, a symbolic link that leads nowhere
 * neither, and one to another place below `root` shows blobs that are listed there: taken for strangers here, they would be
 * put aside. A directory that cannot be read is a failure: its blobs are not gone.
 */
async function namesIn(fs: FsPort, root: string, below: string): Promise<readonly string[]> {
  const path = join(root, below)
  try {
    const real = await fs.realpath(path)
    return real !== path && real.startsWith(join(root, "/")) ? [] : await fs.readdir(real)
  } catch (error) {
    if (nothingThere.has((error as NodeJS.ErrnoException).code ?? "")) return []
    // As it is called below the location, whatever links lead there: that is the name to be told.
    throw Object.assign(error as Error, { path: below })
  }
}

const nothingThere: ReadonlySet<string> = new Set(["ENOTDIR", "ENOENT", "ELOOP"])
