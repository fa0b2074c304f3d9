import { digestOf } from "./digest.ts"

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
  /** Records of one id were made of each other; those of two say nothing of each other's clocks. "": one of the first, which had none. */
  readonly id: string
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
export function newClockRecord(wall: Date, id = ""): RetentionClockRecord {
  return { id, ranMs: 0, leads: [{ leadMs: wall.getTime(), untilMs: 0 }] }
}

/** Takes the place of what was known of the time here: versions come that were stamped by clocks nobody here has seen. */
export function unknownClock(id: string): RetentionClockRecord {
  return newClockRecord(new Date(0), id)
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
  return { id: record.id, ranMs, leads: bounded(isSame ? smaller : [...smaller, { leadMs, untilMs: ranMs }]) }
}

/**
 * Whether the clock that stamped a version is accounted for. What a record has not seen made was made before it began: once it
 * has run for as long as versions are kept that is long ago, whatever the stamp says. Until then only a stamp that no clock it
 * has seen is behind of is one that it knows.
 */
export function vouchesFor({ ranMs, leads }: RetentionClockRecord, stamp: Date, windowMs: number): boolean {
  return ranMs >= windowMs || leads.some(({ leadMs }) => leadMs <= stamp.getTime())
}

/** @returns what the wall clock showed at the last sighting, in ms since 1970 */
export function lastSeen({ ranMs, leads }: RetentionClockRecord): number {
  return ranMs + (leads.at(-1)?.leadMs ?? 0)
}

/** @returns never later than the wall clock was at the last sighting */
export function believedTime({ ranMs, leads }: RetentionClockRecord): Date {
  return new Date(ranMs + Math.min(...leads.map(({ leadMs }) => leadMs)))
}

/**
 * Which of two records knows more: each is made of the one before. null: they are of two stores, so that neither counts here. One
 * that has not run yet was made of none, so that a record of the first ones, without an id, is no earlier one of it.
 */
export function laterOf(one: RetentionClockRecord, other: RetentionClockRecord): RetentionClockRecord | null {
  const isNew = one.ranMs === 0 || other.ranMs === 0
  if (one.id !== other.id && (isNew || (one.id !== "" && other.id !== ""))) return null
  return one.ranMs < other.ranMs ? other : one
}

/** With a check value: by one digit that rotted the service would have run for years. */
export function clockText(record: RetentionClockRecord): string {
  const check = digestOf(Buffer.from(JSON.stringify(record))).slice(0, 16)
  return JSON.stringify({ ...record, check })
}

/** @returns null for a text that is not one of `clockText`'s, or tells of what cannot be */
export function parseClockRecord(text: string): RetentionClockRecord | null {
  try {
    const { id = "", ranMs, leads, check } = JSON.parse(text) as RetentionClockRecord & { readonly check?: string }
    const isRecord = isTime(ranMs) && leads.length > 0 && leads.length <= mostLeads && leads.every(isLead)
    const record = { id, ranMs, leads: leads.map(({ leadMs, untilMs }) => ({ leadMs, untilMs })) }
    const isWhole = (check === undefined && id === "") || clockText(record) === text
    return isRecord && isWhole ? record : null
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
