import type { DocumentValidator, SchemaInfo } from "../domain/document-validator.ts"
import { Fault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"

/** The JSON Schemas in force. */
export class Schemas {
  readonly #validator: DocumentValidator
  readonly #inventory: () => Inventory

  constructor(validator: DocumentValidator, inventory: () => Inventory) {
    this.#validator = validator
    this.#inventory = inventory
  }

  /** By type name. */
  list(): readonly SchemaInfo[] {
    return [...this.#validator.schemas()].sort((a, b) => (a.type < b.type ? -1 : 1))
  }

  /** The file's own bytes. @throws {Fault} `schema_not_found`, `config_type_not_found` */
  text(type: string): { readonly bytes: Buffer; readonly digest: string } {
    this.#inventory().type(type)
    const bytes = this.#validator.schemaText(type)
    const info = this.#validator.schemas().find((schema) => schema.type === type)
    if (!bytes || !info) throw new Fault("schema_not_found", `Config type "${type}" has no schema.`)
    return { bytes, digest: info.digest }
  }
}
