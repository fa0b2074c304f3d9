import { rm } from "node:fs/promises"
import { join } from "node:path"
import { DirectoryTarget } from "../blobs/directory-target.ts"
import { parseNotes } from "../blobs/notes.ts"
import { DiskStoreFiles } from "../blobs/store-files.ts"
import type { Reindexed } from "../cli/reindex.ts"
import { StartError } from "../domain/start-error.ts"
import {
  bringKeyringHome,
  bringNotesHome,
  bringVersionsHome,
  type Homecoming,
  requireVersions,
} from "../services/homecoming.ts"
import { SftpTarget } from "../services/sftp-target.ts"
import { parseRemotePath, type RemoteBackups } from "../settings/remote-path.ts"
import type { Settings } from "../settings.ts"
import { readCatalog, remakeCatalog } from "./maintenance.ts"
import { acquireLocks, openStores, type Secrets, sshOptionsOf } from "./stores.ts"

/** @param from the place that the command line names; null: the settings' @throws {StartError} */
export function placeOf({ backups, ssh }: Settings, from: string | null): RemoteBackups {
  const place = from === null ? backups.remote : parseRemotePath(from, ssh)
  if (place) return place
  throw new StartError(
    from === null
      ? "There is no place to bring copies home from. Name it by --from, or in config_management.backup_remote_path."
      : "--from takes a directory (absolute), user@host:/path or sftp://user@host:port/path.",
  )
}

/** Brings everything home and makes the catalog from it, with the directories for itself. @throws {StartError} @throws {Fault} */
export async function bringHome(
  settings: Settings,
  secrets: Secrets,
  place: RemoteBackups,
  onFinding: (sentence: string) => void,
): Promise<{ readonly home: Homecoming; readonly reindexed: Reindexed }> {
  const locks = acquireLocks(settings)
  const { SshTransport } = await import("../ssh/transport.ts")
  const transport = new SshTransport(sshOptionsOf(settings, secrets))
  try {
    const target =
      place.kind === "directory" ? new DirectoryTarget(place.path) : new SftpTarget({ ...place, transport })
    const files = new DiskStoreFiles(settings.backups.location)
    await requireVersions(target)
    const isBrought = await bringKeyringHome({ target, files, onFinding })
    const stores = await openStores(settings, { secrets, newKey: false }).catch(async (error: unknown) => {
      // It is of a store with another key, most likely a wrong place: it must not stand in the way of the right one's.
      if (isBrought) await rm(join(settings.backups.location, "keyring.json"), { force: true })
      throw error
    })
    await bringNotesHome({ target, files, parse: parseNotes, clock: () => new Date() })
    const { catalog } = readCatalog(settings)
    const home = await bringVersionsHome({ target, files, ...stores, catalog, onFinding }).finally(() =>
      catalog?.close(),
    )
    return { home, reindexed: await remakeCatalog(settings, stores, onFinding) }
  } finally {
    await transport.close()
    for (const lock of locks) lock.release()
  }
}
