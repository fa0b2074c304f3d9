import type { Version } from "./version.ts"

export const dayMs = 24 * 60 * 60 * 1000

/** No version that was superseded later than this many days ago goes, whatever is asked for. */
export const leastRetentionDays = 90

/** The time up to which versions must have been superseded to go: RFC 3339 UTC with ms. */
export function cutoffOf(now: Date, retentionDays: number): string {
  return new Date(now.getTime() - Math.max(retentionDays, leastRetentionDays) * dayMs).toISOString()
}

/**
 * Whether a version says that its file was found empty, and not that somebody wrote it so: more likely the content was lost
 * (a disk that was full, a file that was cut and never written again).
 */
function isSuspectEmpty({ size, trigger }: Pick<Version, "size" | "trigger">): boolean {
  return size === 0 && trigger !== "written"
}

/**
 * Whether a version has taken no other's place: its file was only found empty, or it can not be had. The last one of a config
 * that can be had must not go because of one that can not; and what one says that no loaded key opens, its time too, is proved
 * by nothing, so that anybody may have written it.
 */
export function isHollow(version: Pick<Version, "size" | "trigger" | "state">): boolean {
  return isSuspectEmpty(version) || version.state !== "ok"
}

type Ending = Pick<Version, "validFrom" | "supersededAt">
/** What came after a version. */
type Later = readonly Pick<Version, "validFrom" | "size" | "trigger" | "state">[]

/**
 * When other bytes took a version's place, or its config left the settings; null: it stands. One after which its file was
 * only found empty, or only versions that can not be had came, has lost its place to nothing: it is protected like the newest,
 * and loses its place once content comes that can be had, however long ago the first of those came.
 * @param leftAt when its config left the settings; null: it is in them
 * @param later the versions of its config that are newer
 */
export function endOf({ validFrom, supersededAt }: Ending, leftAt: string | null, later: Later): string | null {
  const taken = later.filter((version) => !isHollow(version)).map((version) => version.validFrom)
  if (taken.length > 0) return taken.reduce((a, b) => (a < b ? a : b))
  if (leftAt === null) return null
  // One that is newer than the day its config left stood there on a later day, whatever the clocks said.
  return [leftAt, validFrom, supersededAt ?? validFrom].reduce((a, b) => (a > b ? a : b))
}

/**
 * Whether a version may go. So any state of the time after `cutoff` can be brought back, and the newest of a config stays.
 * @param leftAt @param later as in `endOf`
 */
export function mayGo(
  version: Ending & Pick<Version, "pinned">,
  leftAt: string | null,
  later: Later,
  cutoff: string,
): boolean {
  if (version.pinned) return false
  const end = endOf(version, leftAt, later)
  return end !== null && end <= cutoff
}

/** Whether a purge of `going` out of `all` versions is done only when it is forced: more than half of them would go. */
export function isGuarded(going: number, all: number): boolean {
  return going > 0 && going * 2 > all
}
