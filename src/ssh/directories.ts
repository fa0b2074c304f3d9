import { hasStatus, refusal, SftpError, sftpStatus } from "./errors.ts"
import { type Remote, statOrNull } from "./read-file.ts"
import type { Sftp } from "./sftp.ts"
import { syncDirectory } from "./swap-file.ts"

/** More names than this are not read into memory. */
const mostNames = 1_000_000

/** `Session.list`: a round trip for each hundred names or so. */
export async function listDirectory({ connection }: Remote, path: string): Promise<readonly string[] | null> {
  const { sftp } = connection
  const handle = await openDirectory(sftp, path)
  if (!handle) return null
  const names: string[] = []
  try {
    for (let some = await sftp.names(handle); some.length > 0; some = await sftp.names(handle)) {
      names.push(...some)
      if (names.length > mostNames) throw new SftpError(sftpStatus.failure, `more than ${mostNames} names`)
    }
  } catch (error) {
    throw refusal(error, `reading the directory ${path}`)
  } finally {
    // Nothing is lost when it fails, and a connection that broke has told so already.
    await sftp.close(handle).catch(() => {})
  }
  return names.filter((name) => name !== "." && name !== "..").sort()
}

/** Servers answer the same status for a file as for a directory that cannot be read: `lstat` tells. */
async function openDirectory(sftp: Sftp, path: string): Promise<Buffer | null> {
  try {
    return await sftp.openDirectory(path)
  } catch (error) {
    if (hasStatus(error, sftpStatus.noSuchFile)) return null
    const stats = error instanceof SftpError ? await statOrNull(sftp, path) : null
    if (stats && !stats.isDirectory()) return null
    throw refusal(error, `reading the directory ${path}`)
  }
}

/** `Session.makeDirectory`. */
export async function makeDirectory(remote: Remote, path: string): Promise<void> {
  const { sftp } = remote.connection
  try {
    await sftp.makeDirectory(path)
  } catch (error) {
    const stats = hasStatus(error, sftpStatus.failure) ? await statOrNull(sftp, path) : null
    if (!stats?.isDirectory()) throw refusal(error, `making the directory ${path}`)
  }
  await syncDirectory(remote, path)
}
