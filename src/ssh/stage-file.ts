import type { Stats } from "ssh2"
import { Fault, isFault } from "../domain/fault.ts"
import type { StagedFile, StageReport } from "../domain/transport.ts"
import type { Connection } from "./connection.ts"
import { hasStatus, refusal, SftpError, sftpStatus } from "./errors.ts"
import { Pipeline } from "./pipeline.ts"
import { addReads, directoryOf, type Remote, readAgain, statOrNull } from "./read-file.ts"
import type { Sftp } from "./sftp.ts"

const permissionBits = 0o7777
const stickyBit = 0o1000

/** What came of each call on the new file; each may have been refused. */
interface Written {
  readonly writes: readonly Promise<void>[]
  /** Before it is given away; null: it is not. */
  readonly made: Promise<Stats> | null
  readonly owner: Promise<void>
  readonly mode: Promise<void>
  readonly synced: Promise<void>
  readonly readBack: () => Promise<Buffer>
  readonly stats: Promise<Stats>
  /** Opened once more by its name, as whoever reads the live file back will have to. */
  readonly opened: Promise<void>
  readonly directory: Promise<Stats>
}

/** `Session.stage`: two round trips, and more where the server reads less than it is asked for. */
export async function stageFile(
  remote: Remote,
  path: string,
  file: StagedFile,
  signal: AbortSignal | undefined,
): Promise<StageReport> {
  const { sftp } = remote.connection
  const handle = await create(sftp, path)
  try {
    // A caller who has gone is not waiting for the bytes; what was created must not stay.
    if (signal?.aborted) {
      await sftp.close(handle)
      throw signal.reason
    }
    const written = await fill(sftp, handle, path, file)
    const report = await verify(remote.connection, path, file, written)
    await noteDirectory(remote, path, written)
    signal?.throwIfAborted()
    return report
  } catch (error) {
    await sftp.remove(path).catch(() => {})
    throw error
  }
}

async function create(sftp: Sftp, path: string): Promise<Buffer> {
  try {
    return await sftp.create(path)
  } catch (error) {
    if (!hasStatus(error, sftpStatus.failure)) throw refusal(error, `creating ${path}`)
    if (await statOrNull(sftp, path)) {
      throw new Fault("write_failed", `${path} stands there already; nothing was written.`, { cause: error })
    }
    throw await explained(sftp, path, error, `creating ${path}`)
  }
}

async function fill(sftp: Sftp, handle: Buffer, path: string, file: StagedFile): Promise<Written> {
  const { bytes, mode, owner } = file
  const { writeBytes } = sftp
  const pipeline = new Pipeline(sftp)
  const writes: Promise<void>[] = []
  for (let at = 0; at < bytes.length; at += writeBytes) {
    writes.push(pipeline.add(() => sftp.write(handle, bytes.subarray(at, at + writeBytes), at)))
  }
  const written: Written = {
    writes,
    made: owner && pipeline.add(() => sftp.fstat(handle)),
    // The owner first: giving a file away clears set-id bits of its mode.
    owner: owner ? pipeline.add(() => sftp.setOwner(handle, owner)) : Promise.resolve(),
    mode: pipeline.add(() => sftp.setMode(handle, mode)),
    synced: pipeline.add(() => sftp.fsync(handle)),
    readBack: addReads(pipeline, sftp, handle, bytes.length),
    stats: pipeline.add(() => sftp.fstat(handle)),
    opened: pipeline.add(async () => {
      const again = await sftp.openToRead(path)
      sftp.close(again).catch(() => {})
    }),
    // By its own name for itself: it may be a symlink.
    directory: pipeline.add(() => sftp.lstat(`${directoryOf(path)}/.`)),
  }
  void pipeline.add(() => sftp.close(handle))
  await pipeline.run()
  return written
}

/** A directory that does not let itself be looked at counts as one that is not sticky, as nearly all are. */
async function noteDirectory({ stickyDirectories }: Remote, path: string, written: Written): Promise<void> {
  const looking = Promise.all([written.directory, written.made ?? written.stats])
  const looks = await looking.catch((error: unknown) => {
    if (error instanceof SftpError) return null
    throw error
  })
  if (!looks) return
  const [directory, made] = looks
  if ((directory.mode & stickyBit) === 0) return
  stickyDirectories.noteDirectory(directoryOf(path), { directory: directory.uid, ours: made.uid })
}

