import { type FSWatcher, watch } from "node:fs"
import { dirname, join } from "node:path"
import type { Logger } from "pino"
import type { DocumentValidator } from "../domain/document-validator.ts"
import { Turns } from "../services/turns.ts"

/** Editors write a file in several steps: only the last of them is taken in. */
const settleMs = 200

/** Takes changed schema files in; what does not compile is not taken in, and shown until it does. */
export class SchemaReload {
  readonly #dir: string
  readonly #validator: DocumentValidator
  readonly #files: () => ReadonlyMap<string, string>
  readonly #logger: Logger
  readonly #watchers: FSWatcher[] = []
  /** A directory cannot be watched. */
  #isBlind = false
  #timer: NodeJS.Timeout | undefined
  #fault: string | null = null
  #closed = false
  /** Which files the settings name is asked for only when those of a reload before are in force. */
  readonly #turns = new Turns()

  constructor(dir: string, validator: DocumentValidator, files: () => ReadonlyMap<string, string>, logger: Logger) {
    this.#dir = dir
    this.#validator = validator
    this.#files = files
    this.#logger = logger
    this.#watch(files().values())
  }

  health(): { readonly ok: boolean; readonly detail: string } {
    if (this.#fault !== null) {
      return { ok: false, detail: `The schemas on disk were not taken in, older ones are in force: ${this.#fault}` }
    }
    if (this.#isBlind) {
      return { ok: true, detail: "Changes of schemas on disk are not noticed: send SIGHUP after one." }
    }
    return { ok: true, detail: "The schemas in force are those on disk." }
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.#unwatch()
  }

  /**
   * Watches the directories of `files` as they stand now: one that was put in the place of another is watched by nobody yet.
   * One that is missing, or a limit of inotify, is no reason to end the service.
   */
  #watch(files: Iterable<string>): void {
    this.#unwatch()
    for (const dir of new Set([this.#dir, ...[...files].map((file) => dirname(join(this.#dir, file)))])) {
      const tell = (error: unknown): void => {
        this.#isBlind = true
        const code = (error as NodeJS.ErrnoException).code ?? "unknown error"
        this.#logger.warn(`${dir} cannot be watched (${code}): send SIGHUP after a schema has changed there`)
      }
      try {
        const watcher = watch(dir, { persistent: false, recursive: false }, () => this.#soon())
        this.#watchers.push(watcher)
        watcher.on("error", (error) => {
          watcher.close()
          tell(error)
        })
      } catch (error) {
        tell(error)
      }
    }
  }

  #unwatch(): void {
    this.#isBlind = false
    for (const watcher of this.#watchers.splice(0)) watcher.close()
  }

  #soon(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#load(), settleMs).unref()
  }

  /**
   * Takes schema files in that the settings name anew.
   * @param adopt puts those settings in force
   * @throws {Error} a sentence: those in force stay
   */
  takeIn(files: ReadonlyMap<string, string>, adopt: () => void): Promise<void> {
    return this.#turns.take(async () => {
      await this.#compile(files)
      adopt()
    })
  }

  async #compile(files: ReadonlyMap<string, string>): Promise<void> {
    // Before they are read, so that what changes from then on is noticed; those in force as well, which stay where these are refused.
    if (!this.#closed) this.#watch([...files.values(), ...this.#files().values()])
    await this.#validator.load(files)
    this.#fault = null
  }

  async #load(): Promise<void> {
    try {
      await this.#turns.take(() => this.#compile(this.#files()))
      this.#logger.info("schemas taken in")
    } catch (error) {
      this.#fault = error instanceof Error ? error.message : "unknown error"
      this.#logger.error({ detail: this.#fault }, "schemas not taken in; older ones stay in force")
    }
  }
}
