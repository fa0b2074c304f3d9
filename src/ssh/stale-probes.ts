import { SftpError } from "./errors.ts"
import { directoryOf } from "./read-file.ts"
import type { Sftp } from "./sftp.ts"

/** Twice as long as any call may take: the check that made such a file has ended, whoever's it was and however it did. */
const staleAfterSeconds = 2 * 60 * 60
/** What one check spends on it: a directory may hold any number of names. */
const most = { ms: 1_000, names: 10_000, files: 32 } as const
/** Names of today and of the first versions. */
const mark = /^(?:[0-9a-f]{34}|[0-9a-f]{16})\.probe$/

/**
 * Removes probe files beside `path` of checks whose service was killed. What the VM does not let go stays; the next check tries
 * again.
 * @param now seconds by the VM's clock, as the times of its files @param largest bytes that a probe file may have
 */
export async function removeStaleProbes(sftp: Sftp, path: string, now: number, largest: number): Promise<void> {
  const endsAt = performance.now() + most.ms
  const names = (await unlessRefused(probesBeside(sftp, path, endsAt))) ?? []
  for (const name of names.slice(0, most.files)) {
    if (performance.now() > endsAt) return
    const stats = await unlessRefused(sftp.lstat(name))
    if (!stats?.isFile() || stats.size > largest) continue
    if (stats.mtime < now - staleAfterSeconds) await unlessRefused(sftp.remove(name))
  }
}

/** The paths of what bears the name of a probe file for `path`, as far as the time goes. */
async function probesBeside(sftp: Sftp, path: string, endsAt: number): Promise<readonly string[]> {
  const directory = directoryOf(path)
  const prefix = `${path.slice(path.lastIndexOf("/") + 1)}.`
  const handle = await sftp.openDirectory(directory)
  const found: string[] = []
  try {
    let seen = 0
    while (seen < most.names && performance.now() < endsAt) {
      const names = await sftp.names(handle)
      if (names.length === 0) break
      seen += names.length
      found.push(...names.filter((name) => name.startsWith(prefix) && mark.test(name.slice(prefix.length))))
    }
  } finally {
    sftp.close(handle).catch(() => {})
  }
  return found.map((name) => `${directory === "/" ? "" : directory}/${name}`)
}

/** @returns null when the server refused */
async function unlessRefused<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call
  } catch (error) {
    if (error instanceof SftpError) return null
    throw error
  }
}
