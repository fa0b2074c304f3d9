import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { ScrubJob } from "../../src/jobs/scrub.ts"
import type { Scrubbed } from "../../src/services/scrubber.ts"

const well: Scrubbed = { looked: 2, bad: 0, copiesQueued: 0 }

/** A job whose rounds a test answers one by one. */
function makeJob(times: { readonly firstMs?: number; readonly everyMs?: number } = { firstMs: 0, everyMs: 0 }) {
  const rounds: { readonly signal: AbortSignal; end(found: Scrubbed | Error): void }[] = []
  let arrived = Promise.withResolvers<void>()
  const logged: string[] = []
  const told: Scrubbed[] = []
  const round = (signal: AbortSignal): Promise<Scrubbed> =>
    new Promise((resolve, reject) => {
      rounds.push({ signal, end: (found) => (found instanceof Error ? reject(found) : resolve(found)) })
      arrived.resolve()
      arrived = Promise.withResolvers()
    })
  const note = (level: string) => (_: unknown, text?: string) => void logged.push(`${level}: ${text}`)
  const logger = { info: note("info"), warn: note("warn"), error: note("error") }
  const job = new ScrubJob({ scrubber: { round }, logger, onRound: (found) => void told.push(found), ...times })
  return {
    job,
    rounds,
    logged,
    told,
    /** Resolves with the round that comes next. */
    next: async (count: number) => {
      while (rounds.length < count) await arrived.promise
      const [found] = rounds.slice(count - 1)
      assert.ok(found)
      return found
    },
  }
}

suite("ScrubJob", { timeout: 10_000 }, () => {
  test("goes on round after round, one at a time, and tells of each", async () => {
    const { job, rounds, told, next } = makeJob()
    job.start()
    for (let count = 1; count <= 3; count++) {
      const round = await next(count)
      assert.equal(rounds.length, count)
      round.end(well)
    }
    const last = await next(4)
    last.end(well)
    await job.stop()

    assert.deepEqual(told, [well, well, well, well])
  })

  test("goes on after a round that failed, and says so", async () => {
    const { job, logged, told, next } = makeJob()
    job.start()
    ;(await next(1)).end(new Fault("storage_busy", "The catalog is busy."))
    ;(await next(2)).end({ ...well, looked: 0 })
    await next(3)
    assert.deepEqual(logged, ["error: versions could not be looked at"])
    assert.equal(told.length, 1)
    ;(await next(3)).end(well)
    await job.stop()
  })

  for (const [what, found, level] of [
    ["versions that are well", well, "info"],
    ["bad versions", { ...well, bad: 1 }, "warn"],
    ["bad copies", { ...well, copiesQueued: 1 }, "warn"],
  ] as const) {
    test(`logs ${what} as ${level}`, async () => {
      const { job, logged, next } = makeJob()
      job.start()
      ;(await next(1)).end(found)
      await next(2)
      assert.deepEqual(logged, [`${level}: versions looked at`])
      ;(await next(2)).end({ ...well, looked: 0 })
      await job.stop()
    })
  }

  test("waits for the round that is under way when it stops, tells it so, and begins no other", async () => {
    const { job, rounds, next } = makeJob()
    job.start()
    const { signal, end } = await next(1)
    const stopping = job.stop()
    assert.equal(signal.aborted, true)
    end(well)
    await stopping
    await new Promise(setImmediate)

    assert.equal(rounds.length, 1)
  })

  test("does nothing with the rest of a start, and stops at once before its first round", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] })
    const { job, rounds } = makeJob({})
    job.start()
    t.mock.timers.tick(59_999)
    assert.equal(rounds.length, 0)
    await job.stop()
    t.mock.timers.tick(1)
    assert.equal(rounds.length, 0)
  })

  test("looks for the first time a minute after the start, and then every hour", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] })
    const { job, rounds, next } = makeJob({})
    job.start()
    t.mock.timers.tick(60_000)
    ;(await next(1)).end(well)
    await new Promise(setImmediate)
    t.mock.timers.tick(60 * 60_000 - 1)
    assert.equal(rounds.length, 1)
    t.mock.timers.tick(1)
    ;(await next(2)).end(well)
    await job.stop()
  })
})
