import assert from "node:assert/strict"
import { createHash, generateKeyPairSync } from "node:crypto"
import { once } from "node:events"
import { createServer, type Socket } from "node:net"
import { suite, type TestContext, test } from "node:test"
import ssh2 from "ssh2"
import type { Fault } from "../../src/domain/fault.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { dial, overTcp } from "../../src/ssh/dial.ts"
import { HandshakeLimits } from "../../src/ssh/handshake-limits.ts"
import { Budget } from "../../src/ssh/waiting.ts"
import { startSshd, vmOf } from "../support/sshd.ts"
import { arrange, asItself, transportFor, upToOneMiB, withSession } from "./transport-harness.ts"

suite("One VM", () => {
  test("that freezes takes no more than its share of the slots, and the others are served meanwhile", async (t) => {
    const { network, sshd, transport, vm, path } = await arrange(t, {}, { poolSize: 4, callTimeoutMs: 1_500 })
    ;(await transport.open(vm, asItself)).close()
    network.blackhole()
    let answered = 0
    const calls = Array.from({ length: 8 }, () =>
      withSession(transport, vm, (session) => session.read(path, upToOneMiB))
        .catch(() => {})
        .finally(() => {
          answered++
        }),
    )
    const healthy = vmOf(sshd, { vmId: "vm02" })
    const reading = Array.from({ length: 8 }, () =>
      withSession(transport, healthy, (session) => session.read(path, upToOneMiB)),
    )
    await Promise.all(reading)
    assert.equal(answered, 0)
    network.release()
    await Promise.all(calls)
  })

  test("is given its slots in order, also with other rights, and says config_busy to who waits too long", async (t) => {
    const { sshd, transport, vm } = await arrange(t, {}, { poolSize: 4, callTimeoutMs: 500 })
    const [first, second] = await Promise.all([transport.open(vm, asItself), transport.open(vm, asItself)])
    const waiting = transport.open(vm, asItself)
    await withSession(transport, vmOf(sshd, { vmId: "vm02" }), async (session) => assert.equal(session.dead, false))
    const others = { become: true, sftpServer: "/nonexistent" }
    first.close()
    const third = await waiting
    await assert.rejects(transport.open(vm, others), { code: "config_busy", message: /vm01/ })
    const startedAt = performance.now()
    await assert.rejects(transport.open(vm, asItself), { code: "config_busy" })
    assert.ok(performance.now() - startedAt < 700)
    for (const session of [second, third]) session.close()
    ;(await transport.open(vm, asItself)).close()
  })

  test("cannot take both of two slots, and may take the only one", async (t) => {
    const two = await arrange(t, {}, { poolSize: 2, callTimeoutMs: 300 })
    const held = await two.transport.open(two.vm, asItself)
    await assert.rejects(two.transport.open(two.vm, asItself), { code: "config_busy" })
    await withSession(two.transport, vmOf(two.sshd, { vmId: "vm02" }), async (session) => {
      assert.equal(session.dead, false)
    })
    held.close()
    const one = await arrange(t, {}, { poolSize: 1, callTimeoutMs: 300 })
    await withSession(one.transport, one.vm, async (session) => assert.equal(session.dead, false))
  })

  test("forgets those who stop waiting for its slots", async (t) => {
    const { transport, vm } = await arrange(t, {}, { poolSize: 4, callTimeoutMs: 5_000 })
    const held = await Promise.all([transport.open(vm, asItself), transport.open(vm, asItself)])
    const giveUp = new AbortController()
    const waiting = transport.open(vm, { ...asItself, signal: giveUp.signal })
    const next = transport.open(vm, asItself)
    giveUp.abort(new Error("gone"))
    await assert.rejects(waiting, { message: "gone" })
    held[0]?.close()
    ;(await next).close()
    held[1]?.close()
  })
})

