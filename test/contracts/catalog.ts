import type { Catalog } from "../../src/domain/catalog.ts"
import type { CopyCatalog } from "../../src/domain/copies.ts"
import { copyContract } from "./catalog-copies.ts"
import { keepingContract } from "./catalog-keeping.ts"
import { listContract } from "./catalog-lists.ts"
import { operationContract } from "./catalog-operations.ts"
import { runContract } from "./catalog-runs.ts"
import { versionContract } from "./catalog-versions.ts"

export interface CatalogUnderTest {
  readonly catalog: Catalog & CopyCatalog
  close(): Promise<void>
}

/** What every Catalog does; `make` gives an empty one. */
export function catalogContract(name: string, make: () => Promise<CatalogUnderTest>): void {
  operationContract(name, make)
  versionContract(name, make)
  listContract(name, make)
  keepingContract(name, make)
  runContract(name, make)
  copyContract(name, make)
}
