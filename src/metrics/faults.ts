import type { Counter } from "prom-client"
import type { Fault, FaultCode } from "../domain/fault.ts"
import type { MetricRegistry } from "./registry.ts"

const storageCodes = [
  "storage_full",
  "backup_storage_unavailable",
  "storage_busy",
  "backup_corrupt",
  "backup_missing",
  "backup_key_unavailable",
] as const satisfies FaultCode[]

type StorageCode = (typeof storageCodes)[number]

/** Faults of the blob store and the catalog. One that ends an operation is counted there, not again where it is answered. */
export class StorageFaults {
  readonly #errors: Counter<"code">

  constructor(registry: MetricRegistry) {
    this.#errors = registry.counter(
      "config_manager_storage_errors_total",
      "Calls and operations that the blob store or the catalog failed, by problem code.",
      ["code"],
    )
    // There from the start: a series that is born at 1 has never increased.
    for (const code of storageCodes) this.#errors.inc({ code }, 0)
  }

  /** A fault that ended an operation, or a try to bring one to its end. */
  ended(fault: Fault): void {
    if (isStorageCode(fault.code)) this.#errors.inc({ code: fault.code })
  }

  /** A fault that is answered. */
  answered(fault: Fault): void {
    if (fault.details.operationId === undefined) this.ended(fault)
  }
}

function isStorageCode(code: FaultCode): code is StorageCode {
  return (storageCodes as readonly FaultCode[]).includes(code)
}
