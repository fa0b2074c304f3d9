import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { MetricRegistry } from "../../src/metrics/registry.ts"
import { readingOf, samplesOf } from "../support/metrics.ts"

const errors = "config_manager_collect_errors_total"

suite("MetricRegistry", () => {
  test("reads a gauge anew at each scrape: a number, one per set of labels, or nothing", async () => {
    const registry = new MetricRegistry()
    const readings = [3, null, 0]
    registry.gauge("g", "One number.", () => readings.shift() ?? null)
    registry.gauge("h", "By colour.", async () => [{ labels: { colour: "red" }, value: 1 }], ["colour"])

    assert.deepEqual([readingOf(await registry.text(), "g"), readingOf(await registry.text(), "g")], [3, undefined])
    const text = await registry.text()
    assert.deepEqual([readingOf(text, "g"), readingOf(text, "h", { colour: "red" })], [0, 1])
    assert.match(text, /^# HELP g One number\.\n# TYPE g gauge\ng 0$/m)
  })

  test("shows no series that the last reading did not name", async () => {
    const registry = new MetricRegistry()
    const colours = ["red", "blue"]
    registry.gauge("g", "By colour.", () => [{ labels: { colour: colours.shift() ?? "" }, value: 1 }], ["colour"])
    await registry.text()
    assert.deepEqual(
      samplesOf(await registry.text()).map(({ labels }) => labels),
      [{ colour: "blue" }],
    )
  })

  test("tells everything else where a gauge fails, nothing stale in its place, and counts that", async () => {
    const registry = new MetricRegistry()
    let broken = false
    const read = (): number => {
      if (broken) throw new Error("the disk is gone")
      return 7
    }
    registry.gauge("fails_at_once", "x", read)
    registry.gauge("fails_later", "x", async () => read())
    registry.gauge("works", "x", () => 1)
    await registry.text()
    broken = true

    const text = await registry.text()
    assert.deepEqual(
      ["fails_at_once", "fails_later", "works"].map((name) => readingOf(text, name)),
      [undefined, undefined, 1],
    )
    const later = await registry.text()
    assert.equal(readingOf(later, errors, { metric: "fails_at_once" }), 1)
    assert.equal(readingOf(later, errors, { metric: "fails_later" }), 1)
    assert.doesNotMatch(later, /the disk is gone/)
  })

  test("does not wait for a gauge that hangs, nor reads it a second time meanwhile", async () => {
    const registry = new MetricRegistry(20)
    const hanging = Promise.withResolvers<number>()
    let reads = 0
    registry.gauge("hangs", "x", () => {
      reads += 1
      return hanging.promise
    })
    registry.gauge("works", "x", () => 1)

    for (const _ of [1, 2]) {
      const text = await registry.text()
      assert.deepEqual([readingOf(text, "hangs"), readingOf(text, "works")], [undefined, 1])
    }
    assert.equal(reads, 1)
    hanging.resolve(5)
    assert.equal(readingOf(await registry.text(), "hangs"), 5)
  })

  test("answers scrapes that come at the same time with one reading", async () => {
    const registry = new MetricRegistry()
    let reads = 0
    registry.gauge("g", "x", async () => {
      reads += 1
      return reads
    })
    const texts = await Promise.all([registry.text(), registry.text(), registry.text()])
    assert.deepEqual(
      texts.map((text) => readingOf(text, "g")),
      [1, 1, 1],
    )
    assert.equal(readingOf(await registry.text(), "g"), 2)
  })

  test("shows a counter that something else keeps as it stands, however often it is read", async () => {
    const registry = new MetricRegistry()
    registry.total("cpu_seconds_total", "x", "mode", () => ({ user: 1.5 }))
    await registry.text()
    assert.equal(readingOf(await registry.text(), "cpu_seconds_total", { mode: "user" }), 1.5)
  })

  test("refuses a name that is taken", () => {
    const registry = new MetricRegistry()
    registry.gauge("g", "x", () => 1)
    assert.throws(() => registry.gauge("g", "x", () => 1), /already been registered/)
  })

  test("shares nothing with another one", async () => {
    const [one, other] = [new MetricRegistry(), new MetricRegistry()]
    one.gauge("g", "x", () => 1)
    assert.doesNotMatch(await other.text(), /^g /m)
  })
})
