import { setImmediate as othersFirst } from "node:timers/promises"
import { type Catalog, itemsOf } from "../domain/catalog.ts"
import type { Fault } from "../domain/fault.ts"
import type { Operation } from "../domain/operation.ts"
import type { Vm } from "../domain/vm.ts"
import { type CopyState, KeepingMetrics } from "./copies.ts"
import { StorageFaults } from "./faults.ts"
import { OperationMetrics } from "./operations.ts"
import { addProcessMetrics } from "./process.ts"
import { MetricRegistry } from "./registry.ts"
import { RequestMetrics } from "./requests.ts"
import { addSshStats, SshMetrics, type SshStats } from "./ssh.ts"
import { addStateMetrics, type StateSources } from "./state.ts"

/** Newest operations of a VM that are looked through for its last success and failure. */
const remembered = 20

/** What the service tells Prometheus (docs/metrics.md). To add a gauge: `registry.gauge`, and its row in that table. */
export class Metrics {
  readonly registry = new MetricRegistry()
  readonly requests = new RequestMetrics(this.registry)
  readonly ssh = new SshMetrics(this.registry)
  readonly storage = new StorageFaults(this.registry)
  readonly keeping = new KeepingMetrics(this.registry)
  readonly operations: OperationMetrics
  readonly #vms: () => readonly Vm[]
  readonly #endWatching: () => void
  #closed = false

  /** @param vms the fleet as the settings name it now */
  constructor(version: string, vms: () => readonly Vm[]) {
    this.#vms = vms
    this.operations = new OperationMetrics(this.registry, vms)
    this.#endWatching = addProcessMetrics(this.registry, version)
  }

  /** Shows what the parts hold at each scrape. */
  watch(
    sources: StateSources & { readonly ssh: () => SshStats; readonly copies: (() => Promise<CopyState>) | null },
  ): void {
    addStateMetrics(this.registry, sources)
    this.keeping.watch(sources.copies)
    addSshStats(this.registry, sources.ssh)
  }

  /** An operation that has ended. */
  operation(operation: Operation, fault: Fault | null): void {
    this.operations.observe(operation, fault)
    if (fault) this.storage.ended(fault)
  }

  /** Takes from the catalog when each VM last did well and ill before this process. A catalog that fails is asked no more. */
  async remember(catalog: Pick<Catalog, "listOperations">): Promise<void> {
    for (const { vmId } of this.#vms()) {
      if (this.#closed) return
      const page = await catalog.listOperations({ vmId }, { limit: remembered, cursor: null }).catch(() => null)
      if (page === null) return
      for (const operation of itemsOf<Operation>(page)) this.operations.remember(operation)
      // A fleet of thousands is asked for by and by: the start does not wait for it, and no request does.
      await othersFirst()
    }
  }

  close(): void {
    this.#closed = true
    this.#endWatching()
  }
}
