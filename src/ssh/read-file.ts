import { setTimeout as pause } from "node:timers/promises"
import type { Stats } from "ssh2"
import { Fault } from "../domain/fault.ts"
import type { ReadOptions, RemoteFile } from "../domain/transport.ts"
import type { Connection } from "./connection.ts"
import { hasStatus, isAbsence, refusal, SftpError, sftpStatus } from "./errors.ts"
import { Pipeline } from "./pipeline.ts"
import { RegularPaths } from "./regular-paths.ts"
import type { Sftp } from "./sftp.ts"
import { StickyDirectories } from "./sticky-directories.ts"

/** What the file operations of a session work with. */
export interface Remote {
  readonly connection: Connection
  /** Paths at which a regular file was seen before: see `openRegular`. Outlives the connection. */
  readonly regularPaths: RegularPaths
  /** Of the directories that were written to. */
  readonly stickyDirectories: StickyDirectories
}

/** A regular file, open, and what `lstat` said of its name. */
interface Opened {
  readonly handle: Buffer
  readonly stats: Stats
}

const permissionBits = 0o7777
const abandonedOpenMs = 500

/** `Session.read`: two round trips for a file that was read before, three for one that was not. */
export async function readFile(remote: Remote, path: string, options: ReadOptions): Promise<RemoteFile | null> {
  const { sftp } = remote.connection
  // Sent ahead of the look at the file, so that it costs no round trip.
  const resolving = options.followSymlinks ? null : resolveDirectory(sftp, path)
  const target = options.followSymlinks ? await resolve(sftp, path) : path
  const opened = target === null ? null : await openRegular(remote, target, options)
  if (target === null || !opened) return null
  const { bytes, after } = await readOpened(sftp, opened, path)
  if (after.size !== opened.stats.size || after.mtime !== opened.stats.mtime) throw changed(path)
  const realPath = (await resolving) ?? target
  remote.stickyDirectories.noteFile(realPath, after.uid)
  if (bytes.length === after.size) return fileOf(bytes, after, realPath)
  if (bytes.length > after.size) throw longer(path)
  const read = await readSlowly(remote, target, options)
  return read && { ...read, realPath }
}

/** `Session.realPathOf`: one round trip. */
export function resolveDirectory(sftp: Sftp, path: string): Promise<string> {
  const resolving = sftp.realpath(directoryOf(path)).then(
    (directory) => {
      // What is no absolute path would count from another directory, and name another file.
      if (!directory.startsWith("/")) return path
      return `${directory === "/" ? "" : directory}/${path.slice(path.lastIndexOf("/") + 1)}`
    },
    (error: unknown) => {
      // Nothing stands there, or a server that cannot tell.
      if (error instanceof SftpError) return path
      throw error
    },
  )
  resolving.catch(() => {})
  return resolving
}

async function resolve(sftp: Sftp, path: string): Promise<string | null> {
  try {
    return await sftp.realpath(path)
  } catch (error) {
    if (hasStatus(error, sftpStatus.noSuchFile)) return null
    throw refusal(error, `resolving ${path}`)
  }
}

/**
 * `lstat` and `open`. Together in one flight only where a regular file was seen before: a FIFO that is opened blocks the
 * VM's sftp-server for good, and with it the whole channel.
 */
async function openRegular(remote: Remote, path: string, options: ReadOptions): Promise<Opened | null> {
  const { sftp } = remote.connection
  const known = remote.regularPaths.has(path)
  const before = known ? null : await statOrNull(sftp, path)
  if (!known && !before) return null
  if (before) assertReadable(before, path, options)
  const [statting, opening] = sftp.flight(() => [
    before ? Promise.resolve(before) : statOrNull(sftp, path),
    sftp.openToRead(path),
  ])
  const stats = await statting
  try {
    if (stats) assertReadable(stats, path, options)
  } catch (fault) {
    remote.regularPaths.delete(path)
    // Waited for: who comes next is to have another connection where this one is stuck.
    await abandon(remote.connection, opening)
    throw fault
  }
  const handle = await opening.catch((error: unknown) => {
    if (hasStatus(error, sftpStatus.noSuchFile)) return null
    throw refusal(error, `reading ${path}`)
  })
  if (stats && handle) {
    remote.regularPaths.add(path)
    return { handle, stats }
  }
  if (!stats && !handle) return null
  void abandon(remote.connection, opening)
  throw changed(path)
}

export async function statOrNull(sftp: Sftp, path: string): Promise<Stats | null> {
  try {
    return await sftp.lstat(path)
  } catch (error) {
    if (isAbsence(error)) return null
    throw refusal(error, `looking at ${path}`)
  }
}

/** Closes a handle that is not wanted any more. One that never comes means a stuck server: the connection is given up. */
export async function abandon(connection: Connection, opening: Promise<Buffer>): Promise<void> {
  const opened = opening.then(
    (handle) => void connection.sftp.close(handle).catch(() => {}),
    () => {},
  )
  const giveUp = new AbortController()
  const late = pause(abandonedOpenMs, "late", { signal: giveUp.signal })
  late.catch(() => {})
  if ((await Promise.race([opened, late])) === "late") {
    const stuck = new Fault("connection_lost", `The SFTP server of ${connection.whom} is stuck in opening a file.`)
    // Behind the fault of whoever waits for this: of all that they have asked for, that one is to be told.
    process.nextTick(() => connection.fail(stuck))
  }
  giveUp.abort()
}

