import type { Version } from "./version.ts"

export const dayMs = 24 * 60 * 60 * 1000

/** No version that was superseded later than this many days ago goes, whatever is asked for. */
export const leastRetentionDays = 90

/** The time up to which versions must have been superseded to go: RFC 3339 UTC with ms. */
export function cutoffOf(now: Date, retentionDays: number): string {
  return new Date(now.getTime() - Math.max(retentionDays, leastRetentionDays) * dayMs).toISOString()
}

/**
 * When other bytes took a version's place, or its config left the settings; null: it stands.
 * @param leftAt when its config left the settings; null: it is in them
 */
export function endOf(version: Pick<Version, "validFrom" | "supersededAt">, leftAt: string | null): string | null {
  const { supersededAt, validFrom } = version
  if (supersededAt !== null || leftAt === null) return supersededAt
  // One that is newer than the day its config left stood there on a later day, whatever the clocks said.
  return leftAt > validFrom ? leftAt : validFrom
}

/**
 * Whether a version may go. So any state of the time after `cutoff` can be brought back, and the newest of a config stays.
 * @param leftAt when its config left the settings: its newest version counts as superseded then; null: it is in them
 */
export function mayGo(
  version: Pick<Version, "validFrom" | "supersededAt" | "pinned">,
  leftAt: string | null,
  cutoff: string,
): boolean {
  if (version.pinned) return false
  const end = endOf(version, leftAt)
  return end !== null && end <= cutoff
}

/** Whether a purge of `going` out of `all` versions is done only when it is forced: more than half of them would go. */
export function isGuarded(going: number, all: number): boolean {
  return going > 0 && going * 2 > all
}
