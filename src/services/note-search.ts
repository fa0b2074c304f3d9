import type { Catalog } from "../domain/catalog.ts"
import {
  copiedNotesFact,
  type Note,
  type Notes,
  notCopied,
  soughtAtStart,
  soughtNotesFact,
  soughtNow,
} from "../domain/notes.ts"

type Facts = Pick<Catalog, "fact" | "setFact">

/**
 * A catalog that is new, or had notes to copy, and finds none: what is pinned may stand at the place of the copies alone. As it
 * may where a store was put back from an earlier copy, of which nothing here tells: so each process looks there once.
 * Durable before anything is noted here: a later start could not tell any more.
 */
export async function lookForLoss(facts: Facts, found: readonly Note[]): Promise<void> {
  const sought = await facts.fact(soughtNotesFact)
  if (sought && sought !== soughtAtStart) return
  const isLost = found.length === 0 && (sought === null || Boolean(await facts.fact(copiedNotesFact)))
  await facts.setFact(soughtNotesFact, isLost ? soughtNow : soughtAtStart)
}

/**
 * What a line said that cannot be read any more their copy off this host may know: it is read again before the next takes its place.
 * @returns whether all of them can be read
 */
export async function lookForRot({ catalog, notes, onProblem }: RotParts): Promise<boolean> {
  const lines = await notes.unread()
  if (lines === 0) return true
  await catalog.setFact(copiedNotesFact, notCopied)
  const what = `${lines} of the lines of notes.jsonl cannot be read: the pins, notes and days of leaving that the catalog knows`
  onProblem(`${what} are noted again, and what stood there is kept as notes-DIGEST.jsonl`, undefined)
  return false
}

interface RotParts {
  readonly catalog: Facts
  readonly notes: Pick<Notes, "unread">
  /** Told in a sentence. */
  readonly onProblem: (message: string, error: unknown) => void
}

/** They are sought no more. @returns whether they were lost, or a purge has asked for them */
export async function endSearch(facts: Facts): Promise<boolean> {
  const sought = await facts.fact(soughtNotesFact)
  if (sought) await facts.setFact(soughtNotesFact, "")
  return Boolean(sought) && sought !== soughtAtStart
}
