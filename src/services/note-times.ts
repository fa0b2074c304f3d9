import type { Note } from "../domain/notes.ts"

/** Has no millisecond after it in the notation of notes. */
const endOfTimeMs = Date.parse("9999-12-31T23:59:59.999Z")

/**
 * Dates notes so that of one version a later one has a later time, also by a clock that stands still or was set back: where notes
 * of two places are joined, and where an earlier copy of them was put back, the time alone tells which came first. Those of
 * configs keep theirs, which is the day that retention counts from.
 */
export class NoteTimes {
  /** By version. */
  readonly #latest = new Map<string, string>()

  /** Takes note of what was noted. */
  see(notes: readonly Note[]): void {
    for (const note of notes) {
      if ("backupId" in note && note.at > (this.#latest.get(note.backupId) ?? ""))
        this.#latest.set(note.backupId, note.at)
    }
  }

  dated(notes: readonly Note[]): readonly Note[] {
    return notes.map((note) => {
      const latest = "backupId" in note ? this.#latest.get(note.backupId) : undefined
      const dated = latest === undefined || note.at > latest ? note : { ...note, at: nextTo(latest) }
      this.see([dated])
      return dated
    })
  }
}

function nextTo(time: string): string {
  return new Date(Math.min(Date.parse(time) + 1, endOfTimeMs)).toISOString()
}
