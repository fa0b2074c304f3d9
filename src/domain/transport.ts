import type { Vm } from "./vm.ts"

/** A regular file on a VM, read whole. */
export interface RemoteFile {
  readonly bytes: Buffer
  /** Permission bits only, e.g. 0o640. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Modification time, seconds since 1970. */
  readonly mtime: number
  /** The file itself: `path` with the symlinks of its directory followed, and its own where they are. */
  readonly realPath: string
}

export interface ReadOptions {
  readonly maxBytes: number
  /** False: a symlink is `not_a_regular_file`. */
  readonly followSymlinks: boolean
}

/** What to write beside the live file. */
export interface StagedFile {
  readonly bytes: Buffer
  readonly mode: number
  /** null: the SSH user's own. */
  readonly owner: { readonly uid: number; readonly gid: number } | null
  /** True: not being able to give `owner` is a fault; false: the file stays the SSH user's. */
  readonly keepOwner: boolean
}

export interface StageReport {
  /** The staged file's owner, as the VM told it (`fstat`). */
  readonly uid: number
  readonly gid: number
  /** False only where `keepOwner` is false and the owner could not be given. */
  readonly ownerKept: boolean
}

/**
 * What stood at a path when it was looked at: the file as it was read; `null`: nothing; "odd": something that is no regular
 * file within `maxBytes`, or that the SSH user may not read. Bytes are never made up, cut or padded.
 */
export type Seen = RemoteFile | "odd" | null

/** What stood where right after the swap, read through the same channel. */
export interface SwapReport {
  readonly live: Seen
  /** Under the second name of the file that was replaced, whatever the VM said of making it; null: nothing. */
  readonly old: Seen
}

export interface CommandResult {
  /** null: ended by a signal. */
  readonly exitCode: number | null
  /** stdout and stderr, cut at `maxOutputBytes`. */
  readonly output: string
}

/** What `POST /vms/:vmId/check` learns of one path. `detail`s are sentences for an operator. */
export interface PathProbe {
  readonly checks: readonly Check[]
}

export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly detail: string
  readonly durationMs: number
}

/**
 * A lease on the one pooled connection to a VM. Every implementation passes test/contracts/transport.ts.
 *
 * Every method ends within `callTimeoutMs` of the Transport, whatever the peer does; running out of time or losing the
 * connection destroys the connection and rejects with `vm_timeout` or `connection_lost`; the session is dead then
 * (`dead` is true, each further call rejects at once with `connection_lost`): open another.
 * A signal that aborts rejects with its reason and leaves the connection usable.
 * Paths with control characters are refused with `vm_unsupported` before anything is sent.
 *
 * Faults of all methods besides those named: `vm_permission_denied`, `connection_lost`, `vm_timeout`, `vm_disk_full`, `write_failed`.
 */
export interface Session {
  readonly dead: boolean

  /**
   * Reads a regular file whole (`lstat` before `open`, a second `fstat` after the last byte).
   * @returns null when nothing stands at `path`
   * @throws {Fault} `not_a_regular_file`, `remote_file_too_large`; `concurrent_modification` when it changed while it was read
   */
  read(path: string, options: ReadOptions, signal?: AbortSignal): Promise<RemoteFile | null>

  /** Whether anything at all stands at `path` (`lstat`). */
  exists(path: string, signal?: AbortSignal): Promise<boolean>

  /**
   * `path` with the symlinks of its directory followed, its own name as it is, whether anything stands there or not: it goes on
   * to name the same place when one of them is led elsewhere. `path` as it is where its directory does not stand.
   */
  realPathOf(path: string, signal?: AbortSignal): Promise<string>

  /**
   * Refuses a place where nothing could be created whatever is sent: its directory does not stand, or the name is too long. Changes
   * nothing, and takes no notice of what stands there. @throws {Fault} `write_failed`
   */
  requirePlace(path: string, signal?: AbortSignal): Promise<void>

