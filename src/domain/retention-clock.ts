/**
 * The time that retention goes by. A clock that is set wrong must not let years of versions go, and no clock tells of
 * itself that it is wrong. What can be known is for how long the service has run, by a clock that nobody can set: so the
 * wall clock is believed only as far as it agrees with that. Noted is how far the wall clock stood ahead of the running
 * time, for as long back as versions must be kept, and the least of that counts:
 *
 *     believed time = running time + the least lead of the last 90 days of running
 *
 * A version superseded in these days was stamped by a clock with at least that lead, so it is not taken for older than it
 * is, whether the clock jumped forward, back, or stood still, before or after. Time that passed while the service did not
 * run looks like a clock set forward: it counts only after another 90 days of running, and until then versions are kept
 * for so much longer.
 */
export interface RetentionClockRecord {
  /** For how long the service has run, over all its processes: at most as long as it truly has. */
  readonly ranMs: number
  /** Oldest first, leads rising: an earlier, larger lead says nothing beside a later, smaller one. */
  readonly leads: readonly Lead[]
}

interface Lead {
  /** Wall clock (ms since 1970) less running time. */
  readonly leadMs: number
  /** Running time until which it may have been so. */
  readonly untilMs: number
}

/** Steps of a clock that keeps time; what is smaller is not told apart. */
const toleranceMs = 60_000
/** As many are kept; more can only come of a clock that is set all the time. */
const mostLeads = 100

/** @param wall the time that the running starts with: nothing is believed beyond it for as long as versions are kept */
export function newClockRecord(wall: Date): RetentionClockRecord {
  return { ranMs: 0, leads: [{ leadMs: wall.getTime(), untilMs: 0 }] }
}

/**
 * Notes what the wall clock shows now.
 * @param elapsedMs since `record` was made, by a clock that cannot be set @param windowMs how long versions are kept
 */
export function sight(
  record: RetentionClockRecord,
  wall: Date,
  elapsedMs: number,
  windowMs: number,
): RetentionClockRecord {
  const ranMs = record.ranMs + Math.max(0, Math.floor(elapsedMs))
  const leadMs = wall.getTime() - ranMs
  const last = record.leads.at(-1)
  // Until this moment it may have been as it was last seen.
  const seen = last ? [...record.leads.slice(0, -1), { ...last, untilMs: ranMs }] : []
  const smaller = seen.filter((lead) => lead.leadMs < leadMs && lead.untilMs >= ranMs - windowMs)
  const before = smaller.at(-1)
  const isSame = before !== undefined && before.untilMs === ranMs && leadMs - before.leadMs <= toleranceMs
  return { ranMs, leads: bounded(isSame ? smaller : [...smaller, { leadMs, untilMs: ranMs }]) }
}

/** @returns never later than the wall clock was at the last sighting */
export function believedTime({ ranMs, leads }: RetentionClockRecord): Date {
  return new Date(ranMs + Math.min(...leads.map(({ leadMs }) => leadMs)))
}

/** Which of two records of one service knows more: each is made of the one before. */
export function laterOf(one: RetentionClockRecord, other: RetentionClockRecord): RetentionClockRecord {
  return one.ranMs < other.ranMs ? other : one
}

/** @returns null for a text that is no record, or none that could have been made */
export function parseClockRecord(text: string): RetentionClockRecord | null {
  try {
    const { ranMs, leads } = JSON.parse(text) as RetentionClockRecord
    const isRecord = isTime(ranMs) && Array.isArray(leads) && leads.length > 0 && leads.every(isLead)
    return isRecord ? { ranMs, leads } : null
  } catch {
    return null
  }
}

function isLead(lead: Lead): boolean {
  return Number.isFinite(lead.leadMs) && Math.abs(lead.leadMs) < 8e15 && isTime(lead.untilMs)
}

function isTime(ms: unknown): boolean {
  return typeof ms === "number" && ms >= 0 && ms < 8e15
}

/** The two oldest become one that holds at least as much back. */
function bounded(leads: readonly Lead[]): readonly Lead[] {
  const [first, second, ...rest] = leads
  if (leads.length <= mostLeads || !first || !second) return leads
  return [{ leadMs: first.leadMs, untilMs: second.untilMs }, ...rest]
}
