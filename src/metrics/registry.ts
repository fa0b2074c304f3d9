import { createRequire } from "node:module"
import type * as promClient from "prom-client"

// Its index loads a cluster and a push gateway too: 15 to 30 ms of the start, where these take 2.
const load = createRequire(import.meta.url)
const Registry = load("prom-client/lib/registry.js") as typeof promClient.Registry
const Counter = load("prom-client/lib/counter.js") as typeof promClient.Counter
const Gauge = load("prom-client/lib/gauge.js") as typeof promClient.Gauge
const Histogram = load("prom-client/lib/histogram.js") as typeof promClient.Histogram

/** What a gauge reads: one number; one per set of labels; null: nothing can be told, so it shows nothing. */
export type Reading = number | null | readonly { readonly labels: Labels; readonly value: number }[]

type Labels = Readonly<Record<string, string>>

/** One number of a metric, as it is told at a scrape. */
export interface Sample {
  /** Left out: the metric's own. */
  readonly metricName?: string
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
}

/** A file system that hangs must not hang the scrape, which tells everything else. */
const defaultLimitMs = 2000

/** The metrics of one service. A registry of its own, so that two services in one process do not count together. */
export class MetricRegistry {
  readonly #registry = new Registry()
  readonly #failures: promClient.Counter<"metric">
  readonly #limitMs: number

  /** @param limitMs how long a scrape waits for one gauge */
  constructor(limitMs = defaultLimitMs) {
    this.#limitMs = limitMs
    this.#failures = this.counter("config_manager_collect_errors_total", "Gauges that could not be read at a scrape.", [
      "metric",
    ])
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  counter<L extends string>(name: string, help: string, labelNames: readonly L[] = []): promClient.Counter<L> {
    return new Counter({ name, help, labelNames, registers: [this.#registry] })
  }

  histogram<L extends string>(
    name: string,
    help: string,
    options: { readonly buckets: readonly number[]; readonly labelNames?: readonly L[] },
  ): promClient.Histogram<L> {
    const { buckets, labelNames = [] } = options
    return new Histogram({ name, help, labelNames, buckets: [...buckets], registers: [this.#registry] })
  }

  /**
   * A gauge that is read at each scrape. Where `collect` fails, or takes longer than 2 s, it shows nothing that once,
   * and `config_manager_collect_errors_total` counts it; the next scrape waits for the same reading.
   * @param name with prefix and unit; it needs its row in docs/metrics.md
   * @param labelNames of readings with labels, whose values must come from a set that is bounded
   */
  gauge(
    name: string,
    help: string,
    collect: () => Reading | Promise<Reading>,
    labelNames: readonly string[] = [],
  ): void {
    const read = oneAtATime(collect, this.#limitMs)
    const failures = this.#failures
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.#registry],
      async collect() {
        let reading: Reading = null
        try {
          reading = await read()
        } catch {
          failures.inc({ metric: name })
        }
        this.reset()
        // prom-client shows a gauge without labels as 0 after a reset; nothing known is not zero.
        this.remove({})
        if (typeof reading === "number") this.set(reading)
        else for (const { labels, value } of reading ?? []) this.set(labels, value)
      },
    })
  }

  /** A counter that something else keeps: read at each scrape. */
  total<L extends string>(name: string, help: string, label: L, collect: () => Readonly<Record<string, number>>): void {
    new Counter({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect() {
        this.reset()
        for (const [value, total] of Object.entries(collect())) {
          this.inc({ [label]: value } as Record<L, string>, total)
        }
      },
    })
  }

  /** A metric that something else keeps, as prom-client would tell it: read at each scrape. */
  samples(name: string, help: string, type: "counter" | "histogram", read: () => readonly Sample[]): void {
    const metric = { name, get: async () => ({ name, help, type, values: read() }) }
    this.#registry.registerMetric(metric as unknown as promClient.Metric)
  }

  /** The Prometheus text format, 0.0.4. Scrapes at the same time share one reading of each gauge. */
  text(): Promise<string> {
    return this.#registry.metrics()
  }
}

/** Waits for `work` for a limited time; while it goes on, those who ask again wait for the same. */
function oneAtATime<T>(work: () => T | Promise<T>, limitMs: number): () => Promise<T> {
  let running: Promise<T> | null = null
  return async () => {
    running ??= (async () => work())().finally(() => {
      running = null
    })
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no reading in time")), limitMs)
    })
    try {
      return await Promise.race([running, late])
    } finally {
      clearTimeout(timer)
    }
  }
}
