import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { CircuitBreaker } from "../../src/ssh/circuit-breaker.ts"

suite("CircuitBreaker", () => {
  test("pauses for 1, 2, 4, 8, 16 and then 30 s", () => {
    let now = 0
    const breaker = new CircuitBreaker(() => now)
    for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
      breaker.unreachable("vm01", "It did not answer.")
      now += seconds * 1000 - 1
      assert.throws(() => breaker.admit("vm01"), {
        code: "vm_unreachable",
        message: /^It did not answer\./,
        details: { retryAfterSeconds: 1 },
      })
      now += 1
      breaker.admit("vm01")
    }
  })

  test("begins anew with a VM that has answered", () => {
    let now = 0
    const breaker = new CircuitBreaker(() => now)
    breaker.unreachable("vm01", "x")
    breaker.unreachable("vm01", "x")
    breaker.reachable("vm01")
    breaker.admit("vm01")
    breaker.unreachable("vm01", "x")
    now = 1_000
    breaker.admit("vm01")
  })

  test("does not mistake one VM for another", () => {
    const breaker = new CircuitBreaker(() => 0)
    breaker.unreachable("vm01", "x")
    breaker.admit("vm02")
    assert.throws(() => breaker.admit("vm01"), { code: "vm_unreachable" })
  })
})
