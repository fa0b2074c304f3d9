import { posix } from "node:path"
import { setImmediate as turn } from "node:timers/promises"
import { Fault, isFault } from "../../src/domain/fault.ts"
import type {
  Check,
  CommandResult,
  PathProbe,
  ReadOptions,
  RemoteFile,
  Seen,
  Session,
  StagedFile,
  StageReport,
  SwapPaths,
  SwapReport,
} from "../../src/domain/transport.ts"
import {
  check,
  directory,
  file,
  type MemoryConnection,
  type MemoryFile,
  type MemoryTransport,
  type Step,
} from "./memory-transport.ts"

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const controlCharacters = /[\u0000-\u001f\u007f]/
const maxSymlinks = 40
const ownerMayRead = 0o400

/** A session of `MemoryTransport`. */
export class MemorySession implements Session {
  readonly #fleet: MemoryTransport
  readonly #vmId: string
  readonly #connection: MemoryConnection
  #closed = false

  constructor(fleet: MemoryTransport, vmId: string, connection: MemoryConnection) {
    this.#fleet = fleet
    this.#vmId = vmId
    this.#connection = connection
  }

  get dead(): boolean {
    return this.#closed || this.#connection.broken
  }

  read(path: string, options: ReadOptions, signal?: AbortSignal): Promise<RemoteFile | null> {
    return this.#call("read", [path], signal, () => {
      const realPath = options.followSymlinks ? this.#resolve(path) : this.#inItsDirectory(path)
      const found = this.#at(realPath)
      if (!found) return null
      if (found.kind !== "file") throw new Fault("not_a_regular_file", `${path} is no regular file.`)
      if (found.bytes.length > options.maxBytes) throw new Fault("remote_file_too_large", `${path} is too large.`)
      return remoteFile(found, realPath)
    })
  }

  exists(path: string, signal?: AbortSignal): Promise<boolean> {
    return this.#call("exists", [path], signal, () => this.#at(path) !== null)
  }

  realPathOf(path: string, signal?: AbortSignal): Promise<string> {
    return this.#call("realPathOf", [path], signal, () => this.#inItsDirectory(path))
  }

  requirePlace(path: string, signal?: AbortSignal): Promise<void> {
    return this.#call("requirePlace", [path], signal, () => {
      // Directories are there where files are; what stands in the place of one is no directory.
      const around = this.#at(posix.dirname(this.#inItsDirectory(path)))
      if (around && around.kind !== "directory") throw new Fault("write_failed", `${path} stands in no directory.`)
      if (posix.basename(path).length > 255) throw new Fault("write_failed", `${path} is too long.`)
    })
  }

  stage(stagingPath: string, staged: StagedFile, signal?: AbortSignal): Promise<StageReport> {
    return this.#call("stage", [stagingPath], signal, () => this.#stage(stagingPath, staged))
  }

  swap(paths: SwapPaths, options: ReadOptions): Promise<SwapReport> {
    const all = [paths.path, paths.stagingPath, paths.oldPath]
    return this.#call("swap", all, undefined, () => this.#swap(paths, options))
  }

  rename(from: string, to: string, aside?: string): Promise<void> {
    const paths = aside === undefined ? [from, to] : [from, to, aside]
    return this.#call("rename", paths, undefined, () => this.#rename(from, to, aside))
  }

  syncDirectory(path: string): Promise<void> {
    return this.#call("syncDirectory", [path], undefined, () => {})
  }

  remove(paths: readonly string[]): Promise<void> {
    return this.#call("remove", paths, undefined, () => {
      for (const path of paths) {
        if (this.#at(path)?.kind === "directory") throw new Fault("write_failed", `${path} is a directory.`)
        this.#fleet.files.delete(this.#key(path))
      }
    })
  }

  list(path: string, signal?: AbortSignal): Promise<readonly string[] | null> {
    return this.#call("list", [path], signal, () => {
      const prefix = this.#key(`${path}/`)
      const below = [...this.#fleet.files.keys()].filter((key) => key.startsWith(prefix))
      if (below.length === 0 && this.#at(path)?.kind !== "directory") return null
      return [...new Set(below.map((key) => key.slice(prefix.length).split("/")[0] ?? ""))].sort()
    })
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call("makeDirectory", [path], undefined, () => {
      const found = this.#at(path)
      if (found && found.kind !== "directory") throw new Fault("write_failed", `${path} is no directory.`)
      if (!found) this.#fleet.files.set(this.#key(path), directory())
    })
  }

  probe(
    path: string,
    options: ReadOptions & { readonly keepOwner: boolean },
    signal?: AbortSignal,
  ): Promise<PathProbe> {
    return this.#call("probe", [path], signal, () => {
      const found = this.#at(options.followSymlinks ? this.#resolve(path) : path)
      const checks: Check[] = [
        check("file", found === null || found.kind === "file", `${path} must be a regular file, or nothing.`),
        check("directory", true, "Files can be created beside it."),
      ]
      const owned = this.#fleet.mayGiveOwners || found === null || this.#isOwn(found)
      if (found && options.keepOwner) checks.push(check("owner", owned, "The owner must be kept."))
      return { checks }
    })
  }

  run(command: string, _limits: unknown, signal?: AbortSignal): Promise<CommandResult> {
    return this.#call("run", [], signal, () => this.#fleet.onCommand(this.#vmId, command))
  }

  abandon(): void {
    if (!this.#closed) this.#fleet.breakConnection(this.#vmId)
  }

  close(): void {
    this.#closed = true
  }

  #stage(stagingPath: string, { bytes, mode, owner, keepOwner }: StagedFile): StageReport {
    if (this.#at(stagingPath)) throw new Fault("write_failed", `${stagingPath} stands there already.`)
    const { user, mayGiveOwners } = this.#fleet
    const ownerKept = owner === null || mayGiveOwners || this.#isOwn(owner)
    if (!ownerKept && keepOwner) {
      throw new Fault("vm_permission_denied", "The owner cannot be kept: set become, or keep_owner: false.")
    }
    const { uid, gid } = owner !== null && ownerKept ? owner : user
    if (uid === user.uid && (mode & ownerMayRead) === 0) {
      throw new Fault("vm_permission_denied", "The SSH user could not read it any more.")
    }
    this.#fleet.files.set(this.#key(stagingPath), file(bytes, mode, { uid, gid }))
    return { uid, gid, ownerKept }
  }

  #swap({ path, stagingPath, oldPath, replaces }: SwapPaths, { maxBytes }: ReadOptions): SwapReport {
    const { files, hardLinks } = this.#fleet
    const before = this.#at(path)
    const staged = this.#at(stagingPath)
    if (before?.kind === "directory") throw new Fault("not_a_regular_file", `${path} is a directory.`)
    if (before && !replaces) throw new Fault("concurrent_modification", `${path} was created in the meantime.`)
    if (replaces && hardLinks && before && !this.#at(oldPath)) files.set(this.#key(oldPath), before)
    const old = replaces ? this.#at(oldPath) : null
    if (!staged) throw new Fault("write_failed", `${stagingPath} is missing.`)
    files.set(this.#key(path), staged)
    files.delete(this.#key(stagingPath))
    return { live: seen(staged, path, maxBytes), old: old && seen(old, oldPath, maxBytes) }
  }

  #rename(from: string, to: string, aside?: string): void {
    const found = this.#at(from)
    if (!found || this.#at(to)?.kind === "directory") throw new Fault("write_failed", `${from} cannot become ${to}.`)
    const replaced = this.#at(to)
    if (aside !== undefined && replaced && this.#fleet.hardLinks && !this.#at(aside)) {
      this.#fleet.files.set(this.#key(aside), replaced)
    }
    this.#fleet.files.delete(this.#key(from))
    this.#fleet.files.set(this.#key(to), found)
  }

  async #call<T>(step: Step, paths: readonly string[], signal: AbortSignal | undefined, work: () => T): Promise<T> {
    this.#assertAlive()
    signal?.throwIfAborted()
    if (paths.some((path) => controlCharacters.test(path))) {
      throw new Fault("vm_unsupported", "A path with control characters is not sent to a VM.")
    }
    try {
      return await this.#fleet.takeStep(
        { step, vmId: this.#vmId, paths: step === "swap" ? paths.slice(0, 1) : paths },
        () => this.#underWay(signal, work),
      )
    } catch (error) {
      // As with a real one: a call that is given up says so, whatever became of it.
      if (isFault(error, "connection_lost")) throw error
      signal?.throwIfAborted()
      throw error
    }
  }

  /** A turn of the event loop each way: the caller can hang up and the connection can break in between. */
  async #underWay<T>(signal: AbortSignal | undefined, work: () => T): Promise<T> {
    await turn()
    this.#assertAlive()
    signal?.throwIfAborted()
    return work()
  }

  #assertAlive(): void {
    if (this.dead) throw new Fault("connection_lost", `This session with VM "${this.#vmId}" has ended.`)
  }

  #key(path: string): string {
    return `${this.#vmId}:${this.#inItsDirectory(path)}`
  }

  #at(path: string): MemoryFile | null {
    return this.#fleet.files.get(this.#key(path)) ?? null
  }

  #resolve(path: string): string {
    let current = this.#inItsDirectory(path)
    for (let hops = 0; hops < maxSymlinks; hops++) {
      const found = this.#at(current)
      if (found?.kind !== "symlink") return current
      current = this.#inItsDirectory(posix.resolve(posix.dirname(current), found.target))
    }
    return current
  }

  /** The path with the symlinks of its directory followed. */
  #inItsDirectory(path: string): string {
    let current = path
    for (let hops = 0; hops < maxSymlinks; hops++) {
      const link = this.#symlinkOnTheWay(current)
      if (!link) return current
      current = `${posix.resolve(posix.dirname(link.path), link.target)}${current.slice(link.path.length)}`
    }
    return current
  }

  #symlinkOnTheWay(path: string): { readonly path: string; readonly target: string } | null {
    for (let end = path.indexOf("/", 1); end !== -1; end = path.indexOf("/", end + 1)) {
      const found = this.#fleet.files.get(`${this.#vmId}:${path.slice(0, end)}`)
      if (found?.kind === "symlink") return { path: path.slice(0, end), target: found.target }
    }
    return null
  }

  #isOwn({ uid, gid }: { readonly uid: number; readonly gid: number }): boolean {
    return uid === this.#fleet.user.uid && gid === this.#fleet.user.gid
  }
}

function seen(found: MemoryFile, path: string, maxBytes: number): Seen {
  return found.kind === "file" && found.bytes.length <= maxBytes ? remoteFile(found, path) : "odd"
}

/** A copy: what was read stays what it was. */
function remoteFile({ bytes, mode, uid, gid, mtime }: MemoryFile, realPath: string): RemoteFile {
  return { bytes: Buffer.from(bytes), mode, uid, gid, mtime, realPath }
}
