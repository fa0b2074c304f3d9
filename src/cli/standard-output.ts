import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

/** Where the commands of this process write. */
export const output: Output = {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
}

/**
 * Lets the work go on when nothing can be written any more, so that none of it is left half done. A reader that has gone, as `head`
 * does, changes nothing of how the process ends; a full disk does, for what was asked for is not there.
 */
export function outliveOutput(): void {
  let told = false
  const tell = ({ code }: NodeJS.ErrnoException): void => {
    if (code === "EPIPE" || told) return
    told = true
    process.once("exit", () => {
      process.exitCode ||= exitCodes.failed
    })
    output.err(`The output cannot be written (${code}); what it was to say is lost.\n`)
  }
  for (const stream of [process.stdout, process.stderr]) stream.on("error", tell)
}

/** @returns false when nothing more can be written: see `outliveOutput` */
export function writeOut(bytes: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    process.stdout.once("error", () => resolve(false))
    process.stdout.write(bytes, (error) => {
      if (!error) resolve(true)
    })
  })
}
