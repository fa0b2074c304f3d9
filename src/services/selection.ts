import type { ConfigRef } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { Vm } from "../domain/vm.ts"

/** Which VMs are meant: those named and those that carry all labels, or all there are; less those excluded (API 9). */
export interface Selection {
  readonly vmIds?: readonly string[]
  readonly labels?: Readonly<Record<string, string>>
  readonly all?: true
  readonly exclude?: readonly string[]
}

/**
 * The VMs of a selection, in the order of their ids. A disabled VM is among them only where it is named: who says "all"
 * means those that are in service.
 * @throws {Fault} `invalid_body` for an id that the settings do not name, also to exclude: a slip there would change a VM
 *   that was to be left alone
 */
export function selectVms(select: Selection, inventory: Inventory): readonly Vm[] {
  const { vmIds = [], labels, all = false, exclude = [] } = select
  if (all && (vmIds.length > 0 || labels)) {
    throw wrong("/select/all", "stands for itself: leave out vmIds and labels, or leave out all")
  }
  const known = new Set(inventory.vms.map(({ vmId }) => vmId))
  requireKnown("/select/vmIds", vmIds, known)
  requireKnown("/select/exclude", exclude, known)
  const named = new Set(vmIds)
  const excluded = new Set(exclude)
  return inventory.vms.filter((vm) => {
    if (excluded.has(vm.vmId)) return false
    return named.has(vm.vmId) || (vm.enabled && (all || (labels !== undefined && carries(vm, labels))))
  })
}

/**
 * The configs of `types` (null: of every type) that the VMs of a selection have a path for.
 * @throws {Fault} `invalid_body` as `selectVms`, for a type that the settings do not name, and where nothing is left
 */
export function selectConfigs(
  select: Selection,
  types: readonly string[] | null,
  inventory: Inventory,
): readonly ConfigRef[] {
  const known = new Set(inventory.types.map(({ type }) => type))
  requireKnown("/types", types ?? [], known)
  const wanted = types === null ? known : new Set(types)
  const configs = selectVms(select, inventory).flatMap((vm) => {
    const mapped = inventory.types.filter(({ type }) => wanted.has(type) && inventory.pathOf(vm, type) !== null)
    return mapped.map(({ type }) => ({ vmId: vm.vmId, type }))
  })
  if (configs.length === 0) throw wrong("/select", "names no config that the settings have a path for")
  return configs
}

function carries(vm: Vm, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(labels).every(([name, value]) => vm.labels[name] === value)
}

function requireKnown(pointer: string, names: readonly string[], known: ReadonlySet<string>): void {
  const unknown = names.flatMap((name, index) => (known.has(name) ? [] : [{ name, pointer: `${pointer}/${index}` }]))
  const [first] = unknown
  if (!first) return
  const errors = unknown
    .slice(0, 100)
    .map((each) => ({ pointer: each.pointer, message: "does not stand in the settings" }))
  const text = `The body at ${first.pointer} names "${first.name}", which does not stand in the settings.`
  throw new Fault("invalid_body", text, { errors, ...(unknown.length > 100 && { truncated: true }) })
}

function wrong(pointer: string, message: string): Fault {
  return new Fault("invalid_body", `The body at ${pointer} ${message}.`, { errors: [{ pointer, message }] })
}
