import type { Catalog } from "../domain/catalog.ts"
import { copiedNotesFact, type Note, soughtNotesFact, soughtNow } from "../domain/notes.ts"

type Facts = Pick<Catalog, "fact" | "setFact">

/**
 * A catalog that is new, or had notes to copy, and finds none: what is pinned may stand at the place of the copies alone.
 * Durable before anything is noted here: a later start could not tell any more.
 */
export async function lookForLoss(facts: Facts, found: readonly Note[]): Promise<void> {
  const sought = await facts.fact(soughtNotesFact)
  const isNew = sought === null
  if (found.length === 0 && (isNew || (!sought && (await facts.fact(copiedNotesFact))))) {
    await facts.setFact(soughtNotesFact, soughtNow)
  } else if (isNew) await facts.setFact(soughtNotesFact, "")
}

/** They are sought no more. @returns whether they were */
export async function endSearch(facts: Facts): Promise<boolean> {
  const wereSought = Boolean(await facts.fact(soughtNotesFact))
  if (wereSought) await facts.setFact(soughtNotesFact, "")
  return wereSought
}
