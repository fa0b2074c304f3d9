import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { ConfigLocks } from "../../src/services/config-locks.ts"

const ref = { vmId: "vm01", type: "central" }
const never = new AbortController().signal

suite("ConfigLocks", () => {
  test("lets the next one in only after a release, first come first served", async () => {
    const locks = new ConfigLocks(1000)
    const order: string[] = []
    const release = await locks.acquire(ref, never)
    const enter = async (name: string): Promise<() => void> => {
      const next = await locks.acquire(ref, never)
      order.push(name)
      return next
    }
    const second = enter("second")
    const third = enter("third")
    assert.deepEqual(order, [])
    release()
    const releaseSecond = await second
    assert.deepEqual(order, ["second"])
    releaseSecond()
    const releaseThird = await third
    assert.deepEqual(order, ["second", "third"])
    releaseThird()
  })

  test("does not make another config wait", async () => {
    const locks = new ConfigLocks(1000)
    const release = await locks.acquire(ref, never)
    const other = await locks.acquire({ ...ref, type: "env" }, never)
    other()
    release()
  })

  test("refuses the seventeenth who would wait", async () => {
    const locks = new ConfigLocks(1000)
    const release = await locks.acquire(ref, never)
    const waiting = Array.from({ length: 16 }, () => locks.acquire(ref, never))
    await assert.rejects(locks.acquire(ref, never), { code: "config_busy" })
    release()
    for (const turn of waiting) (await turn)()
  })

  test("refuses one whose turn does not come in time, and lets the others go on", async () => {
    const locks = new ConfigLocks(20)
    const release = await locks.acquire(ref, never)
    await assert.rejects(locks.acquire(ref, never), { code: "config_busy" })
    release()
    const next = await locks.acquire(ref, never)
    next()
  })

  test("drops a waiter whose caller hangs up, and passes the turn to the one behind", async () => {
    const locks = new ConfigLocks(1000)
    const hangUp = new AbortController()
    const release = await locks.acquire(ref, never)
    const gone = locks.acquire(ref, hangUp.signal)
    const behind = locks.acquire(ref, never)
    hangUp.abort(new Error("gone"))
    await assert.rejects(gone, { message: "gone" })
    release()
    const next = await behind
    next()
  })

  test("gives nothing to a caller who has hung up already", async () => {
    const locks = new ConfigLocks(1000)
    await assert.rejects(locks.acquire(ref, AbortSignal.abort(new Error("gone"))), { message: "gone" })
    const next = await locks.acquire(ref, never)
    next()
  })

  test("refuses everybody while an outcome is open, those who wait already too", async () => {
    const locks = new ConfigLocks(1000)
    const release = await locks.acquire(ref, never)
    const waiting = locks.acquire(ref, never)
    locks.doubt(ref, "op-1")
    await assert.rejects(waiting, {
      code: "operation_in_doubt",
      details: { operationId: "op-1", fileState: "unchanged", retryAfterSeconds: 5 },
    })
    await assert.rejects(locks.acquire(ref, never), { code: "operation_in_doubt" })
    assert.throws(() => locks.refuseDoubt(ref), { code: "operation_in_doubt" })
    release()
    await assert.rejects(locks.acquire(ref, never), { code: "operation_in_doubt" })
    locks.settle(ref)
    const next = await locks.acquire(ref, never)
    next()
  })

  test("ignores a late release of somebody whose doubt was settled for them", async () => {
    const locks = new ConfigLocks(1000)
    const late = await locks.acquire(ref, never)
    locks.doubt(ref, "op-1")
    locks.settle(ref)
    const holder = await locks.acquire(ref, never)
    let entered = false
    const waiting = locks.acquire(ref, never).then((next) => {
      entered = true
      return next
    })
    late()
    await Promise.resolve()
    assert.equal(entered, false)
    holder()
    const next = await waiting
    next()
  })

  test("ignores a second release", async () => {
    const locks = new ConfigLocks(1000)
    const first = await locks.acquire(ref, never)
    first()
    const second = await locks.acquire(ref, never)
    first()
    const waiting = locks.acquire(ref, never)
    second()
    const third = await waiting
    third()
  })
})
