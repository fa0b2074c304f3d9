import assert from "node:assert/strict"
import { writeFile } from "node:fs/promises"
import { suite, test } from "node:test"
import type { Fault } from "../../src/domain/fault.ts"
import type { ConnectionEvent } from "../../src/ssh/transport.ts"
import { arrange, asItself, plain, upToOneMiB } from "./transport-harness.ts"

suite("A connection that fails", () => {
  test("a server that freezes in a call: vm_timeout in time, a dead session, and the next one works", async (t) => {
    const { network, transport, vm, path } = await arrange(t, {}, { callTimeoutMs: 500 })
    const session = await transport.open(vm, asItself)
    await session.read(path, upToOneMiB)
    network.blackhole()
    const startedAt = performance.now()
    await assert.rejects(session.read(path, upToOneMiB), { code: "vm_timeout" })
    const tookMs = performance.now() - startedAt
    assert.ok(tookMs > 450 && tookMs < 550, `${tookMs} ms`)
    assert.equal(session.dead, true)
    await assert.rejects(session.read(path, upToOneMiB), { code: "connection_lost" })
    session.close()
    network.release()
    const next = await transport.open(vm, asItself)
    assert.equal(await next.read(path, upToOneMiB), null)
    next.close()
  })

  for (const [age, givenUpAfterMs, connections] of [
    ["that owes an answer for more than half of a call's time is handed to nobody new", 600, 2],
    ["whose call was given up soon goes on serving", 10, 1],
  ] as const) {
    test(age, async (t) => {
      const { network, transport, vm, path } = await arrange(t, {}, { callTimeoutMs: 1000 })
      const session = await transport.open(vm, asItself)
      await session.read(path, upToOneMiB)
      network.hold("down")
      await assert.rejects(session.read(path, upToOneMiB, AbortSignal.timeout(givenUpAfterMs)), {
        name: "TimeoutError",
      })
      session.close()

      const opening = transport.open(vm, asItself)
      network.release()
      const next = await opening

      assert.equal(await next.read(path, upToOneMiB), null)
      assert.equal(network.connections, connections)
      next.close()
    })
  }

  test("keepalive finds a peer that has gone while nobody calls", async (t) => {
    const lost = Promise.withResolvers<ConnectionEvent>()
    const onEvent = (event: ConnectionEvent) => (event.kind === "lost" ? lost.resolve(event) : undefined)
    const { network, transport, vm } = await arrange(t, {}, { keepaliveMs: 50, onEvent })
    const session = await transport.open(vm, asItself)
    network.blackhole()
    assert.equal((await lost.promise).fault?.code, "connection_lost")
    assert.equal(session.dead, true)
    session.close()
  })

  for (const direction of ["up", "down"] as const) {
    test(`a reset while the rename travels ${direction} is connection_lost, and the file is old or new`, async (t) => {
      const { network, transport, vm, path } = await arrange(t)
      await writeFile(path, "old")
      const session = await transport.open(vm, asItself)
      await session.stage(`${path}.new`, plain("new"))
      network.hold(direction)
      const swapping = session.swap(
        { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true },
        upToOneMiB,
      )
      network.onChunks(direction === "up" ? "down" : "up", 1, "reset")
      if (direction === "up") network.reset()
      await assert.rejects(swapping, { code: "connection_lost" })
      assert.equal(session.dead, true)
      session.close()
      network.release()
      const next = await transport.open(vm, asItself)
      const file = await next.read(path, upToOneMiB)
      assert.ok(["old", "new"].includes(file?.bytes.toString() ?? ""))
      if (direction === "up") assert.equal(file?.bytes.toString(), "old")
      next.close()
    })
  }

  test("every call that was under way is rejected, and none afterwards is sent", async (t) => {
    const { network, transport, vm, path } = await arrange(t)
    const sessions = await Promise.all([transport.open(vm, asItself), transport.open(vm, asItself)])
    const calls = Promise.allSettled(sessions.flatMap((each) => [each.read(path, upToOneMiB), each.exists(path)]))
    network.reset()
    for (const call of await calls) {
      assert.equal(call.status, "rejected")
      assert.equal((call.reason as Fault).code, "connection_lost")
    }
    for (const session of sessions) session.close()
  })

  test("a restarted server is reached by the next session", async (t) => {
    const { sshd, transport, vm } = await arrange(t)
    const session = await transport.open(vm, asItself)
    await sshd.restart()
    await assert.rejects(session.exists("/"), { code: "connection_lost" })
    session.close()
    const next = await transport.open(vm, asItself)
    assert.equal(await next.exists("/"), true)
    next.close()
  })

  test("a command that overruns its time is vm_timeout", async (t) => {
    const { transport, vm } = await arrange(t)
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.run("exec sleep 2", { timeoutMs: 300, maxOutputBytes: 100 }), { code: "vm_timeout" })
    assert.equal(session.dead, true)
    session.close()
  })
})
