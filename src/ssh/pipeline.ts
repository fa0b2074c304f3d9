import type { Sftp } from "./sftp.ts"

/** Calls under way at once; with chunks of 32 KiB as much as the channel's window of 2 MiB takes. */
const mostAtOnce = 72

/**
 * SFTP calls that are sent in order without waiting for each other; a server works through a channel in order too.
 * All of them are sent, whatever the others answer, so that a `close` at the end always happens.
 */
export class Pipeline {
  readonly #sftp: Sftp
  readonly #jobs: (() => Promise<void>)[] = []

  constructor(sftp: Sftp) {
    this.#sftp = sftp
  }

  /** @returns what the call answers, once `run` has sent it */
  add<T>(call: () => Promise<T>): Promise<T> {
    const answer = Promise.withResolvers<T>()
    answer.promise.catch(() => {})
    this.#jobs.push(() => call().then(answer.resolve, answer.reject))
    return answer.promise
  }

  /** Resolves when every call has been answered, one way or the other. */
  async run(): Promise<void> {
    const waiting = this.#jobs.values()
    const first = this.#sftp.flight(() => [...waiting.take(mostAtOnce)].map((job) => job()))
    const rest = this.#jobs.slice(mostAtOnce).values()
    const goOn = async (before: Promise<void>) => {
      await before
      for (const job of rest) await job()
    }
    await Promise.all(first.map(goOn))
  }
}
