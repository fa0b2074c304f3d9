import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { cutoffOf, dayMs, isGuarded, leastRetentionDays, mayGo } from "../../src/domain/retention.ts"
import { believedTime, newClockRecord, sight } from "../../src/domain/retention-clock.ts"
import type { VersionState } from "../../src/domain/version.ts"

const begin = Date.UTC(2026, 0, 1)
const at = (days: number): string => new Date(begin + days * dayMs).toISOString()
const version = { validFrom: at(0), supersededAt: at(10), pinned: false }
const newest = { ...version, supersededAt: null }
/** What took the place of one that was superseded. */
const after = [{ validFrom: at(10), size: 9, trigger: "found", state: "ok" }] as const

suite("What may go", () => {
  const cases: readonly [string, Parameters<typeof mayGo>, boolean][] = [
    ["one superseded at the cutoff", [version, null, after, at(10)], true],
    ["one superseded after the cutoff", [version, null, after, at(9.999)], false],
    ["a pinned one, however old", [{ ...version, pinned: true }, null, after, at(9999)], false],
    ["the newest of a config in the settings, however old", [newest, null, [], at(9999)], false],
    ["the newest of a config that left at the cutoff", [newest, at(10), [], at(10)], true],
    ["the newest of a config that left after the cutoff", [newest, at(11), [], at(10)], false],
    ["a pinned one of a config that left", [{ ...newest, pinned: true }, at(1), [], at(10)], false],
    ["the newest, newer than the day its config left", [{ ...newest, validFrom: at(20) }, at(1), [], at(10)], false],
    ["one superseded long ago of a config that left just now", [version, at(99), after, at(10)], true],
  ]
  for (const [what, given, goes] of cases) {
    test(`${what}: ${goes ? "yes" : "no"}`, () => assert.equal(mayGo(...given), goes))
  }

  const full = { validFrom: at(10), size: 9, trigger: "found", state: "ok" } as const
  const foundEmpty = { ...full, size: 0, state: "ok" } as const
  const lost = (state: VersionState) => ({ ...full, state })
  const standing: readonly [string, Parameters<typeof mayGo>[2], boolean][] = [
    ["nothing came after it", [], true],
    ["its file was found empty since", [foundEmpty, { ...foundEmpty, trigger: "scheduled" }], true],
    ["somebody wrote the file empty", [{ ...foundEmpty, trigger: "written" }], false],
    ["other content came after it", [full], false],
    ["content came after the file was found empty", [foundEmpty, full], false],
    ["what came after it is locked", [{ ...full, size: null, state: "locked" }], true],
    ["what came after it is damaged or missing", [lost("damaged"), lost("missing")], true],
    ["what came after one that is damaged can be had", [lost("damaged"), full], false],
  ]
  for (const [what, later, stands] of standing) {
    test(`a version is protected like the newest where ${what}: ${stands ? "yes" : "no"}`, () => {
      assert.equal(mayGo(version, null, later, at(9999)), !stands)
    })
  }

  for (const [what, hollow] of [
    ["its file was found empty", foundEmpty],
    ["a version that is damaged now came", lost("damaged")],
  ] as const) {
    test(`a version after which ${what} loses its place only once other content comes, and may go long after that`, () => {
      const content = [
        { ...full, validFrom: at(500) },
        { ...full, validFrom: at(400) },
      ]
      assert.equal(mayGo(version, null, [hollow, ...content], at(399.999)), false)
      assert.equal(mayGo(version, null, [hollow, ...content], at(400)), true)
    })
  }

  test("no setting makes it fewer than 90 days", () => {
    for (const days of [90, 89, 1, 0, -5]) assert.equal(cutoffOf(new Date(at(100)), days), at(10))
    assert.equal(cutoffOf(new Date(at(400)), 365), at(35))
  })

  const guarded: readonly [number, number, boolean][] = [
    [0, 0, false],
    [0, 10, false],
    [5, 10, false],
    [6, 10, true],
    [1, 1, true],
    [1, 2, false],
  ]
  for (const [going, all, held] of guarded) {
    test(`${going} of ${all} ${held ? "are" : "are not"} too many at once`, () => {
      assert.equal(isGuarded(going, all), held)
    })
  }
})

/** A version with what really happened to it beside its stamps. */
interface Kept {
  readonly config: number
  readonly size: number
  readonly trigger: "found"
  readonly state: "ok"
  readonly validFrom: string
  supersededAt: string | null
  pinned: boolean
  /** When other bytes took its place, in true time; null: they did not. */
  trulyEnded: number | null
}

/** What happens in the life of a service, in true time. */
type Event =
  | { readonly what: "run" | "stand still"; readonly days: number }
  | { readonly what: "set the clock"; readonly byDays: number }
  | { readonly what: "freeze the clock" | "set the clock right" | "purge" }
  | { readonly what: "version" | "pin" | "unpin" | "leave" | "come"; readonly config: number }

/** A service over a clock that does what it wants, by the rules of the domain alone. */
class Life {
  readonly versions: Kept[] = []
  /** By config: the stamp of the day it left, and the true one. */
  readonly left = new Map<number, { readonly stamp: string; readonly truly: number }>()
  removed = 0
  #truly = begin
  #offset = 0
  #frozenAt: number | null = null
  #record = newClockRecord(new Date(begin))

