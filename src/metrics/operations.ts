import type { Counter, Histogram } from "prom-client"
import type { Fault } from "../domain/fault.ts"
import type { Operation, OperationKind, OperationState } from "../domain/operation.ts"
import type { Vm } from "../domain/vm.ts"
import type { MetricRegistry, Reading } from "./registry.ts"

/** Those that put bytes on a VM. */
const pushes: ReadonlySet<OperationKind> = new Set(["write", "patch", "restore", "revert"])

type Ended = Pick<Operation, "vmId" | "state" | "finishedAt">

/** Operations as they end. There is one series per VM of the settings, whatever VM ids callers make up. */
export class OperationMetrics {
  readonly #operations: Counter<"kind" | "state" | "code">
  readonly #pushes: Histogram<"kind">
  readonly #vms: () => readonly Vm[]
  /** When it last went well, and ill: ms since 1970 by VM id. */
  readonly #lastSuccess = new Map<string, number>()
  readonly #lastFailure = new Map<string, number>()

  /** @param vms the fleet as the settings name it now */
  constructor(registry: MetricRegistry, vms: () => readonly Vm[]) {
    this.#vms = vms
    this.#operations = registry.counter(
      "config_manager_operations_total",
      "Operations that ended; code: none for no fault.",
      ["kind", "state", "code"],
    )
    this.#pushes = registry.histogram(
      "config_manager_push_duration_seconds",
      "Time that changes took that succeeded.",
      {
        buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
        labelNames: ["kind"],
      },
    )
    registry.gauge(
      "config_manager_vm_last_success_timestamp_seconds",
      "When an operation on the VM last succeeded (or found nothing to do).",
      () => this.#times(this.#lastSuccess),
      ["vm_id"],
    )
    registry.gauge(
      "config_manager_vm_last_failure_timestamp_seconds",
      "When an operation on the VM last failed or was rolled back, for whatever reason.",
      () => this.#times(this.#lastFailure),
      ["vm_id"],
    )
    registry.gauge(
      "config_manager_vm_enabled",
      "Whether the VM may be contacted: 1 for each VM of the settings that is enabled, else 0.",
      () => this.#vms().map(({ vmId, enabled }) => ({ labels: { vm_id: vmId }, value: enabled ? 1 : 0 })),
      ["vm_id"],
    )
  }

  /** An operation that has ended just now. */
  observe(operation: Operation, fault: Fault | null): void {
    const { kind, state, startedAt, finishedAt } = operation
    this.#operations.inc({ kind, state, code: fault?.code ?? "none" })
    if (state === "succeeded" && finishedAt !== null && pushes.has(kind)) {
      // The wall clock may have been set back meanwhile.
      this.#pushes.observe({ kind }, Math.max(0, Date.parse(finishedAt) - Date.parse(startedAt)) / 1000)
    }
    this.remember(operation)
  }

  /** What is known of operations that ended earlier, so that a restart does not forget when a VM last did well. */
  remember({ vmId, state, finishedAt }: Ended): void {
    const times = this.#timesOf(state)
    if (times === null || finishedAt === null) return
    const at = Date.parse(finishedAt)
    if (at > (times.get(vmId) ?? 0)) times.set(vmId, at)
  }

  /** Neither well nor ill: not over yet, or taken back because nobody confirmed it. */
  #timesOf(state: OperationState): Map<string, number> | null {
    if (state === "succeeded" || state === "unchanged") return this.#lastSuccess
    return state === "failed" || state === "rolled_back" ? this.#lastFailure : null
  }

  #times(times: Map<string, number>): Reading {
    const known = new Set(this.#vms().map(({ vmId }) => vmId))
    for (const vmId of times.keys()) if (!known.has(vmId)) times.delete(vmId)
    return [...times].map(([vmId, ms]) => ({ labels: { vm_id: vmId }, value: ms / 1000 }))
  }
}