suite("Handshakes", () => {
  test("hosts that accept and say nothing hold no turn at the arithmetic", async (t) => {
    const silent = await Promise.all(Array.from({ length: 6 }, () => listen(t, () => {})))
    await assertOthersConnect(t, silent, {})
  })

  test("hosts that never decide whether to let us in hold no turn either", async (t) => {
    const undecided = await Promise.all(Array.from({ length: 6 }, () => startUndecided(t)))
    await assertOthersConnect(t, undecided, { hostKeys: [undecided[0]?.fingerprint ?? ""] })
  })

  test("that cannot even be begun fail at once, whether or not the host talks", async (t) => {
    const { port } = await listen(t, () => {})
    const trust = { algorithms: ["of-no-kind"], judge: () => null, after: () => null }
    const identity = { kind: "agent", socket: "/nonexistent" } as const
    const hop = { whom: "the host", host: "127.0.0.1", port, pinned: [], user: "u", identity, trust }
    const limits = new HandshakeLimits(1, 1_000)
    const options = { budget: new Budget(2_000), limits, keepaliveMs: 1_000, retries: 0 }
    await assert.rejects(dial(hop, overTcp, options), (fault: Fault) => {
      assert.match(String(fault.cause), /[Uu]nsupported/)
      return true
    })
  })

  test("take turns at the arithmetic: a host that is kept waiting for its turn is served after it", async (t) => {
    const sshd = await startSshd()
    t.after(() => sshd.stop())
    const transport = transportFor(sshd, { maxHandshakes: 1 })
    t.after(() => transport.close())
    const vms = Array.from({ length: 12 }, (_, index) => vmOf(sshd, { vmId: `vm${index}` }))
    const sessions = await Promise.all(vms.map((vm) => transport.open(vm, asItself)))
    assert.ok(sessions.every((session) => !session.dead))
    for (const session of sessions) session.close()
  })
})

/** More hosts than there are turns, all of which get stuck; a healthy one is reached while none has been given up yet. */
async function assertOthersConnect(t: TestContext, stuck: readonly Listening[], overrides: Partial<Vm>) {
  const sshd = await startSshd()
  t.after(() => sshd.stop())
  const transport = transportFor(sshd, { maxHandshakes: 2, connectTimeoutMs: 2_000 })
  t.after(() => transport.close())
  const codes: unknown[] = []
  const opening = stuck.map(({ port }, index) =>
    transport
      .open(vmOf(sshd, { vmId: `stuck${index}`, port, ...overrides }), asItself)
      .catch((fault: Fault) => codes.push(fault.code)),
  )
  await Promise.all(stuck.map(({ isStuck }) => isStuck))
  await withSession(transport, vmOf(sshd), async (session) => assert.equal(session.dead, false))
  assert.deepEqual(codes, [])
  await Promise.all(opening)
  assert.deepEqual(
    codes,
    stuck.map(() => "vm_unreachable"),
  )
}

interface Listening {
  readonly port: number
  /** Resolves when the one who connects will hear nothing more. */
  readonly isStuck: Promise<unknown>
}

async function listen(t: TestContext, serve: (socket: Socket) => void): Promise<Listening> {
  const server = createServer((socket) => {
    socket.on("error", () => {})
    t.after(() => socket.destroy())
    serve(socket)
  })
  const isStuck = once(server, "connection")
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  t.after(() => server.close())
  const address = server.address()
  assert.ok(typeof address === "object" && address)
  return { port: address.port, isStuck }
}

const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
const hostKey = privateKey.export({ type: "sec1", format: "pem" }).toString()

/** An SSH server that agrees on keys, and then never answers who wants to come in. */
async function startUndecided(t: TestContext): Promise<Listening & { readonly fingerprint: string }> {
  const asked = Promise.withResolvers<void>()
  const ssh = new ssh2.Server({ hostKeys: [hostKey] }, (connection) => {
    connection.on("error", () => {})
    connection.on("authentication", () => asked.resolve())
  })
  const { port } = await listen(t, (socket) => ssh.injectSocket(socket))
  const parsed = ssh2.utils.parseKey(hostKey)
  assert.ok(!(parsed instanceof Error))
  const digest = createHash("sha256").update(parsed.getPublicSSH()).digest("base64")
  return { port, isStuck: asked.promise, fingerprint: `SHA256:${digest.replace(/=+$/, "")}` }
}
