import type { ConfigRef, ConfigType } from "./config-type.ts"
import { Fault } from "./fault.ts"
import type { Vm } from "./vm.ts"

/** Where the files of a type stand: VM id, else `label=value`, else `default`. */
export type PathRules = Readonly<Record<string, string>>

/** One config, found: its VM, its type, the path of its file. */
export interface Located {
  readonly vm: Vm
  readonly type: ConfigType
  readonly path: string
}

/** The fleet as the settings name it; immutable, replaced whole by a reload. */
export class Inventory {
  readonly vms: readonly Vm[]
  readonly types: readonly ConfigType[]
  readonly #vms: ReadonlyMap<string, Vm>
  readonly #types: ReadonlyMap<string, ConfigType>
  readonly #paths: ReadonlyMap<string, PathRules>

  constructor(vms: readonly Vm[], types: readonly ConfigType[], paths: ReadonlyMap<string, PathRules>) {
    this.vms = [...vms].sort((a, b) => (a.vmId < b.vmId ? -1 : 1))
    this.types = [...types].sort((a, b) => (a.type < b.type ? -1 : 1))
    this.#vms = new Map(vms.map((vm) => [vm.vmId, vm]))
    this.#types = new Map(types.map((type) => [type.type, type]))
    this.#paths = paths
  }

  /** @throws {Fault} `vm_not_found` */
  vm(vmId: string): Vm {
    const vm = this.#vms.get(vmId)
    if (!vm) throw new Fault("vm_not_found", `No VM "${vmId}" stands in the settings; GET /vms lists those that do.`)
    return vm
  }

  /** @throws {Fault} `config_type_not_found` */
  type(name: string): ConfigType {
    const type = this.#types.get(name)
    if (!type)
      throw new Fault(
        "config_type_not_found",
        `No config type "${name}" stands in the settings, only ${this.types.map(({ type }) => type).join(", ")}.`,
      )
    return type
  }

  /** The type, or `other` where it is not in the settings. */
  typeOr(name: string, other: ConfigType): ConfigType {
    return this.#types.get(name) ?? other
  }

  /** Path of a type's file on a VM, or null where it is not mapped. */
  pathOf(vm: Vm, type: string): string | null {
    const rules = this.#paths.get(type) ?? {}
    const own = Object.hasOwn(rules, vm.vmId) ? rules[vm.vmId] : undefined
    const labelled = Object.keys(rules).find((key) => {
      const equals = key.indexOf("=")
      return equals > 0 && vm.labels[key.slice(0, equals)] === key.slice(equals + 1)
    })
    const template = own ?? (labelled === undefined ? rules.default : rules[labelled])
    // Functions, since a text to put in has a meaning of its own for each dollar sign.
    const filled = template?.replaceAll("{vmId}", () => vm.vmId).replaceAll("{name}", () => vm.name)
    return filled ?? null
  }

  /** @throws {Fault} `vm_not_found`, `config_type_not_found`, `config_not_mapped` */
  locate(ref: ConfigRef): Located {
    const vm = this.vm(ref.vmId)
    const type = this.type(ref.type)
    const path = this.pathOf(vm, ref.type)
    if (path === null) {
      throw new Fault(
        "config_not_mapped",
        `config_paths.${ref.type} names no path for VM "${ref.vmId}" and no default.`,
      )
    }
    return { vm, type, path }
  }
}
