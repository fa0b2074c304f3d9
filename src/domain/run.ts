import type { ConfigRef } from "./config-type.ts"
import type { OperationProblem } from "./operation.ts"
import type { Trigger } from "./version.ts"

/** What a run does to each of its targets. */
export type RunKind = "backup"

/** How one target of a run ended. */
export type RunOutcome = "made" | "unchanged" | "failed" | "unreachable"

/** Work on many configs, begun. Times: RFC 3339 UTC with ms. */
export interface NewRun {
  readonly runId: string
  readonly kind: RunKind
  readonly trigger: Trigger
  readonly actor: string
  readonly reason: string | null
  readonly requestId: string | null
  readonly startedAt: string
  readonly targets: readonly ConfigRef[]
}

export interface RunItem extends ConfigRef {
  readonly outcome: RunOutcome
  /** null: it went well. */
  readonly problem: OperationProblem | null
}

/** A run as clients see it (API 4). */
export interface Run {
  readonly runId: string
  readonly state: "running" | "finished"
  readonly counts: Readonly<Record<"total" | RunOutcome, number>>
  readonly failures: readonly (ConfigRef & { readonly problem: OperationProblem })[]
  readonly startedAt: string
  readonly finishedAt: string | null
}