  /**
   * Writes `file` at `stagingPath`: created with O_EXCL and 0600, all bytes, owner, mode, `fsync@openssh.com`, read back
   * through the handle and compared. If it rejects on a live session nothing is left behind.
   * @throws {Fault} `vm_permission_denied` (naming `become` and `keep_owner` where it is the owner; also where the SSH user could
   *   not read it again with its mode and owner), `vm_disk_full`, `write_failed`
   */
  stage(stagingPath: string, file: StagedFile, signal?: AbortSignal): Promise<StageReport>

  /**
   * Puts the staged file in place at once: a second name `oldPath` for the live file (`hardlink@openssh.com`, skipped when
   * `replaces` is false, or the directory is sticky and neither it nor the file the SSH user's, who is not root; tolerated when
   * refused), `posix-rename@openssh.com`, fsync of the directory (where the SSH user may read it and its file system knows such
   * a thing: else the rename is as durable as that makes it by itself), both files read back (`maxBytes` of `options` counts;
   * symlinks are never followed). Cannot be cancelled.
   * @throws {Fault} `connection_lost`, `vm_timeout`: the outcome is unknown, ask another session.
   *   Any other fault: the rename was refused; the live file is as it was and the staging file still stands, unless it was done
   *   all the same, as where only what it left could not be read. What stands at `oldPath` is left there.
   */
  swap(paths: SwapPaths, options: ReadOptions): Promise<SwapReport>

  /**
   * Renames `from` over `to` and fsyncs the directory (as `swap`). Cannot be cancelled.
   * @param aside a second name for what is replaced, as `oldPath` of `swap`; left where it is @throws {Fault} as `swap`
   */
  rename(from: string, to: string, aside?: string): Promise<void>

  /** Makes what a rename to `path` left durable, where its answer was lost: fsyncs the directory (as `swap`). Cannot be cancelled. */
  syncDirectory(path: string): Promise<void>

  /** Removes each path; one where nothing stands counts as removed. Cannot be cancelled. */
  remove(paths: readonly string[]): Promise<void>

  /** The names in a directory, sorted; null where none stands, or something else. */
  list(path: string, signal?: AbortSignal): Promise<readonly string[] | null>

  /** Makes a directory, 0700, and its name durable (as `swap`); one that stands there stays as it is. */
  makeDirectory(path: string): Promise<void>

  /** Finds out what a push to `path` could do, by trying: a probe file is made beside it and removed. Never rejects but for a dead session. */
  probe(path: string, options: ReadOptions & { readonly keepOwner: boolean }, signal?: AbortSignal): Promise<PathProbe>

  /** Runs a command whose text comes from us or the settings only, never from a request. */
  run(
    command: string,
    options: { readonly timeoutMs: number; readonly maxOutputBytes: number },
    signal?: AbortSignal,
  ): Promise<CommandResult>

  /** Gives the connection up: what is pending, and each later call, rejects with `connection_lost`. Synchronous, repeatable, never fails. */
  abandon(): void

  /** Gives the lease back. Synchronous, repeatable, never fails. */
  close(): void
}

export interface SwapPaths {
  readonly path: string
  readonly stagingPath: string
  readonly oldPath: string
  /** Whether a live file stands at `path`. */
  readonly replaces: boolean
}

export interface OpenOptions {
  /** SFTP by `sudo -n sftp-server`. */
  readonly become: boolean
  readonly sftpServer: string | null
  readonly signal?: AbortSignal
}

export interface Transport {
  /**
   * A session on the VM's pooled connection, made if there is none.
   * @throws {Fault} `vm_unreachable` (within `connect_timeout`; at once while the circuit is open), `vm_auth_failed`,
   *   `host_key_mismatch`, `host_key_unknown` (no authentication was tried), `vm_unsupported`, `config_busy` (no slot in time)
   */
  open(vm: Vm, options: OpenOptions): Promise<Session>

  /** The steps of a connection, each as a check (connect, host key, auth, SFTP extensions), over a new connection. Never rejects. */
  check(vm: Vm, signal?: AbortSignal): Promise<readonly Check[]>

  /** Ends the connections of VMs that are not among `vms` any more, or differ. */
  retain(vms: readonly Vm[]): void

  /** Ends every connection. Further calls reject with `shutting_down`. */
  close(): Promise<void>
}
