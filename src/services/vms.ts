import type { Caller } from "../domain/caller.ts"
import type { Catalog } from "../domain/catalog.ts"
import type { ConfigType } from "../domain/config-type.ts"
import { isFault } from "../domain/fault.ts"
import type { Inventory } from "../domain/inventory.ts"
import type { CheckReport, ConfigView, VmView } from "../domain/report.ts"
import type { Check, Session, Transport } from "../domain/transport.ts"
import type { Vm } from "../domain/vm.ts"
import { type Deadline, withDeadline } from "./deadline.ts"
import { requireEnabled } from "./push-conditions.ts"
import { readOptions } from "./push-plan.ts"

interface Parts {
  readonly inventory: () => Inventory
  readonly catalog: Catalog
  readonly transport: Transport
  readonly stopping: AbortSignal
  readonly timeoutMs: number
}

/** Prints what a change that must be confirmed could use on the VM; constant text. */
const timerCommand =
  "if command -v systemd-run >/dev/null 2>&1 && [ -d /run/systemd/system ]; then echo systemd; else echo sh; fi"

/** The machines of the fleet, as the settings name them and as they answer. */
export class Vms {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** All VMs that carry every label, by vmId. No VM is contacted. */
  list(labels: Readonly<Record<string, string>>): readonly VmView[] {
    const inventory = this.#parts.inventory()
    const wanted = Object.entries(labels)
    return inventory.vms
      .filter((vm) => wanted.every(([key, value]) => Object.hasOwn(vm.labels, key) && vm.labels[key] === value))
      .map((vm) => viewOf(vm, inventory))
  }

  /** @throws {Fault} `vm_not_found` */
  get(vmId: string): VmView {
    const inventory = this.#parts.inventory()
    return viewOf(inventory.vm(vmId), inventory)
  }

  /** @throws {Fault} `vm_not_found` */
  async configs(vmId: string): Promise<readonly ConfigView[]> {
    const inventory = this.#parts.inventory()
    const times = await this.#parts.catalog.newestTimes(inventory.vm(vmId).vmId)
    return mapped(inventory.vm(vmId), inventory).map(({ type, path }) => ({
      type: type.type,
      path,
      format: type.format,
      schema: type.schemaFile !== null,
      lastBackupAt: times.get(type.type) ?? null,
    }))
  }

  /** Finds out what works on a VM, by trying; succeeds whatever it finds. @throws {Fault} `vm_not_found`, `vm_disabled` */
  async check(vmId: string, caller: Caller): Promise<CheckReport> {
    const inventory = this.#parts.inventory()
    const vm = inventory.vm(vmId)
    requireEnabled(vm)
    return withDeadline([caller.signal, this.#parts.stopping], 2 * this.#parts.timeoutMs, async (deadline) => {
      const checks: Check[] = [...(await this.#parts.transport.check(vm, deadline.signal))]
      if (checks.every((check) => check.ok)) {
        for (const { type, path } of mapped(vm, inventory))
          checks.push(...(await this.#checkConfig(vm, type, path, deadline)))
        checks.push(await this.#checkTimer(vm, deadline))
      }
      return { ok: checks.every((check) => check.ok), checks }
    })
  }

  async #checkConfig(vm: Vm, type: ConfigType, path: string, deadline: Deadline): Promise<readonly Check[]> {
    const options = { ...readOptions({ vm, type, path }), keepOwner: type.keepOwner }
    return this.#withSession(vm, type, deadline, `${type.type}: session`, async (session) => {
      const { checks } = await session.probe(path, options, deadline.signal)
      return checks.map((check) => ({ ...check, name: `${type.type}: ${check.name}` }))
    })
  }

  /** Not being able to run commands is no failure: only confirmed changes need it. */
  async #checkTimer(vm: Vm, deadline: Deadline): Promise<Check> {
    const begin = performance.now()
    const name = "confirmed changes"
    const direct = { become: false, sftpServer: null, signal: deadline.signal }
    const ended = (detail: string): Check => ({ name, ok: true, detail, durationMs: tenths(performance.now() - begin) })
    try {
      const session = await this.#parts.transport.open(vm, direct)
      try {
        const options = { timeoutMs: this.#parts.timeoutMs, maxOutputBytes: 64 }
        const { exitCode, output } = await session.run(timerCommand, options, deadline.signal)
        return ended(exitCode === 0 && /^(systemd|sh)\s*$/.test(output) ? output.trim() : "none")
      } finally {
        session.close()
      }
    } catch (error) {
      if (!isFault(error)) throw error
      return ended("none")
    }
  }

  async #withSession(
    vm: Vm,
    type: ConfigType,
    deadline: Deadline,
    name: string,
    work: (session: Session) => Promise<readonly Check[]>,
  ): Promise<readonly Check[]> {
    const begin = performance.now()
    const options = { become: type.become, sftpServer: type.sftpServer, signal: deadline.signal }
    try {
      const session = await this.#parts.transport.open(vm, options)
      try {
        return await work(session)
      } finally {
        session.close()
      }
    } catch (error) {
      if (!isFault(error)) throw error
      return [{ name, ok: false, detail: error.message, durationMs: tenths(performance.now() - begin) }]
    }
  }
}

function viewOf(vm: Vm, inventory: Inventory): VmView {
  const { vmId, name, host, port, role, labels, enabled } = vm
  return {
    vmId,
    name,
    host,
    port,
    role,
    labels,
    enabled,
    configTypes: mapped(vm, inventory).map(({ type }) => type.type),
  }
}

function mapped(vm: Vm, inventory: Inventory): readonly { readonly type: ConfigType; readonly path: string }[] {
  return inventory.types.flatMap((type) => {
    const path = inventory.pathOf(vm, type.type)
    return path === null ? [] : [{ type, path }]
  })
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10
}
