import { statfs } from "node:fs/promises"
import type { Catalog } from "../domain/catalog.ts"
import type { OperationState } from "../domain/operation.ts"
import type { MetricRegistry, Reading } from "./registry.ts"

/** What readiness says, in as far as it is shown. */
export interface Readiness {
  readonly ready: boolean
  readonly degraded: boolean
  readonly checks: readonly { readonly name: string; readonly ok: boolean }[]
}

type StateCatalog = Pick<Catalog, "totals" | "openOperations">

/** Where the state of the service is asked for, at a scrape. */
export interface StateSources {
  readonly catalog: StateCatalog
  readonly readiness: () => Promise<Readiness>
  readonly backupLocation: string
  readonly retention: {
    /** Whether the purge that nobody asks for is held back by its guard. */
    readonly isHeld: () => boolean
    /** How far the time that retention goes by is behind the wall clock. */
    readonly lagMs: () => number
  }
}

/** Probes write files and ask every part, and a scrape must not do that as often as somebody likes. */
const readinessStandsMs = 5000

/** Of operations that have not ended: a roll back that failed goes on as well. */
const doubtful: ReadonlySet<OperationState> = new Set(["in_doubt", "failed"])

/** What stands in the catalog and the blob store, and whether the service can do its work. */
export function addStateMetrics(registry: MetricRegistry, sources: StateSources): void {
  addReadiness(registry, kept(sources.readiness, readinessStandsMs))
  addVersions(registry, sources.catalog)
  registry.gauge("config_manager_purge_guarded", "1 while the daily purge is held back by its guard, else 0.", () =>
    Number(sources.retention.isHeld()),
  )
  registry.gauge(
    "config_manager_retention_clock_lag_seconds",
    "How far the time that retention goes by is behind the wall clock, which may have been set wrong.",
    () => sources.retention.lagMs() / 1000,
  )
  registry.gauge(
    "config_manager_operations_in_doubt",
    "Changes whose outcome, or whose roll back, is still being brought to its end.",
    async () => {
      const open = (await sources.catalog.openOperations()).map(({ operation }) => operation)
      return open.filter(({ state, finishedAt }) => finishedAt === null && doubtful.has(state)).length
    },
  )
  const room = () => statfs(sources.backupLocation)
  registry.gauge(
    "config_manager_store_free_bytes",
    "Room that is left for the service where backups are kept.",
    async () => {
      const { bavail, bsize } = await room()
      return bavail * bsize
    },
  )
  registry.gauge("config_manager_store_size_bytes", "Size of the file system where backups are kept.", async () => {
    const { blocks, bsize } = await room()
    return blocks * bsize
  })
}

function addReadiness(registry: MetricRegistry, readiness: () => Promise<Readiness>): void {
  registry.gauge("config_manager_ready", "1 while the service can do its work, else 0.", async () =>
    Number((await readiness()).ready),
  )
  registry.gauge("config_manager_degraded", "1 while a check of /readyz fails, else 0.", async () =>
    Number((await readiness()).degraded),
  )
  registry.gauge(
    "config_manager_readiness_check",
    "1 for each check of /readyz that passes, 0 for one that fails.",
    async () => (await readiness()).checks.map(({ name, ok }) => ({ labels: { check: name }, value: Number(ok) })),
    ["check"],
  )
}

function addVersions(registry: MetricRegistry, catalog: StateCatalog): void {
  const totals = kept(() => catalog.totals(), 100)
  registry.gauge("config_manager_versions", "Versions that are kept.", async () => (await totals()).versions)
  registry.gauge(
    "config_manager_versions_bytes",
    "Bytes that the versions stand for, unsealed.",
    async () => (await totals()).bytes,
  )
  registry.gauge(
    "config_manager_versions_not_ok",
    "Versions whose bytes cannot be had: damaged, missing, or locked (no loaded key opens them).",
    async (): Promise<Reading> => {
      const { damaged, missing, locked } = await totals()
      return Object.entries({ damaged, missing, locked }).map(([state, value]) => ({ labels: { state }, value }))
    },
    ["state"],
  )
}

/** Asks again only when the last answer is older than `standsMs`; those who ask meanwhile get the same. */
function kept<T>(ask: () => Promise<T>, standsMs: number): () => Promise<T> {
  let answer: Promise<T> | null = null
  let askedAt = 0
  return () => {
    if (answer !== null && performance.now() - askedAt < standsMs) return answer
    askedAt = performance.now()
    answer = ask()
    return answer
  }
}
