import type { Catalog } from "../../src/domain/catalog.ts"
import { listContract } from "./catalog-lists.ts"
import { operationContract } from "./catalog-operations.ts"
import { versionContract } from "./catalog-versions.ts"

export interface CatalogUnderTest {
  readonly catalog: Catalog
  close(): Promise<void>
}

/** What every Catalog does; `make` gives an empty one. */
export function catalogContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  operationContract(name, make)
  versionContract(name, make)
  listContract(name, make)
}
