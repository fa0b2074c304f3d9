import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { vmOf } from "../support/sshd.ts"
import { arrange, asItself } from "./transport-harness.ts"

const nothing = { connections: 0, busyConnections: 0, sessions: 0, waitingSessions: 0, openCircuits: 0 }

suite("What the transport tells of itself", () => {
  test("is nothing before anybody calls, and after all is closed", async (t) => {
    const { transport, vm } = await arrange(t)
    assert.deepEqual(transport.stats(), nothing)
    await transport.open(vm, asItself)
    await transport.close()
    assert.deepEqual(transport.stats(), { ...nothing, sessions: 1 }, "a session is given back by who holds it")
  })

  test("is one connection, busy as long as one of its sessions is held", async (t) => {
    const { transport, vm } = await arrange(t)
    const sessions = [await transport.open(vm, asItself), await transport.open(vm, asItself)]
    assert.deepEqual(transport.stats(), { ...nothing, connections: 1, busyConnections: 1, sessions: 2 })
    for (const session of sessions) session.close()
    assert.deepEqual(transport.stats(), { ...nothing, connections: 1 })
  })

  test("is who waits for a session: of the VM, and of all", async (t) => {
    // One VM gets 2 of 3.
    const { sshd, transport, vm } = await arrange(t, {}, { poolSize: 3 })
    const other = vmOf(sshd, { vmId: "vm02" })
    const held = [await transport.open(vm, asItself), await transport.open(vm, asItself)]
    const waiting = [transport.open(vm, asItself)]
    assert.equal(transport.stats().waitingSessions, 1)
    held.push(await transport.open(other, asItself))
    waiting.push(transport.open(other, asItself))
    // Its VM has room, and the turn at that takes it to the queue of all.
    await new Promise(setImmediate)
    const { sessions, waitingSessions } = transport.stats()
    assert.deepEqual({ sessions, waitingSessions }, { sessions: 3, waitingSessions: 2 })
    for (const session of held) session.close()
    for (const session of await Promise.all(waiting)) session.close()
    assert.equal(transport.stats().waitingSessions, 0)
  })

  test("is the VMs that are given their pause, until it is over", async (t) => {
    let now = 0
    const { transport, vm } = await arrange(t, {}, { now: () => now, connectTimeoutMs: 300, retries: 0 })
    await assert.rejects(transport.open({ ...vm, port: 1 }, asItself), { code: "vm_unreachable" })
    assert.equal(transport.stats().openCircuits, 1)
    now = 60_000
    assert.equal(transport.stats().openCircuits, 0)
  })

  test("counts no VM whose host key is refused among those that cannot be reached", async (t) => {
    const { transport, vm } = await arrange(t)
    const pinned = { ...vm, hostKeys: [`SHA256:${"A".repeat(43)}`] }
    await assert.rejects(transport.open(pinned, asItself), { code: "host_key_mismatch" })
    assert.deepEqual(transport.stats(), nothing)
  })
})
