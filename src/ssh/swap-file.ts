import type { Stats } from "ssh2"
import { Fault, isFault } from "../domain/fault.ts"
import type { ReadOptions, Seen, SwapPaths, SwapReport } from "../domain/transport.ts"
import type { Connection } from "./connection.ts"
import { hasStatus, isAbsence, refusal, SftpError, sftpStatus } from "./errors.ts"
import { Pipeline } from "./pipeline.ts"
import { abandon, addReads, directoryOf, fileOf, type Remote, readAgain, statOrNull } from "./read-file.ts"
import type { Sftp } from "./sftp.ts"

/** A file that was asked for in the flight of a rename. */
interface Sighting {
  readonly path: string
  readonly statting: Promise<Stats>
  readonly opening: Promise<Buffer>
}

/** What left together with a rename. */
interface Flight {
  /** null: not asked for. */
  readonly linked: Promise<void> | null
  readonly renamed: Promise<void>
  readonly directory: Promise<Buffer>
  readonly live: Sighting
  readonly old: Sighting | null
}

type Rename = (from: string, to: string) => Promise<void>

/**
 * `Session.swap`: two round trips, and more where what stands there cannot be told at once. The server works through them in order, so what is read back is what the rename left.
 * A file that was not there must not be there now: for it the rename of SFTP itself is used, which refuses to replace.
 */
export async function swapFile(remote: Remote, paths: SwapPaths, options: ReadOptions): Promise<SwapReport> {
  const { sftp } = remote.connection
  const replace: Rename = (from, to) => sftp.replace(from, to)
  if (paths.replaces) return swapBy(replace, remote, paths, options)
  try {
    return await swapBy((from, to) => sftp.rename(from, to), remote, paths, options)
  } catch (error) {
    // Servers that were written for one purpose may know the extension only.
    if (!hasStatus(error, sftpStatus.unsupported)) throw error
    return swapBy(replace, remote, paths, options)
  }
}

async function swapBy(rename: Rename, remote: Remote, paths: SwapPaths, options: ReadOptions): Promise<SwapReport> {
  const { sftp } = remote.connection
  const { path, stagingPath, oldPath } = paths
  const linking = paths.replaces && mayLink(remote, path)
  const flight: Flight = sftp.flight(() => ({
    linked: linking ? sftp.link(path, oldPath) : null,
    renamed: rename(stagingPath, path),
    directory: sftp.openToRead(directoryOf(path)),
    live: sight(sftp, path),
    old: linking ? sight(sftp, oldPath) : null,
  }))
  // A server may have made a second name that it refuses, as where its own file server's answer was lost: that is looked at anyway.
  if (flight.linked) await succeeds(flight.linked)
  try {
    await flight.renamed
  } catch (error) {
    // The second name stays: a rename that was refused may have been done all the same, and what stood there is under it alone.
    closeAll(remote.connection, flight)
    throw await renameFault(error, flight.live, paths)
  }
  return readBack(remote, flight, options)
}

/** A second name that could not be removed again is not given. */
function mayLink({ connection, stickyDirectories }: Remote, path: string): boolean {
  return connection.sftp.canLink && stickyDirectories.mayRemove(path, directoryOf(path))
}

function sight(sftp: Sftp, path: string): Sighting {
  return { path, statting: sftp.lstat(path), opening: sftp.openToRead(path) }
}

async function readBack(remote: Remote, flight: Flight, options: ReadOptions): Promise<SwapReport> {
  const { connection } = remote
  const pipeline = new Pipeline(connection.sftp)
  await addSync(connection.sftp, flight.directory, pipeline)
  const live = await look(connection, flight.live, pipeline, options)
  const old = flight.old && (await look(connection, flight.old, pipeline, options))
  await pipeline.run()
  if (connection.fault) throw connection.fault
  return { live: await live(), old: old && (await old()) }
}

/** Looks at a path, whatever stands there: the rename has happened, and only the caller can tell what is odd. */
async function look(
  connection: Connection,
  sighting: Sighting,
  pipeline: Pipeline,
  { maxBytes }: ReadOptions,
): Promise<() => Promise<Seen>> {
  const { sftp } = connection
  const { path, statting, opening } = sighting
  const stats = await answerOrNull(statting)
  if (stats && (!stats.isFile() || stats.size > maxBytes)) {
    // One that is no regular file may never answer its opening: nobody waits for that.
    void abandon(connection, opening)
    return async () => "odd"
  }
  const handle = await answerOrNull(opening)
  if (!handle) {
    if ((await isAbsent(statting)) && (await isAbsent(opening))) return async () => null
    return () => lookAgain(connection, path, maxBytes)
  }
  const size = stats?.size ?? 0
  const reading = addReads(pipeline, sftp, handle, size)
  const after = pipeline.add(() => sftp.fstat(handle))
  void pipeline.add(() => sftp.close(handle))
  return async () => {
    const [bytes, told] = await Promise.all([answerOrNull(reading()), answerOrNull(after)])
    if (bytes && told && bytes.length === told.size) return fileOf(bytes, told, path)
    return lookAgain(connection, path, maxBytes)
  }
}

