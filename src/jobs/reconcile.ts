import type { Logger } from "pino"
import { isFault } from "../domain/fault.ts"
import { StartError } from "../domain/start-error.ts"
import type { Reconciled, Reconciliation } from "../services/reconciliation.ts"

/**
 * At the start, before anybody is served: makes the catalog say what stands in the store, and tells what was found.
 * @param make gives the work; `onFinding` is told of each thing that somebody should look at
 * @throws {StartError} where catalog or store cannot be read or written
 */
export async function reconcileAtStart(
  make: (onFinding: (sentence: string) => void) => Pick<Reconciliation, "run">,
  logger: Pick<Logger, "info" | "warn">,
): Promise<Reconciled> {
  const begin = performance.now()
  try {
    const found = await make((sentence) => logger.warn(sentence)).run()
    const counts = Object.entries(found).filter(([, count]) => count > 0)
    const ms = Math.round(performance.now() - begin)
    const line = { ...Object.fromEntries(counts), ms }
    if (counts.length > 0) logger.warn(line, "the catalog was not what stands in the backup storage; it is now")
    return found
  } catch (cause) {
    if (!isFault(cause)) throw cause
    throw new StartError(`The catalog cannot be held against the backup storage. ${cause.message}`, { cause })
  }
}
