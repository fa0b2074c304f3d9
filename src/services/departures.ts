import type { Catalog } from "../domain/catalog.ts"
import { type ConfigRef, keyOf } from "../domain/config-type.ts"
import { isFault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { DepartureNote } from "../domain/notes.ts"

/** Whether the settings give a config a VM, a type and a path; a disabled VM is in them. */
export function isInSettings(inventory: Inventory, ref: ConfigRef): boolean {
  try {
    inventory.locate(ref)
    return true
  } catch (error) {
    if (isFault(error)) return false
    throw error
  }
}

/** Notes that a config was there and left again. */
export function bothWays(note: Omit<DepartureNote, "left">): readonly DepartureNote[] {
  return [false, true].map((left) => ({ ...note, left }))
}

/**
 * Makes the catalog say which configs have left the settings, and when.
 * @returns how many were not so, and what the catalog alone knows, as notes @throws {Fault} as Catalog
 */
export async function applyDepartures(
  catalog: Catalog,
  noted: ReadonlyMap<string, DepartureNote>,
): Promise<[number, readonly DepartureNote[]]> {
  const rows = new Map((await catalog.departures()).map((row) => [keyOf(row), row]))
  const changes = [...noted].flatMap(([key, { vmId, type, at, left }]) => {
    const leftAt = left ? at : null
    if ((rows.get(key)?.leftAt ?? null) === leftAt) return []
    // A row keeps its first day: another one takes its place only once it is gone.
    return [{ vmId, type, leftAt: null }, ...(left ? [{ vmId, type, leftAt }] : [])]
  })
  if (changes.length > 0) await catalog.noteDepartures(changes)
  const lost = [...rows].filter(([key]) => !noted.has(key))
  return [
    new Set(changes.map(keyOf)).size,
    lost.map(([, { vmId, type, leftAt }]) => ({ at: leftAt, vmId, type, left: true })),
  ]
}