  happen(event: Event): void {
    if (event.what === "run" || event.what === "stand still") {
      this.#truly += event.days * dayMs
      this.#look(event.what === "run" ? event.days * dayMs : 0)
    } else if (event.what === "set the clock") this.#offset += event.byDays * dayMs
    else if (event.what === "freeze the clock") this.#frozenAt ??= this.#wall()
    else if (event.what === "set the clock right") {
      this.#offset = 0
      this.#frozenAt = null
    } else if (event.what === "purge") this.#purge()
    else if ("config" in event) this.#change(event.what, event.config)
  }

  #change(what: "version" | "pin" | "unpin" | "leave" | "come", config: number): void {
    const own = this.versions.filter((each) => each.config === config)
    const last = own.at(-1)
    if (what === "pin" || what === "unpin") {
      if (last) last.pinned = what === "pin"
    } else if (what === "leave") {
      this.#look(0)
      if (!this.left.has(config)) this.left.set(config, { stamp: stampOf(this.#wall()), truly: this.#truly })
    } else if (what === "come") this.left.delete(config)
    else if (!this.left.has(config)) this.#make(config, last)
  }

  #make(config: number, last: Kept | undefined): void {
    this.#look(0)
    const validFrom = stampOf(Math.max(this.#wall(), last ? Date.parse(last.validFrom) + 1 : 0))
    if (last) {
      last.supersededAt = validFrom
      last.trulyEnded = this.#truly
    }
    this.versions.push({
      config,
      size: 9,
      trigger: "found",
      state: "ok",
      validFrom,
      supersededAt: null,
      pinned: false,
      trulyEnded: null,
    })
  }

  #purge(): void {
    this.#look(0)
    const cutoff = cutoffOf(believedTime(this.#record), leastRetentionDays)
    for (const each of [...this.versions]) {
      const left = this.left.get(each.config)
      const later = this.versions.filter((other) => other.config === each.config && other.validFrom > each.validFrom)
      if (!mayGo(each, left?.stamp ?? null, later, cutoff)) continue
      assert.ok(!each.pinned, "a pinned version went")
      const ended = each.trulyEnded ?? left?.truly
      assert.ok(ended !== undefined, "the newest version of a config in the settings went")
      const age = (this.#truly - ended) / dayMs
      assert.ok(age >= leastRetentionDays, `a version went ${age} days after it was superseded`)
      this.versions.splice(this.versions.indexOf(each), 1)
      this.removed += 1
    }
  }

  #look(elapsedMs: number): void {
    this.#record = sight(this.#record, new Date(this.#wall()), elapsedMs, leastRetentionDays * dayMs)
  }

  #wall(): number {
    return this.#frozenAt ?? this.#truly + this.#offset
  }
}

function stampOf(time: number): string {
  return new Date(time).toISOString()
}

const config = fc.nat({ max: 2 })
const days = fc.oneof(fc.constantFrom(0.01, 1, 30, 89, 91, 200), fc.double({ min: 0, max: 120, noNaN: true }))
const clockEvent = fc.oneof(
  fc.record({
    what: fc.constant("set the clock" as const),
    byDays: fc.oneof(fc.constantFrom(3650, -365, 91, -91, 1 / 24, -1 / 24), fc.integer({ min: -4000, max: 4000 })),
  }),
  fc.record({ what: fc.constantFrom("freeze the clock" as const, "set the clock right" as const) }),
)
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ what: fc.constant("run" as const), days }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant("stand still" as const), days }) },
  { weight: 1, arbitrary: clockEvent },
  { weight: 2, arbitrary: fc.record({ what: fc.constant("purge" as const) }) },
  { weight: 4, arbitrary: fc.record({ what: fc.constant("version" as const), config }) },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constantFrom("pin" as const, "unpin" as const, "leave" as const, "come" as const),
      config,
    }),
  },
)

suite("Whatever clocks, VMs and people do", () => {
  test("no pinned version goes, no newest one, and none within 90 true days after it was superseded", () => {
    let removed = 0
    fc.assert(
      fc.property(fc.array(event, { minLength: 5, maxLength: 80 }), (events) => {
        const life = new Life()
        for (const each of [...events, { what: "purge" } as const]) life.happen(each)
        removed += life.removed
      }),
      { numRuns: 5000 },
    )
    // Lives in which nothing ever goes would hold anything.
    assert.ok(removed > 1000, `only ${removed} versions went`)
  })

  test("all goes in the end that may: by a clock that keeps time, 90 days of running later", () => {
    const life = new Life()
    for (const each of [0, 1, 2]) {
      for (let n = 0; n < 3; n += 1) {
        life.happen({ what: "version", config: each })
        life.happen({ what: "run", days: 1 })
      }
    }
    life.happen({ what: "leave", config: 2 })
    life.happen({ what: "set the clock", byDays: -300 })
    life.happen({ what: "run", days: 5 })
    life.happen({ what: "set the clock right" })
    for (let day = 0; day <= 91; day += 1) life.happen({ what: "run", days: 1 })
    life.happen({ what: "purge" })
    assert.deepEqual(
      life.versions.map((each) => each.config),
      [0, 1],
    )
  })
})
