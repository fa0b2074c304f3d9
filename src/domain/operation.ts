import type { FaultCode, FileState } from "./fault.ts"
import type { Vm } from "./vm.ts"

export type OperationKind = "write" | "patch" | "restore" | "backup" | "revert" | "adopt"

export type OperationState =
  | "running"
  | "succeeded"
  | "unchanged"
  | "failed"
  | "rolled_back"
  | "in_doubt"
  | "pending_confirmation"
  | "reverted"

/**
 * How far a push has got, in the journal (DESIGN 3.2):
 * `prepared` (3) before any blob, `kept` (4) versions are safe, `swapping` (8) the rename may have been sent,
 * `swapped` (9) the new bytes were read back, `rolling_back` the old bytes are on their way back, `tidying` it has ended and
 * its config is free, but what it made and nobody wants may still be there (late-looks.ts), `done`.
 */
export type Phase = "prepared" | "kept" | "swapping" | "swapped" | "rolling_back" | "tidying" | "done"

/** The problem an operation ended with. */
export interface OperationProblem {
  readonly code: FaultCode
  readonly status: number
  readonly detail: string
}

/** How long one step took. */
export interface Stage {
  readonly name: string
  readonly ms: number
}

/** The record of a push or a backup as clients see it (API 5). Times: RFC 3339 UTC with ms. */
export interface Operation {
  readonly operationId: string
  readonly kind: OperationKind
  readonly vmId: string
  readonly type: string
  readonly state: OperationState
  readonly fileState: FileState | null
  readonly startedAt: string
  readonly finishedAt: string | null
  readonly actor: string
  readonly reason: string | null
  readonly requestId: string | null
  /** Of the bytes the operation was to put there (backup: found there). */
  readonly digest: string | null
  /** Of what stood before; null: nothing did. */
  readonly previousDigest: string | null
  readonly backupId: string | null
  readonly versionId: string | null
  readonly rolloutId: string | null
  readonly stages: readonly Stage[]
  readonly problem: OperationProblem | null
}

/** Marks an operation that a later process found open, so that its end is what that one made of it. */
const takenUp: Stage = { name: "taken_up", ms: 0 }

export function stagesTakenUp(operation: Pick<Operation, "stages">): readonly Stage[] {
  return isGuessed(operation) ? operation.stages : [...operation.stages, takenUp]
}

/**
 * Whether an operation's end is a guess: in an older copy of the catalog one may be open that was acknowledged long ago, and
 * what stands on the VM now does not tell.
 */
export function isGuessed({ stages }: Pick<Operation, "stages">): boolean {
  return stages.some(({ name }) => name === takenUp.name)
}

/** Where a VM answers, and how it is reached. The latter is not in journals from before it was noted. */
export type Address = Pick<Vm, "host" | "port"> & Partial<Pick<Vm, "user" | "proxyJump">>

export function addressOf({ host, port, user, proxyJump }: Vm): Required<Address> {
  return { host, port, user, proxyJump }
}

/** What recovery must know to resolve a push that did not end; part of the operation's row, never shown. */
export interface Journal {
  readonly phase: Phase
  /** The file itself, symlinks resolved. */
  readonly path: string
  /** This and `oldPath` are empty for a backup: it writes nothing on the VM. */
  readonly stagingPath: string
  readonly oldPath: string
  /** Permission bits and owner that the new file is to have; uid and gid null: the SSH user's. */
  readonly mode: number
  readonly uid: number | null
  readonly gid: number | null
  /** Blobs and rows this operation makes (ids planned before they exist); the ones that go when it fails or keeps nothing. */
  readonly madeFoundId: string | null
  readonly madeWrittenId: string | null
  /** False for `backup=false`: whatever it made goes at the end. */
  readonly keepVersions: boolean
  readonly become: boolean
  readonly sftpServer: string | null
  /** The type's limit when the push began: a push ends under the settings it began with. */
  readonly maxBytes: number
  /** Mode and owner of what stood before; null: nothing did. */
  readonly before: { readonly mode: number; readonly uid: number; readonly gid: number } | null
  /** Where the push was sent to; not in journals from before there was this member, nor in those of backups. */
  readonly address?: Address
}

/** An operation whose journal is open. */
export interface OpenOperation {
  readonly operation: Operation
  readonly journal: Journal
}
