import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { RateLimit } from "../../src/http/rate-limit.ts"
import { problemOf, serve } from "./serving.ts"
import { standIns } from "./stand-ins.ts"

suite("The requests of a client", () => {
  test("are counted for a minute from its first one, however many follow", () => {
    let now = 1000
    const limits = new RateLimit(() => now)
    assert.deepEqual(limits.take("10.0.0.1", 2), { remaining: 1, resetSeconds: 60 })
    now += 59_500
    assert.deepEqual(limits.take("10.0.0.1", 2), { remaining: 0, resetSeconds: 1 })
    assert.deepEqual(limits.take("10.0.0.1", 2), { remaining: -1, resetSeconds: 1 })
    now += 500
    assert.deepEqual(limits.take("10.0.0.1", 2), { remaining: 1, resetSeconds: 60 })
  })

  test("are held against the limit of the moment: a reload counts at once", () => {
    const limits = new RateLimit(() => 0)
    limits.take("10.0.0.1", 1)
    assert.equal(limits.take("10.0.0.1", 1).remaining, -1)
    assert.equal(limits.take("10.0.0.1", 10).remaining, 7)
  })

  const same: readonly [string, string][] = [
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"],
    ["2001:db8::1", "2001:db8:0:0:1::"],
    ["fe80::1%eth0", "fe80::2%eth1"],
    ["::1", "::2"],
    ["10.0.0.1", "::ffff:10.0.0.1"],
  ]
  for (const [one, other] of same) {
    test(`of ${one} and ${other} are one client's`, () => {
      const limits = new RateLimit(() => 0)
      limits.take(one, 2)
      assert.equal(limits.take(other, 2).remaining, 0)
    })
  }

  const different: readonly [string, string][] = [
    ["10.0.0.1", "10.0.0.2"],
    ["2001:db8:1:2::1", "2001:db8:1:3::1"],
    ["2001:db8::1:0:0:1", "2001:db8:0:1::1"],
    ["::ffff:10.0.0.1", "::1"],
  ]
  for (const [one, other] of different) {
    test(`of ${one} and ${other} are two clients'`, () => {
      const limits = new RateLimit(() => 0)
      limits.take(one, 2)
      assert.equal(limits.take(other, 2).remaining, 1)
    })
  }

  test("of one who has begun anew are not the oldest any more", () => {
    let now = 0
    const limits = new RateLimit(() => now)
    limits.take("10.0.0.1", 9)
    now = 30_000
    limits.take("10.0.0.2", 9)
    now = 60_000
    limits.take("10.0.0.1", 9)
    for (let n = 0; n < 4_999; n++) limits.take(`10.1.${n >> 8}.${n & 255}`, 9)
    assert.equal(limits.take("10.0.0.1", 9).remaining, 7)
    assert.equal(limits.take("10.0.0.2", 9).remaining, 8)
  })

  test("of more clients than are remembered push out the one whose minute ends first, and no other", () => {
    let now = 0
    const limits = new RateLimit(() => now)
    limits.take("10.0.0.1", 9)
    now = 1
    limits.take("10.0.0.2", 9)
    limits.take("10.0.0.1", 9)
    for (let n = 0; n < 4_999; n++) limits.take(`10.1.${n >> 8}.${n & 255}`, 9)
    assert.equal(limits.take("10.0.0.2", 9).remaining, 7)
    assert.equal(limits.take("10.0.0.1", 9).remaining, 8)
  })
})

suite("An answer", () => {
  test("tells the limit and what is left of it, a refusal when to come again", async (t) => {
    const base = await serve(t, standIns(), { requestsPerMinute: () => 1 })
    const told = ({ headers }: Response) =>
      ["limit", "remaining"].map((name) => headers.get(`x-ratelimit-${name}`)).join(" ")
    assert.equal(told(await fetch(`${base}/vms`)), "1 0")
    const refused = await fetch(`${base}/vms`)
    assert.equal(told(refused), "1 0")
    assert.equal(refused.headers.get("retry-after"), refused.headers.get("x-ratelimit-reset"))
    const { code, retryAfterSeconds } = await problemOf(refused)
    assert.deepEqual([code, String(retryAfterSeconds)], ["rate_limited", refused.headers.get("retry-after")])
  })

  test("tells nothing of limits where there are none, and on /healthz", async (t) => {
    const open = await fetch(`${await serve(t)}/vms`)
    const health = await fetch(`${await serve(t, standIns(), { requestsPerMinute: () => 1 })}/healthz`)
    for (const { headers } of [open, health]) assert.equal(headers.get("x-ratelimit-limit"), null)
  })
})
