/** Within this time a signal is the same stop. */
const sameStopMs = 2000

/**
 * Calls `stop` at the first SIGINT or SIGTERM. Ctrl-C under `npm start` arrives twice at once, from the terminal and handed on by
 * npm, and must not cost what is under way; who asks once more, later, does not want to wait for it.
 */
export function onStopSignal(stop: (name: NodeJS.Signals) => void): void {
  let askedAt: number | null = null
  const ask = (name: NodeJS.Signals): void => {
    if (askedAt === null) {
      askedAt = performance.now()
      stop(name)
    } else if (performance.now() - askedAt > sameStopMs) process.exit(1)
  }
  // Listeners that stay: while a signal has none, for however short a time, it ends the process.
  process.on("SIGINT", ask)
  process.on("SIGTERM", ask)
}

/** What close-with-grace is to leave to it. */
export const stopSignals = ["SIGINT", "SIGTERM"] as const
