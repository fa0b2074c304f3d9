import type { DocumentError } from "./fault.ts"

export interface SchemaInfo {
  readonly type: string
  /** Relative to `schema_dir`. */
  readonly file: string
  readonly digest: string
  readonly title: string | null
  /** Whether any place is marked `x-secret: true` or `writeOnly: true`. */
  readonly hasSecrets: boolean
}

export interface ValidationReport {
  /** At most 100; empty: valid. */
  readonly errors: readonly DocumentError[]
  readonly truncated: boolean
}

/** JSON Schemas, compiled once, run with a time limit. Every implementation passes test/contracts/document-validator.ts. */
export interface DocumentValidator {
  /** The schemas now in force, by type. */
  schemas(): readonly SchemaInfo[]

  /** The file's own bytes; null: the type has no schema. */
  schemaText(type: string): Buffer | null

  /**
   * A type without a schema: no errors. Messages never echo values.
   * @throws {Fault} `config_too_complex` when the schema runs past its time on this value
   */
  validate(type: string, value: unknown): Promise<ValidationReport>

  /**
   * Reads and compiles all schema files anew; all or nothing.
   * @param files type -> file under `schema_dir`
   * @throws {Error} a sentence that names each file that is missing or does not compile; what was in force stays
   */
  load(files: ReadonlyMap<string, string>): Promise<void>

  close(): Promise<void>
}
