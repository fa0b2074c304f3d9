import type { DocumentValidator, SchemaInfo, ValidationReport } from "../domain/document-validator.ts"
import { readSchemas, type SchemaSet } from "./schema-set.ts"
import { SchemaWorker } from "./schema-worker.ts"

export interface AjvValidatorOptions {
  /** Absolute path of the directory that schema files and all they refer to stand in. */
  readonly schemaDir: string
  /** For one document. */
  readonly timeLimitMs?: number
}

const valid: ValidationReport = { errors: [], truncated: false }

/** Schemas that are in force together: read and compiled together, replaced together. */
interface Generation {
  readonly set: SchemaSet
  readonly worker: SchemaWorker
}

/** JSON Schema by Ajv: draft-07, and 2020-12 for what says that or nothing. Nothing is coerced, defaulted or fetched. */
export class AjvValidator implements DocumentValidator {
  readonly #schemaDir: string
  readonly #timeLimitMs: number
  #current: Generation | null = null
  /** Loads wait for each other, so that the last one asked for is the one in force. */
  #loading: Promise<void> = Promise.resolve()
  #closed = false

  constructor({ schemaDir, timeLimitMs = 1000 }: AjvValidatorOptions) {
    this.#schemaDir = schemaDir
    this.#timeLimitMs = timeLimitMs
  }

  schemas(): readonly SchemaInfo[] {
    return this.#current?.set.infos ?? []
  }

  schemaText(type: string): Buffer | null {
    return this.#current?.set.texts.get(type) ?? null
  }

  async validate(type: string, value: unknown): Promise<ValidationReport> {
    const current = this.#current
    if (!current?.set.texts.has(type)) return valid
    return current.worker.validate(type, value)
  }

  load(files: ReadonlyMap<string, string>): Promise<void> {
    const loaded = this.#loading.then(() => this.#load(new Map(files)))
    this.#loading = loaded.catch(() => undefined)
    return loaded
  }

  async #load(files: ReadonlyMap<string, string>): Promise<void> {
    const set = await readSchemas(this.#schemaDir, files)
    const worker = new SchemaWorker(set.plans, this.#timeLimitMs)
    if (set.plans.length > 0) await worker.start()
    if (this.#closed) return worker.close()
    this.#current?.worker.retire()
    this.#current = { set, worker }
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#loading
    await this.#current?.worker.close()
  }
}
