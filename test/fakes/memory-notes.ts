import { Fault, type FaultCode } from "../../src/domain/fault.ts"
import type { Note, Notes } from "../../src/domain/notes.ts"

/** Notes in memory. `failing` makes each call reject, until it is null again. */
export class MemoryNotes implements Notes {
  notes: readonly Note[] = []
  failing: FaultCode | null = null

  async append(notes: readonly Note[]): Promise<void> {
    this.#failIfAsked()
    this.notes = [...this.notes, ...notes.map((note) => ({ ...note }))]
  }

  async read(): Promise<readonly Note[]> {
    this.#failIfAsked()
    return this.notes
  }

  async unread(): Promise<number> {
    this.#failIfAsked()
    return 0
  }

  async replace(notes: readonly Note[]): Promise<void> {
    this.#failIfAsked()
    this.notes = notes.map((note) => ({ ...note }))
  }

  #failIfAsked(): void {
    if (this.failing) throw new Fault(this.failing, `The notes were told to fail: ${this.failing}.`)
  }
}
