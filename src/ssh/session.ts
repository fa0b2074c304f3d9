import { Fault } from "../domain/fault.ts"
import type {
  CommandResult,
  PathProbe,
  ReadOptions,
  RemoteFile,
  Session,
  StagedFile,
  StageReport,
  SwapPaths,
  SwapReport,
} from "../domain/transport.ts"
import { listDirectory, makeDirectory } from "./directories.ts"
import { probePath } from "./probe-path.ts"
import { type Remote, readFile, resolveDirectory, statOrNull } from "./read-file.ts"
import { requirePlace } from "./require-place.ts"
import { type CommandLimits, runCommand } from "./run-command.ts"
import { stageFile } from "./stage-file.ts"
import { removeFiles, renameFile, swapFile, syncDirectory } from "./swap-file.ts"
import { unlessAborted } from "./waiting.ts"

// biome-ignore lint/suspicious/noControlCharactersInRegex: a NUL in a path ends an SFTP session, a line break forges log lines
const controlCharacters = /[\u0000-\u001f\u007f]/

export interface SessionOptions {
  readonly callTimeoutMs: number
  /** Gives the lease back. */
  readonly release: () => void
}

/** A lease on a pooled connection. Work that a caller stops waiting for goes on to its end under the same deadline. */
export class SshSession implements Session {
  readonly #remote: Remote
  readonly #options: SessionOptions
  #closed = false

  constructor(remote: Remote, options: SessionOptions) {
    this.#remote = remote
    this.#options = options
  }

  get dead(): boolean {
    return this.#closed || this.#remote.connection.fault !== null
  }

  read(path: string, options: ReadOptions, signal?: AbortSignal): Promise<RemoteFile | null> {
    return this.#call([path], () => readFile(this.#remote, path, options), signal)
  }

  async exists(path: string, signal?: AbortSignal): Promise<boolean> {
    const { sftp } = this.#remote.connection
    return (await this.#call([path], () => statOrNull(sftp, path), signal)) !== null
  }

  realPathOf(path: string, signal?: AbortSignal): Promise<string> {
    const { sftp } = this.#remote.connection
    return this.#call([path], () => resolveDirectory(sftp, path), signal)
  }

  requirePlace(path: string, signal?: AbortSignal): Promise<void> {
    const { sftp } = this.#remote.connection
    return this.#call([path], () => requirePlace(sftp, path), signal)
  }

  stage(stagingPath: string, file: StagedFile, signal?: AbortSignal): Promise<StageReport> {
    return this.#call([stagingPath], () => stageFile(this.#remote, stagingPath, file, signal), signal)
  }

  swap(paths: SwapPaths, options: ReadOptions): Promise<SwapReport> {
    const all = [paths.path, paths.stagingPath, paths.oldPath]
    return this.#call(all, () => swapFile(this.#remote, paths, options))
  }

  rename(from: string, to: string, aside?: string): Promise<void> {
    const paths = aside === undefined ? [from, to] : [from, to, aside]
    return this.#call(paths, () => renameFile(this.#remote, from, to, aside))
  }

  syncDirectory(path: string): Promise<void> {
    return this.#call([path], () => syncDirectory(this.#remote, path))
  }

  remove(paths: readonly string[]): Promise<void> {
    return this.#call(paths, () => removeFiles(this.#remote, paths))
  }

  list(path: string, signal?: AbortSignal): Promise<readonly string[] | null> {
    return this.#call([path], () => listDirectory(this.#remote, path), signal)
  }

  makeDirectory(path: string): Promise<void> {
    return this.#call([path], () => makeDirectory(this.#remote, path))
  }

  probe(
    path: string,
    options: ReadOptions & { readonly keepOwner: boolean },
    signal?: AbortSignal,
  ): Promise<PathProbe> {
    return this.#call([path], () => probePath(this.#remote, path, options), signal)
  }

  run(command: string, limits: CommandLimits, signal?: AbortSignal): Promise<CommandResult> {
    // Its time is its own: a command may take longer than a call.
    const refusal = this.#refusal([], signal)
    return refusal ?? unlessAborted(runCommand(this.#remote.connection, command, limits), signal)
  }

  abandon(): void {
    // Once the lease is given back the connection is for others.
    if (this.#closed) return
    const { connection } = this.#remote
    connection.fail(
      new Fault("connection_lost", `The connection to ${connection.whom} was given up: its time was over.`),
    )
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#options.release()
  }

  #call<T>(paths: readonly string[], work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const { connection } = this.#remote
    const { callTimeoutMs } = this.#options
    const refusal = this.#refusal(paths, signal)
    if (refusal) return refusal
    const timer = setTimeout(() => {
      const sentence = `${connection.whom} did not answer within ${callTimeoutMs / 1000} s; the connection was given up.`
      connection.fail(new Fault("vm_timeout", sentence))
    }, callTimeoutMs)
    const settled = connection.noteCall({ lateAt: performance.now() + callTimeoutMs / 2, signal })
    return unlessAborted(
      work().finally(() => {
        clearTimeout(timer)
        settled()
      }),
      signal,
    )
  }

  #refusal(paths: readonly string[], signal: AbortSignal | undefined): Promise<never> | null {
    const { whom } = this.#remote.connection
    if (this.dead) return Promise.reject(new Fault("connection_lost", `This session with ${whom} has ended.`))
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (!paths.some((path) => controlCharacters.test(path))) return null
    return Promise.reject(new Fault("vm_unsupported", "A path with control characters is not sent to a VM."))
  }
}
