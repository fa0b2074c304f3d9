import assert from "node:assert/strict"
import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { suite, test } from "node:test"
import type { ConnectionEvent } from "../../src/ssh/transport.ts"
import { arrange, asItself } from "./transport-harness.ts"

suite("The pool", () => {
  const hardly = { poolSize: 1, callTimeoutMs: 300 }

  test("shares one connection per VM", async (t) => {
    // One VM gets a quarter.
    const { network, transport, vm } = await arrange(t, {}, { poolSize: 40 })
    const sessions = await Promise.all(Array.from({ length: 10 }, () => transport.open(vm, asItself)))
    assert.equal(network.connections, 1)
    for (const session of sessions) session.close()
  })

  test("says config_busy to one who waits too long for a slot, and serves the next", async (t) => {
    const { transport, vm } = await arrange(t, {}, hardly)
    const session = await transport.open(vm, asItself)
    await assert.rejects(transport.open(vm, asItself), { code: "config_busy" })
    session.close()
    ;(await transport.open(vm, asItself)).close()
  })

  test("forgets one who stops waiting for a slot", async (t) => {
    const { transport, vm } = await arrange(t, {}, hardly)
    const session = await transport.open(vm, asItself)
    await assert.rejects(transport.open(vm, { ...asItself, signal: AbortSignal.abort(new Error("gone")) }), {
      message: "gone",
    })
    const giveUp = new AbortController()
    const waiting = transport.open(vm, { ...asItself, signal: giveUp.signal })
    giveUp.abort(new Error("gone"))
    await assert.rejects(waiting, { message: "gone" })
    session.close()
    ;(await transport.open(vm, asItself)).close()
  })

  test("closes a connection that nobody uses", async (t) => {
    const closed = Promise.withResolvers<void>()
    const onEvent = ({ kind }: ConnectionEvent) => (kind === "closed" ? closed.resolve() : undefined)
    const { network, transport, vm } = await arrange(t, {}, { idleTimeoutMs: 50, onEvent })
    ;(await transport.open(vm, asItself)).close()
    const waiting = setTimeout(() => {}, 2_000)
    await closed.promise
    clearTimeout(waiting)
    ;(await transport.open(vm, asItself)).close()
    assert.equal(network.connections, 2)
  })

  test("ends a connection whose VM left the settings when its last session is closed, not before", async (t) => {
    const events: string[] = []
    const { transport, vm } = await arrange(t, {}, { onEvent: ({ kind }) => events.push(kind) })
    const session = await transport.open(vm, asItself)
    transport.retain([vm])
    transport.retain([])
    assert.equal(await session.exists("/"), true)
    assert.deepEqual(events, ["opened"])
    session.close()
    assert.deepEqual(events, ["opened", "closed"])
  })

  test("makes a new connection for a VM whose user has changed", async (t) => {
    const { network, transport, vm } = await arrange(t)
    ;(await transport.open(vm, asItself)).close()
    await assert.rejects(transport.open({ ...vm, user: "nobody-at-all" }, asItself), { code: "vm_auth_failed" })
    assert.equal(network.connections, 2)
  })
})

suite("check", () => {
  const outcomes = (checks: readonly { name: string; ok: boolean }[]) => checks.map(({ name, ok }) => `${name} ${ok}`)

  test("tells each step of a connection that works", async (t) => {
    const { transport, vm } = await arrange(t)
    assert.deepEqual(outcomes(await transport.check(vm)), [
      "connect true",
      "host key true",
      "authentication true",
      "sftp true",
    ])
  })

  test("ends at the step that fails: host key, authentication, SFTP, the port", async (t) => {
    const { transport, vm, network } = await arrange(t, { config: ["Subsystem sftp /nonexistent/sftp-server"] })
    assert.deepEqual(outcomes(await transport.check(vm)).at(-1), "sftp false")
    const pinned = { ...vm, hostKeys: [`SHA256:${"A".repeat(43)}`] }
    assert.deepEqual(outcomes(await transport.check(pinned)).at(-1), "host key false")
    const stranger = { ...vm, user: "nobody-at-all" }
    assert.deepEqual(outcomes(await transport.check(stranger)).at(-1), "authentication false")
    await network.close()
    assert.deepEqual(outcomes(await transport.check(vm)), ["connect false"])
  })

  test("tells each step once, of the last try, where a server drops all that connect", async (t) => {
    const { transport, vm } = await arrange(t, {}, { connectTimeoutMs: 1_000 })
    let connections = 0
    const dropping = createServer((socket) => {
      connections += 1
      socket.on("error", () => {}).destroy()
    }).listen(0, "127.0.0.1")
    t.after(() => dropping.close())
    await once(dropping, "listening")
    const { port } = dropping.address() as AddressInfo

    assert.deepEqual(outcomes(await transport.check({ ...vm, port })), ["connect true", "host key false"])
    assert.ok(connections > 1)
  })

  test("tells why without a key, and when it is given up", async (t) => {
    const { transport, vm } = await arrange(t)
    assert.deepEqual(outcomes(await transport.check({ ...vm, privateKeyPath: "/nonexistent" })), [
      "authentication false",
    ])
    assert.deepEqual(outcomes(await transport.check(vm, AbortSignal.abort())), ["connect false"])
  })
})
