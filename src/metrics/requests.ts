import type { Counter } from "prom-client"
import type { MetricRegistry, Sample } from "./registry.ts"

const methods = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
/** Upper bounds, in seconds. */
const bounds = [0.005, 0.025, 0.1, 0.5, 2.5, 10]
const durationName = "config_manager_http_request_duration_seconds"

/** The requests of one method on one route. */
interface Series {
  readonly labels: { readonly method: string; readonly route: string }
  readonly byStatus: Map<number, number>
  /** How many took at most as long as each bound, and longer than the one before. */
  readonly buckets: number[]
  seconds: number
}

/**
 * HTTP requests. Every label is from a bounded set: what a caller makes up is `none` or `other`. They are counted here and told at
 * a scrape, for to count with prom-client costs a request a tenth of what all the rest of it does.
 */
export class RequestMetrics {
  readonly #bugs: Counter
  readonly #aborted: Counter
  /** By route, then by method. */
  readonly #series = new Map<string, Map<string, Series>>()

  constructor(registry: MetricRegistry) {
    registry.samples("config_manager_http_requests_total", "HTTP requests that were answered.", "counter", () =>
      this.#all().flatMap(requestsOf),
    )
    registry.samples(durationName, "Time from a request's headers to the end of its answer.", "histogram", () =>
      this.#all().flatMap(durationsOf),
    )
    // In a counter of its own, which is there from the start: a series that is born at 1 has never increased.
    this.#bugs = registry.counter(
      "config_manager_http_internal_errors_total",
      "Requests answered 500: each one is a bug.",
    )
    this.#aborted = registry.counter(
      "config_manager_http_requests_aborted_total",
      "HTTP requests whose caller hung up before it had the whole answer.",
    )
  }

  /**
   * @param route its pattern, never the URL; undefined: no route has this path
   * @param status null: the caller hung up before it had the whole answer
   */
  observe(route = "none", method: string, status: number | null, ms: number): void {
    if (status === null) {
      this.#aborted.inc()
      return
    }
    const series = this.#series.get(route)?.get(method) ?? this.#seriesOf(route, method)
    series.byStatus.set(status, (series.byStatus.get(status) ?? 0) + 1)
    const seconds = ms / 1000
    series.seconds += seconds
    const at = bounds.findIndex((bound) => seconds <= bound)
    if (at >= 0) series.buckets[at] = (series.buckets[at] ?? 0) + 1
    if (status === 500) this.#bugs.inc()
  }

  #seriesOf(route: string, given: string): Series {
    const method = methods.has(given) ? given : "other"
    const ofRoute = this.#series.get(route) ?? new Map<string, Series>()
    this.#series.set(route, ofRoute)
    const known = ofRoute.get(method)
    if (known) return known
    const series = { labels: { method, route }, byStatus: new Map(), buckets: bounds.map(() => 0), seconds: 0 }
    ofRoute.set(method, series)
    return series
  }

  #all(): readonly Series[] {
    return [...this.#series.values()].flatMap((ofRoute) => [...ofRoute.values()])
  }
}

function requestsOf({ labels, byStatus }: Series): readonly Sample[] {
  return [...byStatus].map(([status, value]) => ({ labels: { ...labels, status }, value }))
}

/** Prometheus counts a request in each bucket whose bound it keeps. */
function durationsOf({ labels, byStatus, buckets, seconds }: Series): readonly Sample[] {
  const count = sumOf([...byStatus.values()])
  const metricName = `${durationName}_bucket`
  const upTo = bounds.map((le, at) => ({
    metricName,
    labels: { ...labels, le },
    value: sumOf(buckets.slice(0, at + 1)),
  }))
  return [
    ...upTo,
    { metricName, labels: { ...labels, le: "+Inf" }, value: count },
    { metricName: `${durationName}_sum`, labels, value: seconds },
    { metricName: `${durationName}_count`, labels, value: count },
  ]
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0)
}
