interface NotesState {
  readonly ok: boolean
  readonly detail: string
}

/** Whether the notes were taken in when that was tried last. */
export class NotesHealth {
  /** null: they were. */
  #failure: unknown = null
  #retrying: Promise<unknown> | null = null

  /** Takes them in by `work`, and remembers how that went. */
  async watch<T>(work: () => Promise<T>): Promise<T> {
    try {
      const result = await work()
      this.#failure = null
      return result
    } catch (error) {
      this.#failure = error
      throw error
    }
  }

  /** @param retry where it went wrong, once at a time: whoever gave the file back need not wait for the next purge */
  async state(retry: () => Promise<unknown>): Promise<NotesState> {
    if (this.#failure !== null) {
      this.#retrying ??= retry()
        .catch(() => undefined)
        .finally(() => {
          this.#retrying = null
        })
      await this.#retrying
    }
    return this.#failure === null ? { ok: true, detail: "Pins and notes are known." } : unknown(this.#failure)
  }
}

function unknown(failure: unknown): NotesState {
  const detail =
    "notes.jsonl beside the backups could not be taken in: lists may lack pins and notes that stand in it, and until it can be, " +
    `PATCH, DELETE and purges of backups may be refused. ${failure instanceof Error ? failure.message : "unknown error"}`
  return { ok: false, detail }
}