async function verify(connection: Connection, path: string, file: StagedFile, written: Written): Promise<StageReport> {
  try {
    await Promise.all([...written.writes, written.synced])
  } catch (error) {
    throw await explained(connection.sftp, path, error, `writing ${path}`, "file is open")
  }
  try {
    await written.mode
    const [told, stats] = await Promise.all([written.readBack(), written.stats])
    if (stats.size !== file.bytes.length) throw unlike(path, "its bytes")
    const bytes = told.length === stats.size ? told : await allOf(connection, path, stats.size)
    if (!bytes?.equals(file.bytes)) throw unlike(path, "its bytes")
    if ((stats.mode & permissionBits) !== file.mode) throw unlike(path, "its mode")
    const kept = await ownerKept(path, file, written, stats)
    await requireReadable(path, stats, written.opened)
    return { uid: stats.uid, gid: stats.gid, ownerKept: kept }
  } catch (error) {
    throw refusal(error, `writing ${path}`)
  }
}

/** @returns null where what stands there is not the file that was written any more */
async function allOf(connection: Connection, path: string, size: number): Promise<Buffer | null> {
  try {
    return (await readAgain(connection, path, size))?.bytes ?? null
  } catch (error) {
    if (isFault(error, "not_a_regular_file", "remote_file_too_large", "concurrent_modification")) return null
    throw error
  }
}

async function ownerKept(path: string, file: StagedFile, written: Written, stats: Stats): Promise<boolean> {
  if (file.owner === null) return true
  const given = await written.owner.then(
    () => null,
    (error: unknown) => error,
  )
  // What the file has counts: some servers say yes and do nothing, others refuse to give even the owner that it has.
  if (stats.uid === file.owner.uid && stats.gid === file.owner.gid) return true
  if (given !== null && !(given instanceof SftpError)) throw given
  if (!file.keepOwner) return false
  throw new Fault(
    "vm_permission_denied",
    `The SSH user cannot give ${path} the owner of the live file, ${file.owner.uid}:${file.owner.gid}. ` +
      "Set become: true for this type to write as root, or keep_owner: false to let the file become the SSH user's.",
    { cause: given },
  )
}

/** Its mode and owner may keep out whoever wrote it. In place, it could neither be verified nor be replaced or restored later. */
async function requireReadable(path: string, { mode, uid, gid }: Stats, opened: Promise<void>): Promise<void> {
  try {
    await opened
  } catch (error) {
    if (!hasStatus(error, sftpStatus.permissionDenied)) throw error
    const attributes = `mode ${(mode & permissionBits).toString(8).padStart(4, "0")} and owner ${uid}:${gid}`
    const sentence = `With ${attributes} the SSH user could not read ${path} any more, so that what was written could not be verified.`
    throw new Fault("vm_permission_denied", `${sentence} Set become: true for this type to write as root.`, {
      cause: error,
    })
  }
}

/** SFTP's status 4 means anything: what the file system says of itself tells more. */
async function explained(
  sftp: Sftp,
  path: string,
  error: unknown,
  doing: string,
  open?: "file is open",
): Promise<unknown> {
  if (!hasStatus(error, sftpStatus.failure)) return refusal(error, doing)
  const room = await sftp.room(directoryOf(path)).catch(() => null)
  if (room?.readOnly) {
    return new Fault("write_failed", `The VM failed at ${doing}: its file system is read-only.`, { cause: error })
  }
  const full = room !== null && (room.freeBytes === 0 || (room.inodes > 0 && room.freeInodes === 0))
  if (full) {
    const what = room.freeBytes === 0 ? "space" : "inode"
    return new Fault("vm_disk_full", `The VM failed at ${doing}: its file system has no ${what} left.`, {
      cause: error,
    })
  }
  if (open) {
    const why = "though its file system has room: a quota or a size limit of the SSH user is reached, or the disk fails"
    return new Fault("vm_disk_full", `The VM failed at ${doing}, ${why}.`, { cause: error })
  }
  return refusal(error, doing)
}

function unlike(path: string, what: string): Fault {
  return new Fault("write_failed", `${path} was written, but ${what} did not read back as sent.`)
}
