import type { Counter, Histogram } from "prom-client"
import type { Fault, FaultCode } from "../domain/fault.ts"
import type { MetricRegistry } from "./registry.ts"

/** What happens to a connection, as the SSH transport tells it. */
export interface SshEvent {
  readonly kind: "opened" | "refused" | "closed" | "lost"
  readonly durationMs: number
  readonly fault: Fault | null
}

/** What the SSH transport holds now. */
export interface SshStats {
  readonly connections: number
  readonly busyConnections: number
  readonly sessions: number
  readonly waitingSessions: number
  readonly openCircuits: number
}

const refusals = ["vm_unreachable", "vm_auth_failed", "host_key_mismatch", "host_key_unknown"] satisfies FaultCode[]

/** Connections to the VMs. */
export class SshMetrics {
  readonly #events: Counter<"kind" | "code">
  readonly #connects: Histogram

  constructor(registry: MetricRegistry) {
    this.#events = registry.counter(
      "config_manager_ssh_connection_events_total",
      "SSH connections opened, refused, closed and lost; code: why, none for no fault.",
      ["kind", "code"],
    )
    // There from the start: a series that is born at 1 has never increased, and an alert on it would stay silent.
    for (const code of refusals) this.#events.inc({ kind: "refused", code }, 0)
    this.#connects = registry.histogram(
      "config_manager_ssh_connect_duration_seconds",
      "Time from TCP to a working SFTP channel, of connections that opened.",
      { buckets: [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] },
    )
  }

  observe({ kind, durationMs, fault }: SshEvent): void {
    this.#events.inc({ kind, code: fault?.code ?? "none" })
    if (kind === "opened") this.#connects.observe(durationMs / 1000)
  }
}

/** @param stats asked once for each gauge of a scrape, so it must be cheap */
export function addSshStats(registry: MetricRegistry, stats: () => SshStats): void {
  const gauge = (name: string, help: string, member: keyof SshStats): void =>
    registry.gauge(`config_manager_ssh_${name}`, help, () => stats()[member])
  gauge("connections_open", "SSH connections that stand.", "connections")
  gauge("connections_busy", "SSH connections that at least one session is using.", "busyConnections")
  gauge("sessions_active", "Sessions on VMs, of remote_execution.connection_pool_size at most.", "sessions")
  gauge("sessions_waiting", "Calls that wait for a free session.", "waitingSessions")
  gauge("circuits_open", "VMs that could not be reached and are not asked again for the moment.", "openCircuits")
}
