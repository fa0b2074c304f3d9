import { join } from "node:path"
import { requireToldApart } from "../blobs/case.ts"
import { type KeySources, loadKeys } from "../blobs/keyring.ts"
import { DiskLegacyStore } from "../blobs/legacy.ts"
import { DiskBlobStore } from "../blobs/store.ts"
import type { Failpoint } from "../domain/failpoint.ts"
import type { Settings } from "../settings.ts"
import { acquireLock, type DirectoryLock, requireLockable } from "../sqlite/lock.ts"
import { lookAtCatalog } from "../sqlite/open.ts"
import type { SshTransportOptions } from "../ssh/transport.ts"

export const migrationsDir = join(import.meta.dirname, "..", "..", "migrations")

/** What the environment adds to the settings; never logged. */
export interface Secrets {
  readonly backupKeyPath: string | null
  readonly backupPassphrase: string | null
  readonly sshPassphrase: string | null
  readonly agentSocket: string | null
}

export interface Stores {
  readonly blobs: DiskBlobStore
  readonly legacy: DiskLegacyStore
}

/** One process owns both directories; the settings see to it that they are two. */
export function acquireLocks({ stateDir, backups }: Settings): readonly DirectoryLock[] {
  const taken: DirectoryLock[] = []
  try {
    taken.push(acquireLock(stateDir, "state_dir"))
    taken.push(acquireLock(backups.location, "config_management.backup_location"))
    return taken
  } catch (error) {
    for (const lock of taken) lock.release()
    throw error
  }
}

/** Looks at whether the locks and the catalog could be had, as far as can be seen without a trace; each throws a StartError. */
export function placeChecks({ stateDir, backups }: Settings): readonly (() => void)[] {
  return [
    () => requireLockable(stateDir, "state_dir"),
    () => requireLockable(backups.location, "config_management.backup_location"),
    () => lookAtCatalog({ path: join(stateDir, "catalog.db"), migrationsDir }),
  ]
}

/** The directories of the backups, opened, with the keys that the settings and the environment name. @throws {StartError} */
export async function openStores(
  settings: Settings,
  { secrets, newKey, failpoint }: { secrets: Secrets; newKey: boolean; failpoint?: Failpoint },
): Promise<Stores> {
  const keyring = await loadKeys({ ...keySourcesOf(settings, secrets), newKey })
  const { location } = settings.backups
  const blobs = await DiskBlobStore.open({ location, keyring, failpoint })
  await requireToldApart(location, settings.inventory)
  return { blobs, legacy: await DiskLegacyStore.open({ location, keys: keyring.legacy }) }
}

/** Half of an operation's time, so that one which goes on without the store has the other half; a slow disk has a second. */
export function storeLimitMs(timeoutMs: number): number {
  return Math.max(1_000, timeoutMs / 2)
}

export function keySourcesOf({ backups }: Settings, secrets: Secrets): Omit<KeySources, "newKey"> {
  return {
    keyPath: backups.keyPath ?? secrets.backupKeyPath,
    passphrase: secrets.backupPassphrase,
    oldKeyPaths: backups.oldKeyPaths,
    backupLocation: backups.location,
  }
}

export function sshOptionsOf({ ssh, execution }: Settings, secrets: Secrets): SshTransportOptions {
  return {
    ...ssh,
    keyStoragePath: execution.keyStoragePath,
    passphrase: secrets.sshPassphrase,
    agentSocket: ssh.agent ? secrets.agentSocket : null,
    callTimeoutMs: execution.timeoutMs,
    poolSize: execution.poolSize,
    retries: execution.retries,
  }
}
