import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { PurgeJob } from "../../src/jobs/purge.ts"
import type { PurgeReport } from "../../src/services/retention.ts"

/** Never, in the life of a test. */
const never = 24 * 60 * 60 * 1000
const soon = { firstMs: never, everyMs: never, soonMs: 1, pauseMs: 0 }
const nothing: PurgeReport = { removed: [], kept: 1 }

/** A purge that a test watches: each begin is noted, and ends as the test says. */
class Watched {
  readonly begunAt: number[] = []
  readonly lines: string[] = []
  pruned = 0
  persisted = 0
  answer: () => Promise<PurgeReport | null> = async () => nothing
  #waiting = new Set<() => void>()

  readonly parts = {
    retention: {
      purgeUnasked: () => {
        this.begunAt.push(performance.now())
        for (const look of this.#waiting) look()
        return this.answer()
      },
      health: () => ({ ok: false, detail: "60 of 100" }),
    },
    retentionClock: {
      now: async () => new Date(0),
      persist: async () => {
        this.persisted += 1
      },
    },
    backupRuns: {
      prune: async () => {
        this.pruned += 1
      },
    },
    logger: {
      info: (members: object, text: string) => void this.lines.push(`${text} ${JSON.stringify(members)}`),
      warn: (text: string) => void this.lines.push(text),
      error: ({ err }: { readonly err: Error }, text: string) => void this.lines.push(`${text}: ${err.message}`),
    },
  } as unknown as ConstructorParameters<typeof PurgeJob>[0]

  /** Resolves once so many purges have begun. */
  begun(count: number): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.begunAt.length < count) return
        this.#waiting.delete(look)
        resolve()
      }
      this.#waiting.add(look)
      look()
    })
  }
}

suite("The purge that nobody asks for", () => {
  test("comes some time after the start, and again and again", async () => {
    const watched = new Watched()
    const job = new PurgeJob(watched.parts, { ...soon, firstMs: 1, everyMs: 2 })
    job.start()
    await watched.begun(4)
    await job.stop()
    assert.ok(watched.pruned >= 3)
  })

  test("does not come before its time", async () => {
    const watched = new Watched()
    const job = new PurgeJob(watched.parts, soon)
    job.start()
    await job.stop()
    assert.deepEqual(watched.begunAt, [])
  })

  test("comes once for however many versions are made in a moment, and once more for those made meanwhile", async () => {
    const watched = new Watched()
    const { promise: held, resolve: goOn } = Promise.withResolvers<PurgeReport>()
    watched.answer = () => held
    const job = new PurgeJob(watched.parts, soon)
    for (let n = 0; n < 100; n += 1) job.versionMade()
    await watched.begun(1)
    for (let n = 0; n < 100; n += 1) job.versionMade()
    goOn(nothing)
    await watched.begun(2)
    await job.stop()
    assert.equal(watched.begunAt.length, 2)
  })

  test("leaves a pause after the one before, however many versions are made", async () => {
    const watched = new Watched()
    const job = new PurgeJob(watched.parts, { ...soon, pauseMs: 120 })
    job.versionMade()
    await watched.begun(1)
    job.versionMade()
    await watched.begun(2)
    await job.stop()
    const [first = 0, second = 0] = watched.begunAt
    // A timer counts from the begin of its turn of the event loop, which is a little earlier.
    assert.ok(second - first >= 100, `${second - first} ms`)
  })

  test("comes again after one that failed, which is told", async () => {
    const watched = new Watched()
    watched.answer = () => Promise.reject(new Error("no room"))
    const job = new PurgeJob(watched.parts, soon)
    job.versionMade()
    await watched.begun(1)
    watched.answer = async () => ({ removed: ["a", "b"], kept: 5 })
    job.versionMade()
    await watched.begun(2)
    await job.stop()
    assert.deepEqual(watched.lines, [
      "the purge failed; it is tried again with the next version, or in a day: no room",
      'purge {"removed":2,"kept":5}',
    ])
  })

  test("is told to be held back once, and again only after one that was not", async () => {
    const watched = new Watched()
    const job = new PurgeJob(watched.parts, soon)
    for (const [index, answer] of [null, null, nothing, null].entries()) {
      watched.answer = async () => answer
      job.versionMade()
      await watched.begun(index + 1)
      // The next one is asked for only when this one has ended.
      await new Promise((resolve) => setImmediate(resolve))
    }
    await job.stop()
    assert.deepEqual(watched.lines, ["purge held back: 60 of 100", "purge held back: 60 of 100"])
  })

  test("is waited for at the end, and never comes after it; the time it goes by is kept", async () => {
    const watched = new Watched()
    const { promise: held, resolve: goOn } = Promise.withResolvers<PurgeReport>()
    watched.answer = () => held
    const job = new PurgeJob(watched.parts, soon)
    job.versionMade()
    await watched.begun(1)
    job.versionMade()
    let stopped = false
    const stopping = job.stop().then(() => {
      stopped = true
    })
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(stopped, false)
    goOn(nothing)
    await stopping
    job.versionMade()
    assert.deepEqual([watched.begunAt.length, watched.persisted], [1, 1])
  })

  test("is not put off by versions that keep being made", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] })
    const watched = new Watched()
    const job = new PurgeJob(watched.parts, { ...soon, soonMs: 5000 })
    job.versionMade()
    t.mock.timers.tick(4000)
    job.versionMade()
    t.mock.timers.tick(1001)
    assert.equal(watched.begunAt.length, 1)
    await job.stop()
  })

  test("does not come any more once it was stopped", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] })
    for (const [stops, count] of [
      [false, 1],
      [true, 0],
    ] as const) {
      const watched = new Watched()
      const job = new PurgeJob(watched.parts, soon)
      if (stops) await job.stop()
      job.versionMade()
      t.mock.timers.tick(1000)
      assert.equal(watched.begunAt.length, count)
      await job.stop()
    }
  })

  test("keeps no process alive", async () => {
    const job = new PurgeJob(new Watched().parts)
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length
    const before = timers()
    job.start()
    job.versionMade()
    assert.equal(timers(), before)
    await job.stop()
  })
})
