import type { Version } from "./version.ts"

const dayMs = 24 * 60 * 60 * 1000

/** No version that was superseded later than this many days ago goes, whatever is asked for. */
export const leastRetentionDays = 90

/** The time up to which versions must have been superseded to go: RFC 3339 UTC with ms. */
export function cutoffOf(now: Date, retentionDays: number): string {
  return new Date(now.getTime() - Math.max(retentionDays, leastRetentionDays) * dayMs).toISOString()
}

/**
 * Whether a version may go. So any state of the time after `cutoff` can be brought back, and the newest of a config stays.
 * @param leftAt when its config left the settings: its newest version counts as superseded then; null: it is in them
 */
export function mayGo(
  version: Pick<Version, "supersededAt" | "pinned">,
  leftAt: string | null,
  cutoff: string,
): boolean {
  if (version.pinned) return false
  const endedAt = version.supersededAt ?? leftAt
  return endedAt !== null && endedAt <= cutoff
}

/** Why a purge of `going` out of `all` versions is not done without being forced: more than half of them would go. */
export function isGuarded(going: number, all: number): boolean {
  return going > 0 && going * 2 > all
}

/**
 * The time that retention goes by. A clock that was set wrong must not let years of versions go, so the wall clock is
 * believed only as far as this process has seen time pass: from the last trusted time on, twice as fast at most, so that
 * it catches up after a time without the service. A clock that is set back takes it along: versions are then kept longer.
 * @param trusted the last trusted time @param elapsedMs since then, by a clock that cannot be set
 */
export function trustedTime(wall: Date, trusted: Date, elapsedMs: number): Date {
  return new Date(Math.min(wall.getTime(), trusted.getTime() + 2 * Math.max(0, elapsedMs)))
}
