import { type FSWatcher, watch } from "node:fs"
import type { Logger } from "pino"
import type { DocumentValidator } from "../domain/document-validator.ts"

/** Editors write a file in several steps: only the last of them is taken in. */
const settleMs = 200

/** Takes changed schema files in; what does not compile is not taken in, and shown until it does. */
export class SchemaReload {
  readonly #validator: DocumentValidator
  readonly #files: () => ReadonlyMap<string, string>
  readonly #logger: Logger
  readonly #watcher: FSWatcher
  #timer: NodeJS.Timeout | undefined
  #fault: string | null = null

  constructor(dir: string, validator: DocumentValidator, files: () => ReadonlyMap<string, string>, logger: Logger) {
    this.#validator = validator
    this.#files = files
    this.#logger = logger
    this.#watcher = watch(dir, { persistent: false, recursive: false }, () => this.#soon())
    this.#watcher.on("error", (err) =>
      logger.warn({ err }, "the schema directory cannot be watched; send SIGHUP instead"),
    )
  }

  health(): { readonly ok: boolean; readonly detail: string } {
    return this.#fault === null
      ? { ok: true, detail: "The schemas in force are those on disk." }
      : { ok: false, detail: `The schemas on disk were not taken in, older ones are in force: ${this.#fault}` }
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#watcher.close()
  }

  #soon(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#load(), settleMs).unref()
  }

  async #load(): Promise<void> {
    try {
      await this.#validator.load(this.#files())
      this.#fault = null
      this.#logger.info("schemas taken in")
    } catch (error) {
      this.#fault = error instanceof Error ? error.message : "unknown error"
      this.#logger.error({ detail: this.#fault }, "schemas not taken in; older ones stay in force")
    }
  }
}
