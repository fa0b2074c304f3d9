import type { MetricRegistry } from "./registry.ts"

/** How far copies off this host are behind. */
export interface CopyState {
  readonly waiting: number
  /** How long the oldest of them has waited. */
  readonly oldestMs: number
  /** Whether copying fails now. */
  readonly isFailing: boolean
}

/** Versions looked at in turn, and copies off this host. */
export class KeepingMetrics {
  readonly #looked
  readonly #bad
  readonly #differing
  readonly #healed
  readonly #registry: MetricRegistry

  constructor(registry: MetricRegistry) {
    this.#registry = registry
    this.#looked = registry.counter("config_manager_scrub_versions_total", "Versions that were looked at in turn.")
    this.#bad = registry.counter(
      "config_manager_scrub_bad_versions_total",
      "Versions looked at in turn that cannot be had; one that stays so is counted each time.",
    )
    this.#differing = registry.counter(
      "config_manager_scrub_bad_copies_total",
      "Copies off this host that differed from their version, or were gone, and were made anew.",
    )
    this.#healed = registry.counter(
      "config_manager_versions_healed_total",
      "Versions that came back from their copy off this host.",
    )
  }

  /** One round of looking. */
  scrubbed(found: { readonly looked: number; readonly bad: number; readonly copiesQueued: number }): void {
    this.#looked.inc(found.looked)
    this.#bad.inc(found.bad)
    this.#differing.inc(found.copiesQueued)
  }

  healed(): void {
    this.#healed.inc()
  }

  /** @param lag null: no place for copies is set, so nothing is shown of them */
  watch(lag: (() => Promise<CopyState>) | null): void {
    const show = (name: string, help: string, of: (state: CopyState) => number): void =>
      this.#registry.gauge(name, help, async () => (lag === null ? null : of(await lag())))
    show(
      "config_manager_copies_waiting",
      "Copies off this host that are to be made, or to be taken away; counted up to 10 000.",
      ({ waiting }) => waiting,
    )
    show(
      "config_manager_copies_oldest_waiting_seconds",
      "How long the oldest of the copies that wait has waited; 0 where none does.",
      ({ oldestMs }) => oldestMs / 1000,
    )
    show("config_manager_copies_failing", "1 while copying off this host fails, else 0.", ({ isFailing }) =>
      Number(isFailing),
    )
  }
}
