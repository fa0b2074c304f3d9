import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { Gate } from "../../src/ssh/gate.ts"

const refusal = () => new Fault("config_busy", "full")
const patient = { waitMs: 10_000, refusal }

suite("Gate", () => {
  test("lets no more in than its limit, and the others in order", async () => {
    const gate = new Gate(2, 10)
    const order: string[] = []
    const enter = (name: string) =>
      gate.enter(patient).then((leave) => {
        order.push(name)
        return leave
      })
    const [first, second] = await Promise.all([enter("a"), enter("b")])
    const third = enter("c")
    const fourth = enter("d")
    assert.deepEqual(order, ["a", "b"])
    second()
    ;(await third)()
    ;(await fourth)()
    first()
    assert.deepEqual(order, ["a", "b", "c", "d"])
    assert.equal(gate.idle, true)
  })

  test("counts one who leaves twice once", async () => {
    const gate = new Gate(1, 10)
    const leave = await gate.enter(patient)
    leave()
    const second = await gate.enter(patient)
    leave()
    await assert.rejects(gate.enter({ ...patient, waitMs: 1 }), { code: "config_busy" })
    second()
  })

  test("refuses at once when too many wait", async () => {
    const gate = new Gate(1, 1)
    const leave = await gate.enter(patient)
    const waiting = gate.enter(patient)
    await assert.rejects(gate.enter(patient), { code: "config_busy" })
    leave()
    ;(await waiting)()
  })

  test("gives the turn of one who stopped waiting to the next", async () => {
    const gate = new Gate(1, 10)
    const leave = await gate.enter(patient)
    const giveUp = new AbortController()
    const gone = gate.enter({ ...patient, signal: giveUp.signal })
    const late = gate.enter({ ...patient, waitMs: 1 })
    const next = gate.enter(patient)
    giveUp.abort(new Error("gone"))
    await assert.rejects(gone, { message: "gone" })
    await assert.rejects(late, { code: "config_busy" })
    leave()
    ;(await next)()
    assert.equal(gate.idle, true)
  })
})
