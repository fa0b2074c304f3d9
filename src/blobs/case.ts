import { join } from "node:path"
import type { Inventory } from "../domain/inventory.ts"
import { StartError } from "../domain/start-error.ts"
import { type FsPort, nodeFs, removeFile, writeNew } from "./fs-port.ts"
import { tempName } from "./names.ts"

/**
 * Ids are told apart by case, and directories are named by them. On a file system that folds case (SMB, vfat) two that differ in
 * nothing else would share one, where the blobs of each are strangers to the other.
 * @throws {StartError} where the settings name such two
 */
export async function requireToldApart(
  location: string,
  { vms, types }: Inventory,
  fs: FsPort = nodeFs,
): Promise<void> {
  const twins = twinsIn(vms.map(({ vmId }) => vmId)) ?? twinsIn(types.map(({ type }) => type))
  if (twins === null || !(await foldsCase(fs, location))) return
  throw new StartError(
    `"${twins.join('" and "')}" differ in case alone, and so do not on the file system of ${location}, where the versions of both would ` +
      "stand in one directory. Rename one of them, or choose another config_management.backup_location.",
  )
}

function twinsIn(ids: readonly string[]): readonly string[] | null {
  const groups = Map.groupBy(ids, (id) => id.toLowerCase())
  return [...groups.values()].find((group) => group.length > 1) ?? null
}

/** Found out by trying: neither the platform nor the kind of file system tells. */
async function foldsCase(fs: FsPort, location: string): Promise<boolean> {
  const name = tempName("Case")
  const path = join(location, name)
  await writeNew(fs, path, Buffer.alloc(0))
  try {
    return await fs.exists(join(location, name.toLowerCase()))
  } finally {
    await removeFile(fs, path)
  }
}
