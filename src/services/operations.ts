import type { Catalog, JsonPage, OperationFilter, PageRequest } from "../domain/catalog.ts"
import { Fault } from "../domain/fault.ts"
import type { Operation } from "../domain/operation.ts"

/** What happened: every attempt at a change, with how it ended. */
export class Operations {
  readonly #catalog: Catalog

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  list(filter: OperationFilter, page: PageRequest): Promise<JsonPage> {
    return this.#catalog.listOperations(filter, page)
  }

  /** @throws {Fault} `operation_not_found` */
  async get(operationId: string): Promise<Operation> {
    const operation = await this.#catalog.getOperation(operationId)
    if (!operation)
      throw new Fault(
        "operation_not_found",
        `No operation "${operationId}" is in the catalog; GET /operations lists those that are.`,
      )
    return operation
  }
}
