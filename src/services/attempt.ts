import { v7 as uuidv7 } from "uuid"
import type { Caller } from "../domain/caller.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { Fault, type FaultCode } from "../domain/fault.ts"
import type { Operation, OperationKind, OperationProblem, Stage } from "../domain/operation.ts"

/** HTTP status of a fault, handed in so that this layer knows nothing of HTTP. */
export type StatusOf = (code: FaultCode) => number

/** One try at an operation while it runs: its row in the making, and how long each step took. */
export class Attempt {
  readonly operationId = uuidv7()
  readonly #startedAt: string
  readonly #kind: OperationKind
  readonly #ref: ConfigRef
  readonly #caller: Caller
  readonly #clock: Clock
  readonly #stages: Stage[] = []

  constructor(kind: OperationKind, ref: ConfigRef, caller: Caller, clock: Clock) {
    this.#kind = kind
    this.#ref = ref
    this.#caller = caller
    this.#clock = clock
    this.#startedAt = clock().toISOString()
  }

  get stages(): readonly Stage[] {
    return [...this.#stages]
  }

  /** Runs a step and notes how long it took, also when it fails. */
  async stage<T>(name: string, work: () => Promise<T>): Promise<T> {
    const begin = performance.now()
    try {
      return await work()
    } finally {
      this.#stages.push({ name, ms: Math.round((performance.now() - begin) * 10) / 10 })
    }
  }

  /** The row as it stands: what is known by now, over what every operation has. */
  row(known: Partial<Operation>): Operation {
    return {
      operationId: this.operationId,
      kind: this.#kind,
      vmId: this.#ref.vmId,
      type: this.#ref.type,
      state: "running",
      fileState: null,
      startedAt: this.#startedAt,
      finishedAt: null,
      actor: this.#caller.actor,
      reason: this.#caller.reason,
      requestId: this.#caller.requestId,
      digest: null,
      previousDigest: null,
      backupId: null,
      versionId: null,
      rolloutId: null,
      stages: this.stages,
      problem: null,
      ...known,
    }
  }

  /** The row of an attempt that has ended. */
  ended(known: Partial<Operation>): Operation {
    return this.row({ ...known, finishedAt: this.#clock().toISOString() })
  }
}

export function problemOf(fault: Fault, statusOf: StatusOf): OperationProblem {
  return { code: fault.code, status: statusOf(fault.code), detail: fault.message }
}

/** Any error as a fault: one that is none is a bug, told as such. */
export function asFault(error: unknown): Fault {
  if (error instanceof Fault) return error
  return new Fault("internal_error", "An error that should not happen; see the service's log for this request id.", {
    cause: error,
  })
}