/** For what the first look could not tell in whole: nothing, something odd, or a server that reads less than it is asked for. */
async function lookAgain(connection: Connection, path: string, maxBytes: number): Promise<Seen> {
  try {
    return await readAgain(connection, path, maxBytes)
  } catch (error) {
    // What a server refuses to read without a reason may be read in a moment: nothing is said of that.
    if (isFault(error, "not_a_regular_file", "remote_file_too_large", "vm_permission_denied")) return "odd"
    throw error
  }
}

/** `Session.rename`: two round trips. */
export async function renameFile(remote: Remote, from: string, to: string, aside?: string): Promise<void> {
  const { sftp } = remote.connection
  const flight = sftp.flight(() => ({
    linked: aside !== undefined && mayLink(remote, to) ? succeeds(sftp.link(to, aside)) : Promise.resolve(false),
    renamed: sftp.replace(from, to),
    directory: sftp.openToRead(directoryOf(to)),
  }))
  flight.linked.catch(() => {})
  try {
    await flight.renamed
  } catch (error) {
    void abandon(remote.connection, flight.directory)
    throw refusal(error, `renaming ${from} to ${to}`)
  }
  await sync(remote.connection, flight.directory)
}

/** `Session.syncDirectory`: two round trips. */
export function syncDirectory({ connection }: Remote, path: string): Promise<void> {
  return sync(connection, connection.sftp.openToRead(directoryOf(path)))
}

async function sync(connection: Connection, directory: Promise<Buffer>): Promise<void> {
  const pipeline = new Pipeline(connection.sftp)
  await addSync(connection.sftp, directory, pipeline)
  await pipeline.run()
  if (connection.fault) throw connection.fault
}

/**
 * Adds the fsync of a directory. One that may be searched but not read cannot be opened for it, and some file systems
 * have none: the rename is then as durable as the file system makes it by itself.
 */
async function addSync(sftp: Sftp, directory: Promise<Buffer>, pipeline: Pipeline): Promise<void> {
  const handle = await answerOrNull(directory)
  if (!handle) return
  void pipeline.add(() => sftp.fsync(handle))
  void pipeline.add(() => sftp.close(handle))
}

/** `Session.remove`: one round trip, and one more for what the server refuses. */
export async function removeFiles(remote: Remote, paths: readonly string[]): Promise<void> {
  const { sftp } = remote.connection
  const removals = sftp.flight(() => paths.map((path) => sftp.remove(path)))
  for (const [index, removal] of removals.entries()) {
    await removal.catch(async (error: unknown) => {
      if (isAbsence(error)) return
      // A file system that is read-only refuses to remove even what is not there.
      const isGone = error instanceof SftpError && (await statOrNull(sftp, paths[index] ?? "")) === null
      if (!isGone) throw refusal(error, `removing ${paths[index]}`)
    })
  }
}

async function renameFault(error: unknown, live: Sighting, paths: SwapPaths): Promise<unknown> {
  if (!hasStatus(error, sftpStatus.failure)) {
    return hasStatus(error, sftpStatus.unsupported) ? error : refusal(error, `putting ${paths.path} in place`)
  }
  const stats = await answerOrNull(live.statting)
  if (stats && !stats.isFile()) {
    return new Fault("not_a_regular_file", `${paths.path} is no regular file; it was left alone.`, { cause: error })
  }
  if (stats && !paths.replaces) {
    const sentence = `${paths.path} was created by somebody else in the meantime; it was left alone.`
    return new Fault("concurrent_modification", sentence, { cause: error })
  }
  return refusal(error, `putting ${paths.path} in place`)
}

function closeAll(connection: Connection, flight: Flight): void {
  for (const opening of [flight.directory, flight.live.opening, flight.old?.opening]) {
    if (opening) void abandon(connection, opening)
  }
}

async function succeeds(call: Promise<void>): Promise<boolean> {
  try {
    await call
    return true
  } catch (error) {
    if (error instanceof SftpError) return false
    throw error
  }
}

function isAbsent(call: Promise<unknown>): Promise<boolean> {
  return call.then(() => false, isAbsence)
}

/** @returns null when the server refused */
async function answerOrNull<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call
  } catch (error) {
    if (error instanceof SftpError) return null
    throw error
  }
}
