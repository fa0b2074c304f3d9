import type { Catalog } from "../domain/catalog.ts"
import { keyOf } from "../domain/config-type.ts"
import {
  type Note,
  parseSalvaged,
  type SalvagedAnnotation,
  salvagedFact,
  stateOf,
  withoutCopies,
  withoutVoid,
} from "../domain/notes.ts"

/** Fact of the catalog: what was noted last, by its time and what it is of. Notes without it are older than the catalog. */
const lastNoteFact = "last_note"
/** Fact: the latest time of all that was ever noted. The last one's may be earlier: a clock was set back. */
const latestNoteFact = "latest_note"

type Known = Pick<Catalog, "fact" | "annotatedVersions" | "departures">

/**
 * What the catalog has beyond notes that are older than itself, as after the store was put back from an earlier copy: they
 * unpin nothing, no config left earlier by them, and one that came back since has not left. What was noted later than the
 * catalog's last counts all the same: it may be the catalog that is an earlier copy, and its last one gone from newer notes,
 * cleared away as void, or lost and noted again.
 * @param isWhole whether all notes could be read: some of them may be newer than the last that was @param at of what is noted again
 */
export async function notesBeyond(
  catalog: Known,
  { notes, isWhole, at }: { readonly notes: readonly Note[]; readonly isWhole: boolean; readonly at: string },
): Promise<readonly Note[]> {
  const last = (await catalog.fact(lastNoteFact)) ?? ""
  if (last === "" || (isWhole && notes.some((note) => nameOf(note) === last))) return []
  const latest = (await catalog.fact(latestNoteFact)) ?? last.slice(0, last.indexOf(" "))
  const isNews = (note: Note): boolean => note.at > latest
  const { versions, departures } = stateOf(notes)
  const pins = (await annotationsOf(catalog)).flatMap(({ backupId, pinned, note }) => {
    const noted = versions.get(backupId)
    if (!noted || isNews(noted) || (noted.pinned === pinned && noted.note === note)) return []
    return [{ at, backupId, pinned: pinned || noted.pinned, note: note ?? noted.note }]
  })
  const gone = await catalog.departures()
  const days = gone.flatMap(({ leftAt, vmId, type }) => {
    const noted = departures.get(keyOf({ vmId, type }))
    if (!noted || noted.at >= leftAt) return []
    // The day on which it left first counts, until it comes back.
    return [false, true].map((left) => ({ at: leftAt, vmId, type, left }))
  })
  const away = new Set(gone.map(keyOf))
  const left = [...departures.values()].filter((noted) => noted.left && !isNews(noted))
  const back = left.filter((noted) => !away.has(keyOf(noted)))
  return [...pins, ...days, ...back.map(({ vmId, type }) => ({ at, vmId, type, left: false }))]
}

/** What protects versions by `ours` and would not by `all`, to be noted again. @param at of a pin */
export function undoneBy(all: readonly Note[], ours: readonly Note[], at: string): readonly Note[] {
  const before = stateOf(withoutCopies(ours))
  const after = stateOf(withoutCopies(all))
  const pinned = [...before.versions.values()].filter((noted) => noted.pinned)
  const unpinned = pinned.filter(({ backupId }) => !after.versions.get(backupId)?.pinned)
  const earlier = [...before.departures].filter(([key, { left, at: day }]) => {
    return left && (after.departures.get(key)?.at ?? day) < day
  })
  return [
    ...unpinned.map(({ backupId }) => ({ at, backupId, pinned: true })),
    ...earlier.flatMap(([, noted]) => [false, true].map((left) => ({ ...noted, left }))),
  ]
}

/** Also those of the catalog that this one took the place of: its own rows are new, and say nothing yet. */
async function annotationsOf(catalog: Known): Promise<readonly SalvagedAnnotation[]> {
  const own = await catalog.annotatedVersions()
  const known = new Set(own.map(({ backupId }) => backupId))
  const salvaged = parseSalvaged((await catalog.fact(salvagedFact)) ?? "")
  return [...own, ...salvaged.filter(({ backupId }) => !known.has(backupId))]
}

/** Keeps what is pinned and has no row: the notes may be cut before it has one again. */
export async function noteSalvaged(
  catalog: Pick<Catalog, "fact" | "setFact">,
  annotations: readonly SalvagedAnnotation[],
): Promise<void> {
  const text = annotations.length > 0 ? JSON.stringify(annotations) : ""
  if (((await catalog.fact(salvagedFact)) ?? "") !== text) await catalog.setFact(salvagedFact, text)
}

/** Keeps which of the notes that the catalog says is the last, and the latest time of all. */
export async function noteLast(catalog: Pick<Catalog, "fact" | "setFact">, notes: readonly Note[]): Promise<void> {
  const before = (await catalog.fact(latestNoteFact)) ?? ""
  const latest = notes.reduce((max, { at }) => (at > max ? at : max), before)
  if (latest !== before) await catalog.setFact(latestNoteFact, latest)
  const last = notes.at(-1)
  await catalog.setFact(lastNoteFact, last ? nameOf(last) : "")
}

/**
 * The fewest notes that say the same, and the last of all at their end, void or not: by it notes that are an earlier copy are
 * told, and what stands may all be in those, too.
 */
export function clearedNotes(notes: readonly Note[]): readonly Note[] {
  const standing = withoutVoid(notes)
  const last = notes.at(-1)
  if (!last) return standing
  const isLast = (note: Note): boolean => nameOf(note) === nameOf(last)
  const end = standing.filter(isLast)
  return [...standing.filter((note) => !isLast(note)), ...(end.length > 0 ? end : [last])]
}

/** What tells one note from the others. */
function nameOf(note: Note): string {
  return `${note.at} ${"backupId" in note ? note.backupId : keyOf(note)}`
}