/** Reads all of it twice and closes it, in one flight. @throws {Fault} `concurrent_modification` */
async function readOpened(
  sftp: Sftp,
  { handle, stats }: Opened,
  path: string,
): Promise<{ bytes: Buffer; after: Stats }> {
  const pipeline = new Pipeline(sftp)
  // One byte more than it is said to have: files of /proc and of some FUSE file systems are said to have none.
  const reading = addReads(pipeline, sftp, handle, stats.size + 1)
  // Even one read may see a part of a write, and times of whole seconds do not always show it.
  const again = addReads(pipeline, sftp, handle, stats.size + 1)
  const after = pipeline.add(() => sftp.fstat(handle))
  void pipeline.add(() => sftp.close(handle))
  await pipeline.run()
  try {
    const bytes = await reading()
    if (!bytes.equals(await again())) throw changed(path)
    return { bytes, after: await after }
  } catch (error) {
    // A directory can be opened: one that took the file's place between the look at it and its opening.
    if (await after.then((told) => !told.isFile()).catch(() => false)) throw changed(path)
    throw refusal(error, `reading ${path}`)
  }
}

/** Asks for `size` bytes. @returns what joins the answers, up to the first that fell short, once the pipeline has run */
export function addReads(pipeline: Pipeline, sftp: Sftp, handle: Buffer, size: number): () => Promise<Buffer> {
  const { readBytes } = sftp
  const chunks: Promise<Buffer>[] = []
  for (let at = 0; at < size; at += readBytes) {
    chunks.push(pipeline.add(() => sftp.read(handle, Math.min(readBytes, size - at), at)))
  }
  return async () => {
    const parts = await Promise.all(chunks)
    const short = parts.findIndex((part, index) => part.length < Math.min(readBytes, size - index * readBytes))
    return Buffer.concat(short === -1 ? parts : parts.slice(0, short + 1))
  }
}

/**
 * For a file that is ours, or was just looked at, of which fewer bytes came than it has: reads it by its name, one read
 * after the other. @returns null when nothing stands there @throws {Fault} as `Session.read`
 */
export function readAgain(connection: Connection, path: string, maxBytes: number): Promise<RemoteFile | null> {
  // Such a path is not seen again: nothing is remembered of it.
  const remote = { connection, regularPaths: new RegularPaths(), stickyDirectories: new StickyDirectories() }
  return readSlowly(remote, path, { maxBytes, followSymlinks: false })
}

/** For a server that answers with less than was asked for: one read after the other, all of it twice. */
async function readSlowly(remote: Remote, path: string, options: ReadOptions): Promise<RemoteFile | null> {
  const { sftp } = remote.connection
  const opened = await openRegular(remote, path, options)
  if (!opened) return null
  const { handle, stats } = opened
  try {
    const bytes = await readInParts(sftp, handle, stats.size)
    const again = await readInParts(sftp, handle, stats.size)
    const after = await sftp.fstat(handle)
    const isSame = bytes.length === stats.size && bytes.equals(again)
    if (!isSame || after.size !== stats.size || after.mtime !== stats.mtime) throw changed(path)
    return fileOf(bytes, after, path)
  } catch (error) {
    throw refusal(error, `reading ${path}`)
  } finally {
    sftp.close(handle).catch(() => {})
  }
}

/** @returns up to `size` bytes; fewer where the file ends before */
async function readInParts(sftp: Sftp, handle: Buffer, size: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  while (length < size) {
    const part = await sftp.read(handle, Math.min(sftp.readBytes, size - length), length)
    if (part.length === 0) break
    parts.push(part)
    length += part.length
  }
  return Buffer.concat(parts)
}

export function fileOf(bytes: Buffer, stats: Stats, realPath: string): RemoteFile {
  const { uid, gid, mtime } = stats
  return { bytes, mode: stats.mode & permissionBits, uid, gid, mtime, realPath }
}

export function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/")
  if (slash === -1) return "."
  return slash === 0 ? "/" : path.slice(0, slash)
}

export function assertReadable(stats: Stats, path: string, options: ReadOptions): void {
  if (!stats.isFile()) {
    throw new Fault("not_a_regular_file", `${path} is ${kindOf(stats)}, not a regular file.`)
  }
  if (stats.size > options.maxBytes) {
    throw new Fault(
      "remote_file_too_large",
      `${path} has ${stats.size} bytes, more than the ${options.maxBytes} that max_bytes of its type allows.`,
    )
  }
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return "a directory"
  if (stats.isSymbolicLink()) return "a symlink (follow_symlinks of its type is off)"
  if (stats.isFIFO()) return "a named pipe"
  if (stats.isSocket()) return "a socket"
  return "a device"
}

function longer(path: string): Fault {
  const sentence = `${path} holds more bytes than the VM says it has, as files of /proc do: it cannot be told when all of it was read.`
  return new Fault("not_a_regular_file", sentence)
}

function changed(path: string): Fault {
  return new Fault("concurrent_modification", `${path} was changed while it was being read.`)
}
