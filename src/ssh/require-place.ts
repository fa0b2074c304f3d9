import { hasStatus, refusal, SftpError, sftpStatus } from "./errors.ts"
import { directoryOf } from "./read-file.ts"
import type { Sftp } from "./sftp.ts"

/** `Session.requirePlace`: one round trip. */
export async function requirePlace(sftp: Sftp, path: string): Promise<void> {
  // The point stands in a directory only, and where that is a symlink it is asked of what it leads to.
  const directory = `${directoryOf(path)}/.`
  const looks = sftp.flight(() => Promise.all([statusOf(sftp, directory), statusOf(sftp, path)]))
  const [whyNotIn, whyNotThere] = await looks
  const doing = `creating ${path}`
  if (hasStatus(whyNotIn, sftpStatus.noSuchFile)) throw refusal(whyNotIn, doing)
  if (hasStatus(whyNotThere, sftpStatus.badMessage)) throw refusal(whyNotThere, doing)
}

/** @returns what the server answered instead of looking; null: it has looked. Anything else a later step tells better. */
async function statusOf(sftp: Sftp, path: string): Promise<SftpError | null> {
  try {
    await sftp.lstat(path)
    return null
  } catch (error) {
    if (error instanceof SftpError) return error
    throw error
  }
}
