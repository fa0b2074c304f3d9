import { isFault } from "../domain/fault.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

/** Something that is not as it should be. */
export interface VerifyFinding {
  readonly kind: string
  readonly vmId: string
  readonly type: string
  readonly backupId: string
  /** A sentence. */
  readonly detail: string
}

/** How many versions there are, were to be opened, and did; `unmatched` files of the original service belong to none. */
interface Verified {
  readonly versions: number
  readonly chosen: number
  readonly opened: number
  readonly unmatched: number
}

export interface VerifyParts {
  /** Why the catalog is not held against what stands there; null: it is. */
  readonly withoutCatalog: string | null
  /** Opens versions, and tells of each that is not well. @throws {Fault} */
  readonly verify: (onFinding: (finding: VerifyFinding) => void) => Promise<Verified>
  readonly output: Output
}

/** `config-manager verify`: a line for each version that is not well, and a summary. */
export async function verifyCommand({ withoutCatalog, verify, output }: VerifyParts): Promise<number> {
  if (withoutCatalog !== null) output.err(`${withoutCatalog} Only what stands in the backup storage is looked at.\n`)
  let findings = 0
  try {
    const { versions, chosen, opened, unmatched } = await verify(({ kind, vmId, type, backupId, detail }) => {
      findings += 1
      output.out(`${kind} ${vmId}/${type}/${backupId}: ${detail}\n`)
    })
    if (unmatched > 0)
      output.err(`${unmatched} files of the original service belong to no known config, or may be of two.\n`)
    output.out(`${chosen} of ${versions} versions looked at, ${opened} of them open; ${findings} findings\n`)
  } catch (error) {
    if (!isFault(error)) throw error
    output.err(`${error.message}\n`)
    return exitCodes.failed
  }
  return findings === 0 ? exitCodes.ok : exitCodes.failed
}
