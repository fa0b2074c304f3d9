import assert from "node:assert/strict"
import { suite, test } from "node:test"
import {
  believedTime,
  clockText,
  laterOf,
  newClockRecord,
  parseClockRecord,
  type RetentionClockRecord,
  sight,
  unknownClock,
} from "../../src/domain/retention-clock.ts"

const day = 24 * 60 * 60 * 1000
const windowMs = 90 * day
const begin = Date.UTC(2026, 0, 1)
const at = (days: number): Date => new Date(begin + days * day)

/** Looks at the clock once a day of running, for `days` days: `wall` tells what it shows on each. */
function run(record: RetentionClockRecord, days: number, wall: (day: number) => Date): RetentionClockRecord {
  let now = record
  for (let each = 1; each <= days; each += 1) now = sight(now, wall(each), day, windowMs)
  return now
}

function believed(record: RetentionClockRecord): number {
  return (believedTime(record).getTime() - begin) / day
}

suite("The time that retention goes by", () => {
  const started = newClockRecord(at(0))

  test("is that of a clock that keeps time", () => {
    assert.equal(believed(run(started, 200, (each) => at(each))), 200)
  })

  test("does not jump with a clock that is set forward by ten years", () => {
    assert.equal(believed(run(started, 30, (each) => at(3650 + each))), 30)
  })

  test("is right at once when a clock that was set forward is set right", () => {
    const wrong = run(started, 30, (each) => at(3650 + each))
    assert.equal(believed(run(wrong, 10, (each) => at(30 + each))), 40)
  })

  test("goes back with a clock that is set back, and forgets that 90 days of running after it was set right", () => {
    const wrong = run(started, 2, () => new Date(0))
    assert.ok(believedTime(wrong).getTime() <= 0)
    const right = (days: number) => run(wrong, days, (each) => at(2 + each))
    assert.ok(believedTime(right(90)).getTime() < day * 100)
    assert.equal(believed(right(92)), 94)
  })

  test("stands still with a clock that stands still", () => {
    assert.equal(believed(run(started, 50, () => at(1))), 1)
  })

  test("believes in time without the service only after 90 days with it", () => {
    const before = run(started, 10, (each) => at(each))
    const after = (days: number) => run(before, days, (each) => at(40 + each))
    assert.equal(believed(after(1)), 11)
    assert.equal(believed(after(90)), 100)
    assert.equal(believed(after(92)), 132)
  })

  test("is not moved by steps of less than a minute, however many they are, but for that minute", () => {
    let record = started
    for (let each = 1; each <= 1000; each += 1) record = sight(record, new Date(begin + each * 1050), 1000, windowMs)
    assert.equal(record.leads.length, 1)
    assert.ok(Math.abs(believedTime(record).getTime() - begin - 1_000_000) <= 60_000)
  })

  test("keeps few leads however often the clock is set, and is never later for it", () => {
    let record = started
    for (let each = 1; each <= 5000; each += 1) {
      record = sight(record, new Date(begin + each * 600_000), 60_000, windowMs)
    }
    assert.ok(record.leads.length <= 100)
    assert.equal(believedTime(record).getTime(), begin + 5000 * 60_000)
  })

  test("is never later than the clock shows", () => {
    const ahead = newClockRecord(at(500))
    assert.ok(believedTime(sight(ahead, at(3), 0, windowMs)) <= at(3))
  })

  test("does not run backward where the clock that cannot be set seems to", () => {
    assert.equal(sight(started, at(0), -5000, windowMs).ranMs, 0)
  })

  test("outlives a restart", () => {
    const record = run(started, 30, (each) => at(3650 + each))
    assert.deepEqual(parseClockRecord(JSON.stringify(record)), record)
  })

  test("is not read where one bit of what is kept of it is another", () => {
    const record = { ...run(started, 30, (each) => at(3650 + each)), id: "one" }
    const text = clockText(record)
    assert.deepEqual(parseClockRecord(text), record)
    for (let bit = 0; bit < text.length * 8; bit += 1) {
      const bytes = Buffer.from(text)
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      assert.equal(parseClockRecord(String(bytes)), null, String(bytes))
    }
  })

  test("is not known where one that began anew stands beside one of the first, which had no id", () => {
    const ran = run(started, 200, at)
    for (const pair of [
      [ran, unknownClock("new")],
      [unknownClock("new"), ran],
    ] as const)
      assert.equal(laterOf(...pair), null)
    assert.equal(laterOf(ran, { ...run(ran, 1, (each) => at(200 + each)), id: "same" })?.id, "same")
  })

  test("is not kept with more leads than are ever made", () => {
    const leads = Array.from({ length: 101 }, (_, leadMs) => ({ leadMs, untilMs: 0 }))
    assert.equal(parseClockRecord(clockText({ id: "", ranMs: 1, leads })), null)
  })

  for (const text of [
    ...["", "null", "{}", "[]", "2026-01-01T00:00:00.000Z", '{"ranMs":0,"leads":[]}', '{"ranMs":-1,"leads":[{}]}'],
    ...['{"ranMs":0,"leads":[{"leadMs":"x","untilMs":0}]}', '{"ranMs":0,"leads":[{"leadMs":1e300,"untilMs":0}]}'],
    ...['{"ranMs":0,"leads":[{"leadMs":1,"untilMs":-1}]}', '{"ranMs":0,"leads":[null]}', '{"ranMs":"0","leads":[]}'],
  ]) {
    test(`does not take ${text === "" ? "an empty text" : text} for a record`, () => {
      assert.equal(parseClockRecord(text), null)
    })
  }
})
