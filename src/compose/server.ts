import { readFile, stat } from "node:fs/promises"
import { createSecureContext } from "node:tls"
import type { Logger } from "pino"
import { StartError } from "../domain/start-error.ts"
import type { AppOptions } from "../http/app.ts"
import type { Metrics } from "../metrics/metrics.ts"
import { allowedHostsOf } from "../settings/addresses.ts"
import type { Settings } from "../settings.ts"

/** How a stop runs out of patience, in ms from its begin. */
export const closing = {
  /** What has written nothing by then is given up; swaps and rollbacks under way go on. Who has asked nothing is let go. */
  giveUpAfterMs: 4000,
  /** They too have had their time then: the journal keeps the question for the next start. */
  cutAfterMs: 9000,
  /** Their answers have left. */
  endAfterMs: 9500,
} as const

const timeouts = { headersMs: 10_000, requestMs: 30_000, checkIntervalMs: 1000 }
/** A connection on which nothing moves beyond what the longest answer takes. */
const idleBeyondMs = 60_000

export async function appOptions(
  settings: () => Settings,
  { logger, version }: { logger: Logger; version: string },
  { requests, storage }: Metrics,
): Promise<AppOptions> {
  const { server, limits, execution } = settings()
  return {
    logger,
    version,
    timeouts: { ...timeouts, idleMs: 2 * execution.timeoutMs + idleBeyondMs },
    closing: { silentMs: closing.giveUpAfterMs, allMs: closing.endAfterMs },
    tls: await readPem(settings()),
    corsOrigins: server.corsOrigins,
    allowedHosts: allowedHostsOf(server.host),
    bodyBytes: () => settings().limits.bodyBytes,
    connections: limits.connections,
    requestsPerMinute: () => settings().limits.requestsPerMinute,
    observeRequest: (route, method, status, ms) => requests.observe(route, method, status, ms),
    observeFault: (fault) => storage.answered(fault),
  }
}

/** @throws {StartError} for files that cannot be read or are no certificate and key */
export async function readPem({
  server: { tls },
}: Settings): Promise<{ readonly cert: Buffer; readonly key: Buffer } | null> {
  if (!tls) return null
  try {
    const pem = { cert: await readRegular(tls.certPath), key: await readRegular(tls.keyPath) }
    createSecureContext(pem)
    return pem
  } catch (cause) {
    throw new StartError(
      `server.tls_cert_path ${tls.certPath} and server.tls_key_path ${tls.keyPath} are not a certificate and its key in PEM that can be read.`,
      { cause },
    )
  }
}

/** To read a named pipe would take a thread for good, and hold up the end of the process. */
async function readRegular(path: string): Promise<Buffer> {
  if (!(await stat(path)).isFile()) throw new Error(`${path} is not a regular file`)
  return readFile(path)
}
