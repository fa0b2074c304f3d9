import type { ConfigRef } from "./config-type.ts"
import { digestOf } from "./digest.ts"

/**
 * What is told of versions and is not in their blobs, so that a catalog made anew from these equals the lost one (DESIGN 4).
 * Times: RFC 3339 UTC with ms.
 */
export type Note = VersionNote | DepartureNote

/** A version was pinned or unpinned, or its note changed; members left out stay. */
export interface VersionNote {
  readonly at: string
  readonly backupId: string
  readonly pinned?: boolean
  readonly note?: string | null
}

/** A config left the settings, or came back. */
export interface DepartureNote extends ConfigRef {
  readonly at: string
  readonly left: boolean
}

/** An append-only list beside the blobs. Every implementation passes test/contracts/notes.ts. */
export interface Notes {
  /** Has resolved when they are durable; where it rejects none of them is read later. @throws {Fault} `storage_full`, `backup_storage_unavailable` */
  append(notes: readonly Note[]): Promise<void>

  /** All of them, oldest first; a line that cannot be read is left out. @throws {Fault} `backup_storage_unavailable` */
  read(): Promise<readonly Note[]>

  /** How many lines cannot be read; a last one that was cut off is none of them. @throws {Fault} as `read` */
  unread(): Promise<number>

  /**
   * Replaces them all by these, at once: what later notes made void goes. Where a line of theirs cannot be read they are kept
   * beside the new ones. @throws {Fault} as `append`
   */
  replace(notes: readonly Note[]): Promise<void>
}

/** Longest note of a version, in characters. */
export const maxNoteLength = 1000

/**
 * Fact, as JSON of `SalvagedAnnotation[]`: pins and notes of versions that have no row. Those that another catalog had which this
 * one took the place of; and pins whose version was put aside.
 */
export const salvagedFact = "salvaged_annotations"

export interface SalvagedAnnotation {
  readonly backupId: string
  readonly pinned: boolean
  readonly note: string | null
}

/** @returns none for a text that is no such fact */
export function parseSalvaged(text: string): readonly SalvagedAnnotation[] {
  try {
    const found: unknown = JSON.parse(text)
    return Array.isArray(found) ? (found as readonly SalvagedAnnotation[]) : []
  } catch {
    return []
  }
}

/**
 * Fact: whether notes are sought at the place of the copies, since those here were lost, or may be earlier ones. "": they are not,
 * or not any more; otherwise since when, in the time of retention, or one of those that stand for a time which is not known yet.
 */
export const soughtNotesFact = "sought_notes"
export const soughtNow = "now"
/** Nothing says that any were lost; but whether the store was put back from an earlier copy with its catalog, nothing here says. */
export const soughtAtStart = "start"

/** Fact: digests of what this catalog's notes were when they were copied last, and of what stood there before. */
export const copiedNotesFact = "copied_notes"
/** Their copy is to be read before the next takes its place, whatever is known of it. */
export const notCopied = "unknown"

/** The notes in a file, and how many of its lines are none. */
export interface ParsedNotes {
  readonly notes: readonly Note[]
  readonly unread: number
}

/** Under which notes are kept of which a line cannot be read: the same bytes always get the same name. */
export function unreadNotesName(bytes: Uint8Array): string {
  return `notes-${digestOf(bytes).slice(0, 16)}.jsonl`
}

/** What all notes together say. */
export interface NotedState {
  /** By backup id, also of versions that are neither pinned nor have a note any more. */
  readonly versions: ReadonlyMap<string, Required<VersionNote>>
  /** By `vmId/type`: the day of leaving, or of coming back. */
  readonly departures: ReadonlyMap<string, DepartureNote>
}

/**
 * Of one version, or one config, the later line counts. One that is dated earlier all the same was put there by hand, from an old
 * copy, or by a clock that was set back: it unpins nothing, takes no note's place, and lets no config have left earlier.
 */
export function stateOf(notes: readonly Note[]): NotedState {
  const versions = new Map<string, Required<VersionNote>>()
  const departures = new Map<string, DepartureNote>()
  for (const note of notes) {
    if ("backupId" in note) {
      const before = versions.get(note.backupId) ?? { at: "", pinned: false, note: null }
      const pinned = before.pinned || note.pinned === true
      const earlier = { pinned, note: before.note ?? note.note ?? null }
      versions.set(note.backupId, { ...note, ...before, ...(note.at < before.at ? earlier : note) })
    } else {
      const key = subjectOf(note)
      const before = departures.get(key)
      // The day on which it left first counts, until it comes back.
      if (before?.left !== note.left)
        departures.set(key, before && before.at > note.at ? { ...note, at: before.at } : note)
    }
  }
  return { versions, departures }
}

/** Without lines that stand behind later ones of the same version or config once more, as where an old copy was put there by hand. */
export function withoutCopies(notes: readonly Note[]): readonly Note[] {
  const known = new Set<string>()
  const latest = new Map<string, string>()
  return notes.filter((note) => {
    const text = JSON.stringify(note)
    const before = latest.get(subjectOf(note)) ?? ""
    const isCopy = note.at < before && known.has(text)
    known.add(text)
    if (note.at > before) latest.set(subjectOf(note), note.at)
    return !isCopy
  })
}

/**
 * Those of both lists, each once: each list keeps its order, and of the two the earlier note comes first. What is of one version,
 * or one config, is put in order by itself: a note of another that a wrong clock has dated must not hold it back.
 */
export function joinedNotes(theirs: readonly Note[], ours: readonly Note[]): readonly Note[] {
  const known = new Set(ours.map((note) => JSON.stringify(note)))
  const news = new Set(theirs.filter((note) => !known.has(JSON.stringify(note))))
  const waiting = Map.groupBy(news, subjectOf)
  const earliest = earliestBehind(ours)
  const joined: Note[] = []
  const take = (note: Note): void => {
    if (news.delete(note)) joined.push(note)
  }
  for (const [index, note] of ours.entries()) {
    // What is earlier than all that follows is so, too, in the order of its own version or config.
    for (const next of news) {
      if (next.at > (earliest[index] ?? "")) break
      take(next)
    }
    const same = waiting.get(subjectOf(note)) ?? []
    for (let next = same[0]; next && next.at <= note.at; next = same[0]) {
      take(next)
      same.shift()
    }
    joined.push(note)
  }
  return [...joined, ...news]
}

function subjectOf(note: Note): string {
  return "backupId" in note ? note.backupId : `${note.vmId}/${note.type}`
}

/** For each note the earliest time of it and of those behind it. */
function earliestBehind(notes: readonly Note[]): readonly string[] {
  const times: string[] = []
  for (const { at } of notes.toReversed()) {
    const before = times.at(-1)
    times.push(before !== undefined && before < at ? before : at)
  }
  return times.reverse()
}

/**
 * The fewest notes that say the same, also where older ones are joined to them later (`joinedNotes`): that a config left once
 * before, and came back, must not be taken for the day on which it left.
 */
export function withoutVoid(notes: readonly Note[]): readonly Note[] {
  const { versions, departures } = stateOf(notes)
  const standing = [...versions.values()].filter(({ pinned, note }) => pinned || note !== null)
  const gone = [...departures.values()].filter(({ left }) => left)
  return [...standing, ...gone.flatMap((note) => [{ ...note, left: false }, note])]
}
