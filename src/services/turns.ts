/** One piece of work after the other, first come, first served. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve()

  /** Does `work` once all that was asked for before it has ended, well or not. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => undefined)
    return done
  }
}
