import { isFault } from "../domain/fault.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

/** How many versions ended how. */
interface Rewrapped {
  readonly wrapped: number
  readonly already: number
  readonly locked: number
  readonly damaged: number
  /** They cannot be replaced where they stand. */
  readonly stuck: number
  /** Listed, with no file here; a copy elsewhere needs the key it was sealed with. */
  readonly missing: number
  /** Put aside, and in no list. */
  readonly aside: number
  /** Backups of the original service that another key opens. */
  readonly legacy: number
  /** Of the key that seals now, 32 hex digits. */
  readonly keyId: string
}

export interface RewrapParts {
  /** @param onFinding told of each version that was left as it is @throws {Fault} @throws {StartError} */
  readonly rewrap: (onFinding: (sentence: string) => void) => Promise<Rewrapped>
  readonly output: Output
}

/** `config-manager rewrap`: all versions are moved to the key that seals now. */
export async function rewrapCommand({ rewrap, output }: RewrapParts): Promise<number> {
  try {
    const { wrapped, already, locked, damaged, stuck, missing, aside, legacy, keyId } = await rewrap((sentence) =>
      output.err(`${sentence}\n`),
    )
    output.out(`${wrapped} versions moved to the key ${keyId}, ${already} had it already\n`)
    if (legacy > 0)
      output.out(
        `${legacy} of the original service stay as they are, and go on needing the key they were sealed with\n`,
      )
    if (locked + damaged + stuck + missing + aside === 0) return exitCodes.ok
    if (stuck > 0) output.out(`${stuck} could not be replaced, and go on needing the key they were sealed with\n`)
    if (missing > 0)
      output.out(`${missing} have no file here; copies of them elsewhere go on needing the key they were sealed with\n`)
    if (aside > 0)
      output.out(
        `${aside} were put aside and are in no list; they, or whole copies of them elsewhere, may need the key they were sealed with\n`,
      )
    if (locked + damaged > 0)
      output.out(`${locked} left as they are, for no loaded key opens them; ${damaged} are damaged\n`)
  } catch (error) {
    if (!isFault(error)) throw error
    output.err(`${error.message}\nWhat was moved so far is moved; call it again to go on.\n`)
  }
  return exitCodes.failed
}
