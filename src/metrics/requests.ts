import type { Counter, Histogram } from "prom-client"
import type { MetricRegistry } from "./registry.ts"

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

interface Series {
  readonly requests: Counter.Internal
  readonly durations: Histogram.Internal<"method" | "route">
}

/** HTTP requests. Every label is from a bounded set: what a caller makes up is `none` or `other`. */
export class RequestMetrics {
  readonly #requests: Counter<"method" | "route" | "status">
  readonly #durations: Histogram<"method" | "route">
  readonly #bugs: Counter
  /** To find a series by its labels costs ten times what counting does. */
  readonly #series = new Map<string, Series>()

  constructor(registry: MetricRegistry) {
    this.#requests = registry.counter("config_manager_http_requests_total", "HTTP requests that were answered.", [
      "method",
      "route",
      "status",
    ])
    this.#durations = registry.histogram(
      "config_manager_http_request_duration_seconds",
      "Time from a request's headers to the end of its answer.",
      { buckets: [0.005, 0.025, 0.1, 0.5, 2.5, 10], labelNames: ["method", "route"] },
    )
    // In a counter of its own, which is there from the start: a series that is born at 1 has never increased.
    this.#bugs = registry.counter(
      "config_manager_http_internal_errors_total",
      "Requests answered 500: each one is a bug.",
    )
  }

  /** @param route its pattern, never the URL; undefined: no route has this path */
  observe(route: string | undefined, method: string, status: number, ms: number): void {
    const known = methods.has(method) ? method : "other"
    const { requests, durations } = this.#seriesOf(route ?? "none", known, status)
    requests.inc()
    durations.observe(ms / 1000)
    if (status === 500) this.#bugs.inc()
  }

  #seriesOf(route: string, method: string, status: number): Series {
    const key = `${status} ${method} ${route}`
    const known = this.#series.get(key)
    if (known) return known
    const requests = this.#requests.labels({ method, route, status })
    const series = { requests, durations: this.#durations.labels({ method, route }) }
    this.#series.set(key, series)
    return series
  }
}
