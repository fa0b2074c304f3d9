import { StartError } from "../domain/start-error.ts"
import type { Settings } from "../settings.ts"
import { isLoopback } from "./addresses.ts"

/** What the operator takes on with a flag of `serve`. */
export interface ListeningFlags {
  readonly insecureHttp: boolean
  readonly noAuth: boolean
}

/**
 * Who listens beyond this machine must protect what is said, and say so where nobody is asked for a token.
 * (This version has no tokens, so that only `--no-auth` is left.)
 * @throws {StartError}
 */
export function checkListening(settings: Pick<Settings, "server">, flags: ListeningFlags): void {
  const { host, tls } = settings.server
  if (isLoopback(host)) return
  const missing: string[] = []
  if (tls === null && !flags.insecureHttp) {
    missing.push(
      "set server.tls_cert_path and server.tls_key_path, or pass --insecure-http to send everything in the clear",
    )
  }
  if (!flags.noAuth)
    missing.push("pass --no-auth to let everyone in who can reach it, for this version knows no tokens")
  if (missing.length === 0) return
  throw new StartError(
    `server.host ${host} can be reached from other machines: ${missing.join("; and ")}; or listen on 127.0.0.1.`,
  )
}
