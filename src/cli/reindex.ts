import { isFault } from "../domain/fault.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

/** What making the catalog anew has found. */
export interface Reindexed {
  readonly location: string
  /** Where the catalog from before stands now; null: there was none. */
  readonly aside: string | null
  readonly versions: number
  readonly operations: number
  /** Operations that go on. */
  readonly open: number
  /** Rows of operations and runs that could not be what was written. */
  readonly lost: number
  readonly locked: number
  readonly damaged: number
  /** Versions that the catalog from before lists, as far as it can be read, and that did not come back. */
  readonly missing: number
  readonly putAside: number
  /** Files that may not be read. */
  readonly unread: number
  /** Files that are whole in another config's directory. */
  readonly misplaced: number
  readonly blobsRemoved: number
  /** Files of the original service that belong to no known config, or may be of two. */
  readonly unmatched: number
}

export interface ReindexParts {
  /** @param onFinding told of each thing that somebody should look at @throws {Fault} @throws {StartError} */
  readonly reindex: (onFinding: (sentence: string) => void) => Promise<Reindexed>
  readonly output: Output
}

/** `config-manager reindex`: the list of versions is made anew from what stands in the backup storage. */
export async function reindexCommand({ reindex, output }: ReindexParts): Promise<number> {
  let found: Reindexed
  try {
    found = await reindex((sentence) => output.err(`${sentence}\n`))
  } catch (error) {
    if (!isFault(error)) throw error
    output.err(`${error.message}\n`)
    return exitCodes.failed
  }
  return tellReindexed(found, output) ? exitCodes.ok : exitCodes.failed
}

/** @returns whether all is well */
export function tellReindexed(found: Reindexed, output: Output): boolean {
  output.out(textOf(found))
  const { lost, locked, damaged, missing, putAside, unread, misplaced } = found
  return [lost, locked, damaged, missing, putAside, unread, misplaced].every((count) => count === 0)
}

function textOf(found: Reindexed): string {
  const lines: readonly (readonly [number, string])[] = [
    [found.versions, `versions in ${found.location}`],
    [found.operations, `operations kept, ${found.open} of them go on when the service starts`],
    [found.lost, "rows of operations and runs could not be read"],
    [found.locked, "versions are locked: no loaded key opens them"],
    [found.damaged, "versions are damaged"],
    [found.missing, "versions that were listed before did not come back"],
    [found.putAside, "files do not open with any key and were put aside"],
    [found.misplaced, "files stand in another's directory, and are in no list"],
    [found.unread, "files may not be read, and are in no list"],
    [found.blobsRemoved, "files that a failed change had left were removed"],
    [found.unmatched, "files of the original service belong to no known config, or may be of two"],
  ]
  const told = lines.filter(([count], index) => index < 2 || count > 0)
  const aside = found.aside === null ? "" : `The catalog from before stands in ${found.aside}\n`
  return `${told.map(([count, what]) => `${String(count).padStart(9)} ${what}\n`).join("")}${aside}`
}
