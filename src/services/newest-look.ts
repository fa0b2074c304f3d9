import type { Catalog } from "../domain/catalog.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import type { Inventory } from "../domain/inventory.ts"
import { isHollow } from "../domain/retention.ts"
import type { Verifier } from "./verifier.ts"
import { typeOfVersion } from "./version-type.ts"

interface Parts {
  readonly catalog: Pick<Catalog, "versionsOf">
  readonly verifier: Pick<Verifier, "look">
  readonly inventory: () => Inventory
}

/**
 * Looks at the newest version of a config that has taken another's place, and at the one before where it does not open, until
 * one does: what its row says may be a month old, and older ones must not go because of one that rotted since.
 * @returns false: the store could not be asked @throws {Fault} as Catalog
 */
export async function lookAtNewest(ref: ConfigRef, { catalog, verifier, inventory }: Parts): Promise<boolean> {
  for (const version of (await catalog.versionsOf(ref)).toReversed()) {
    if (isHollow(version)) continue
    const state = await verifier.look(version, typeOfVersion(inventory(), version.type))
    if (state === null || state === "ok") return state === "ok"
  }
  return true
}
