import { isFault } from "../domain/fault.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"
import { type Reindexed, tellReindexed } from "./reindex.ts"

/** How many versions came back, stood here whole already, or have no copy that is whole. */
interface Homecoming {
  readonly brought: number
  readonly here: number
  readonly damaged: number
}

export interface RestoreCatalogParts {
  /** @param onFinding told of each thing that somebody should look at @throws {Fault} @throws {StartError} */
  readonly restore: (
    onFinding: (sentence: string) => void,
  ) => Promise<{ readonly home: Homecoming; readonly reindexed: Reindexed }>
  readonly output: Output
}

/** `config-manager restore-catalog`: brings everything home from the copies, and makes the catalog from it. */
export async function restoreCatalogCommand({ restore, output }: RestoreCatalogParts): Promise<number> {
  try {
    const { home, reindexed } = await restore((sentence) => output.err(`${sentence}\n`))
    output.out(`${String(home.brought).padStart(9)} versions brought home, ${home.here} stood here already\n`)
    if (home.damaged > 0) output.out(`${String(home.damaged).padStart(9)} copies are damaged\n`)
    const isWell = tellReindexed(reindexed, output)
    return isWell && home.damaged === 0 ? exitCodes.ok : exitCodes.failed
  } catch (error) {
    if (!isFault(error)) throw error
    output.err(`${error.message}\nWhat was brought home so far stays; call it again to go on.\n`)
    return exitCodes.failed
  }
}
