import { readdir, readFile } from "node:fs/promises"
import { monitorEventLoopDelay } from "node:perf_hooks"
import type { MetricRegistry, Reading } from "./registry.ts"

/** How often the event loop is looked at; what comes on top of it is lag. */
const resolutionMs = 20
/** Two scrapers see the same lag, as each of them looks more often than this. */
const windowMs = 60_000

/** The process itself. @returns what ends the watching */
export function addProcessMetrics(registry: MetricRegistry, version: string): () => void {
  registry.gauge(
    "config_manager_build_info",
    "Always 1; the labels tell the version of the service and of Node.",
    () => [{ labels: { version, node: process.version }, value: 1 }],
    ["version", "node"],
  )
  const startedAt = Date.now() / 1000 - process.uptime()
  registry.gauge("config_manager_process_start_time_seconds", "When the process started.", () => startedAt)
  registry.gauge("config_manager_process_resident_memory_bytes", "Memory of the process (RSS).", () =>
    process.memoryUsage.rss(),
  )
  registry.gauge(
    "config_manager_process_heap_used_bytes",
    "JavaScript heap in use.",
    () => process.memoryUsage().heapUsed,
  )
  registry.gauge("config_manager_process_open_fds", "Open file descriptors.", openDescriptors)
  registry.gauge("config_manager_process_max_fds", "Limit of open file descriptors.", mostDescriptors)
  registry.total("config_manager_process_cpu_seconds_total", "CPU time of the process.", "mode", () => {
    const { user, system } = process.cpuUsage()
    return { user: user / 1e6, system: system / 1e6 }
  })
  const lag = monitorEventLoopDelay({ resolution: resolutionMs })
  lag.enable()
  let since = performance.now()
  registry.gauge(
    "config_manager_event_loop_lag_seconds",
    "How late the event loop was within the last minute or two.",
    () => {
      const reading = lagOf(lag)
      if (performance.now() - since < windowMs) return reading
      since = performance.now()
      lag.reset()
      return reading
    },
    ["quantile"],
  )
  return () => void lag.disable()
}

function lagOf(lag: ReturnType<typeof monitorEventLoopDelay>): Reading {
  const seconds = (ns: number): number => Math.max(0, ns / 1e9 - resolutionMs / 1000)
  return [
    { labels: { quantile: "0.5" }, value: seconds(lag.percentile(50)) },
    { labels: { quantile: "0.99" }, value: seconds(lag.percentile(99)) },
    { labels: { quantile: "1" }, value: seconds(lag.max) },
  ]
}

/** Linux only; elsewhere nothing is shown. */
async function openDescriptors(): Promise<Reading> {
  if (process.platform !== "linux") return null
  // One of them is the directory that is being read.
  return (await readdir("/proc/self/fd")).length - 1
}

async function mostDescriptors(): Promise<Reading> {
  if (process.platform !== "linux") return null
  const [, limit] = /^Max open files\s+(\d+)/m.exec(await readFile("/proc/self/limits", "latin1")) ?? []
  return limit === undefined ? null : Number(limit)
}
