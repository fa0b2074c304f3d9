import type { Catalog } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import { Fault } from "../domain/fault.ts"
import { isGuessed, type Journal, type OpenOperation, type Operation, stagesTakenUp } from "../domain/operation.ts"
import type { ImportedVersion, NewVersion } from "../domain/version.ts"
import { problemOf, type StatusOf } from "./attempt.ts"
import { isEarly } from "./verdict.ts"

interface Parts {
  readonly catalog: Catalog
  readonly clock: Clock
  readonly statusOf: StatusOf
  readonly onFinding: (sentence: string) => void
}

/** What becomes of a blob that has no row: `wait` = its operation has not ended, and will say; `putAside` = nobody knows its end. */
export type Fate = "import" | "remove" | "putAside" | "wait"

/** What the operations that made them say of blobs without a row. */
export class OpenPushes {
  readonly #parts: Parts
  readonly #open = new Map<string, OpenOperation>()
  readonly #provisional = new Map<string, NewVersion>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Reads the open journals. Provisional versions that none of them names go; their blobs are judged like any other. */
  async load(): Promise<void> {
    const { catalog } = this.#parts
    const open = await catalog.openOperations()
    for (const each of open) this.#open.set(each.operation.operationId, each)
    const unended = open.filter(({ operation }) => operation.finishedAt === null)
    for (const { operation } of unended) {
      await catalog.changeOperation(operation.operationId, { stages: stagesTakenUp(operation) })
    }
    const named = new Set(open.flatMap(({ journal }) => [journal.madeFoundId, journal.madeWrittenId]))
    const provisional = await catalog.provisionalVersions()
    for (const version of provisional) this.#provisional.set(version.backupId, version)
    const orphans = provisional.map(({ backupId }) => backupId).filter((backupId) => !named.has(backupId))
    if (orphans.length > 0) await catalog.removeVersions(orphans)
  }

  /**
   * Ends the open operation of a config where the store shows that it has long ended: nothing else can happen to the config
   * meanwhile, so that a later version by an operation that the catalog does not know means that the catalog is an old copy.
   * Acting on its journal would remove what was acknowledged since.
   * @param versions those of the config that have no row
   */
  async endOutdated(ref: ConfigRef, versions: readonly ImportedVersion[]): Promise<boolean> {
    const open = [...this.#open.values()].find(({ operation: { vmId, type, finishedAt } }) => {
      return vmId === ref.vmId && type === ref.type && finishedAt === null
    })
    if (!open || !(await this.#isOvertaken(open.operation, versions))) return false
    const { operation, journal } = open
    const { operationId } = operation
    const made = [journal.madeFoundId, journal.madeWrittenId].filter((id) => id !== null)
    const stands = (id: string | null): id is string => versions.some(({ backupId }) => backupId === id)
    const remove = made.filter((id) => this.#provisional.has(id))
    const versionId = journal.stagingPath === "" ? journal.madeFoundId : journal.madeWrittenId
    const change = stands(versionId) ? succeeded(journal, versionId) : this.#unknown(operation)
    const finishedAt = this.#parts.clock().toISOString()
    await this.#parts.catalog.changeOperation(operationId, { ...change, finishedAt, phase: "done" }, { remove })
    this.#open.delete(operationId)
    this.#parts.onFinding(
      `The catalog is an older copy: operation ${operationId} is open in it, and later versions of ${ref.vmId}/${ref.type} stand ` +
        `in the store. The operation was closed as ${change.state}.`,
    )
    return true
  }

  /** What a version that a change was to write is worth depends on the change's end; what was found on a VM stood there. */
  async fateOf(version: ImportedVersion): Promise<Fate> {
    if (version.operationId === null) return "import"
    const open = this.#open.get(version.operationId)
    const operation = open?.operation ?? (await this.#parts.catalog.getOperation(version.operationId))
    if (operation === null) return "import"
    const fate = fateBy(version, operation, open?.journal ?? null)
    if (fate === "wait" && open) await this.#keepProvisional(version, open)
    return fate
  }

  async #isOvertaken({ operationId, startedAt }: Operation, versions: readonly ImportedVersion[]): Promise<boolean> {
    for (const { operationId: other, validFrom } of versions) {
      if (other === null || other === operationId || validFrom <= startedAt) continue
      if ((await this.#parts.catalog.getOperation(other)) === null) return true
    }
    return false
  }

  /** An operation that succeeds shows its provisional versions: they must be there, and say what their blobs say. */
  async #keepProvisional(version: ImportedVersion, open: OpenOperation): Promise<void> {
    const { operation } = open
    const digest = version.digest ?? (version.trigger === "written" ? operation.digest : operation.previousDigest)
    const { size, verifiedAt: _, state: __, ...rest } = version
    if (digest === null || size === null) return
    const row: NewVersion = { ...rest, size, digest, provisional: true }
    const { backupId } = row
    const known = this.#provisional.get(backupId)
    if (known && isSame(known, row)) return
    if (known) await this.#parts.catalog.removeVersions([backupId])
    // Rows and phase `kept` are written as one: a catalog that lacks one says less than was done, and its journal is to say so.
    const change = known || !isEarly(open) ? {} : ({ phase: "prepared" } as const)
    await this.#parts.catalog.changeOperation(operation.operationId, change, { add: [row] })
  }

  #unknown(operation: Operation) {
    const fault = new Fault(
      "outcome_unknown",
      "The catalog was replaced by an older copy, and with it what was known of this operation; look at the file on the VM.",
    )
    const problem = problemOf(fault, this.#parts.statusOf)
    const { backupId } = operation
    return { state: "failed", fileState: "unknown", versionId: null, backupId, problem } as const
  }
}

function succeeded({ stagingPath }: Journal, versionId: string) {
  const fileState = stagingPath === "" ? "unchanged" : "written"
  return { state: "succeeded", fileState, versionId, problem: null } as const
}

function fateBy({ backupId, trigger }: ImportedVersion, operation: Operation, journal: Journal | null): Fate {
  const { state, fileState, finishedAt } = operation
  if (trigger === "written") {
    if (finishedAt === null) return "wait"
    if (state !== "failed" && state !== "rolled_back") return "import"
    // One that was put aside may have been moved back by somebody who knows better.
    return fileState === "unknown" || isGuessed(operation) ? "putAside" : "remove"
  }
  // With `backup=false` what was found is kept only where it may stand nowhere else, as an edit of the last moment does.
  if (journal === null || journal.keepVersions || backupId !== journal.madeFoundId) return "import"
  if (finishedAt === null) return "wait"
  return fileState === "unknown" ? "import" : "remove"
}

function isSame(a: NewVersion, b: NewVersion): boolean {
  return Object.entries(b).every(([name, value]) => a[name as keyof NewVersion] === value)
}
