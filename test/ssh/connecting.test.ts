import assert from "node:assert/strict"
import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { readFile, rename, writeFile } from "node:fs/promises"
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import type { Fault } from "../../src/domain/fault.ts"
import { type Sshd, startSshd, vmOf } from "../support/sshd.ts"
import { asItself, makeFolder, makeKey, transportFor, withSession } from "./transport-harness.ts"

suite("SshTransport.open", () => {
  let sshd: Sshd
  before(async () => {
    sshd = await startSshd()
  })
  after(() => sshd.stop())

  test("a key that the server does not know is vm_auth_failed", async (t) => {
    const transport = transportFor(sshd)
    t.after(() => transport.close())
    const stranger = await makeKey(join(await makeFolder(t), "stranger"), "ed25519")
    await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: stranger }), asItself), { code: "vm_auth_failed" })
  })

  test("authentication that failed is tried once, and again by the next call", async (t) => {
    const transport = transportFor(sshd)
    t.after(() => transport.close())
    const stranger = await makeKey(join(await makeFolder(t), "stranger"), "ed25519")
    const vm = vmOf(sshd, { privateKeyPath: stranger })
    for (const attempts of [1, 1]) {
      const logged = sshd.log().length
      await assert.rejects(transport.open(vm, asItself), { code: "vm_auth_failed" })
      assert.equal(
        sshd
          .log()
          .slice(logged)
          .match(/Connection from/g)?.length,
        attempts,
      )
    }
  })

  test("a key that is a named pipe is refused, and not waited for", async (t) => {
    const path = join(sshd.root, "key-pipe")
    execFileSync("mkfifo", [path])
    const transport = transportFor(sshd)
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: path }), asItself), {
      code: "vm_auth_failed",
      message: `The private key ${path} is not a regular file.`,
    })
  })

  test("an encrypted key without a passphrase says what to set", async (t) => {
    const transport = transportFor(sshd)
    t.after(() => transport.close())
    const path = await makeKey(join(await makeFolder(t), "encrypted"), "ed25519", "correct horse")
    await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: path }), asItself), {
      code: "vm_auth_failed",
      message: /encrypted.*passphrase_env/,
    })
  })

  test("an encrypted key with the wrong passphrase is told apart, and the passphrase not told", async (t) => {
    const transport = transportFor(sshd, { passphrase: "wrong horse" })
    t.after(() => transport.close())
    const path = await makeKey(join(await makeFolder(t), "encrypted"), "ed25519", "correct horse")
    await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: path }), asItself), (fault: Fault) => {
      assert.equal(fault.code, "vm_auth_failed")
      assert.match(fault.message, /does not open/)
      assert.doesNotMatch(fault.message, /horse/)
      return true
    })
  })

  for (const [what, content] of [
    ["garbage", "not a key\n"],
    ["an empty file", ""],
  ] as const) {
    test(`${what} in place of a key is vm_auth_failed and names the path`, async (t) => {
      const transport = transportFor(sshd)
      t.after(() => transport.close())
      const path = join(await makeFolder(t), "key")
      await writeFile(path, content)
      await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: path }), asItself), (fault: Fault) => {
        assert.equal(fault.code, "vm_auth_failed")
        assert.ok(fault.message.includes(path))
        return true
      })
    })
  }

  test("no key at all is vm_auth_failed and names where one is looked for", async (t) => {
    const transport = transportFor(sshd, { keyStoragePath: "/nonexistent/keys" })
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: null }), asItself), {
      code: "vm_auth_failed",
      message: /\/nonexistent\/keys\/id_ed25519_vm01/,
    })
  })

  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    test(`a key is found in the key storage by the VM's id: id_${type}_vm01`, async (t) => {
      const folder = await makeFolder(t)
      const path = await makeKey(join(folder, `id_${type}_vm01`), type)
      const authorized = await readFile(`${path}.pub`, "utf8")
      await writeFile(join(folder, "authorized_keys"), authorized)
      const other = await startSshd({ config: [`AuthorizedKeysFile ${join(folder, "authorized_keys")}`] })
      t.after(() => other.stop())
      const transport = transportFor(other, { keyStoragePath: folder, privateKeyPath: "/nonexistent/never-asked" })
      t.after(() => transport.close())
      const vm = vmOf(other, { privateKeyPath: null })
      await withSession(transport, vm, async (session) => assert.equal(session.dead, false))
    })
  }

  test("a key that is replaced is read anew", async (t) => {
    const transport = transportFor(sshd)
    t.after(() => transport.close())
    const folder = await makeFolder(t)
    const path = await makeKey(join(folder, "key"), "ed25519")
    const vm = vmOf(sshd, { privateKeyPath: path })
    await assert.rejects(transport.open(vm, asItself), { code: "vm_auth_failed" })
    await writeFile(join(folder, "next"), await readFile(sshd.clientKeyPath))
    await rename(join(folder, "next"), path)
    await withSession(transport, vm, async (session) => assert.equal(session.dead, false))
  })

  test("keys of an agent are used", async (t) => {
    const socket = join(await makeFolder(t), "agent")
    const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: ["ignore", "pipe", "ignore"] })
    const exited = once(agent, "exit")
    t.after(async () => {
      agent.kill()
      await exited
    })
    await once(agent.stdout, "data")
    const adding = spawn("ssh-add", ["-q", sshd.clientKeyPath], { env: { SSH_AUTH_SOCK: socket }, stdio: "ignore" })
    assert.deepEqual(await once(adding, "exit"), [0, null])
    const transport = transportFor(sshd, { agentSocket: socket })
    t.after(() => transport.close())
    const vm = vmOf(sshd, { privateKeyPath: null })
    await withSession(transport, vm, async (session) => assert.equal(session.dead, false))
  })

  test("an agent that is not there is vm_auth_failed", async (t) => {
    const transport = transportFor(sshd, { agentSocket: "/nonexistent/agent" })
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(sshd, { privateKeyPath: null }), asItself), { code: "vm_auth_failed" })
  })

  test("a closed port is vm_unreachable, and the next call is answered at once", async (t) => {
    let now = 0
    const transport = transportFor(sshd, { now: () => now })
    t.after(() => transport.close())
    const vm = vmOf(sshd, { port: await closedPort() })
    await assert.rejects(transport.open(vm, asItself), { code: "vm_unreachable", message: /nothing listens/ })
    await assert.rejects(transport.open(vm, asItself), { code: "vm_unreachable", message: /not asked again/ })
    now = 1_001
    await assert.rejects(transport.open(vm, asItself), (fault: Fault) => {
      assert.doesNotMatch(fault.message, /not asked again/)
      return true
    })
  })

  test("a name that nobody knows is vm_unreachable", async (t) => {
    const transport = transportFor(sshd)
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(sshd, { host: "no-such-host.invalid" }), asItself), {
      code: "vm_unreachable",
    })
  })

  test("a host that accepts and says nothing is vm_unreachable within the connect timeout", async (t) => {
    const silent = await listening(() => {})
    t.after(() => close(silent))
    const transport = transportFor(sshd, { connectTimeoutMs: 1_000 })
    t.after(() => transport.close())
    const startedAt = performance.now()
    await assert.rejects(transport.open(vmOf(sshd, { port: portOf(silent) }), asItself), { code: "vm_unreachable" })
    const tookMs = performance.now() - startedAt
    assert.ok(tookMs > 900 && tookMs < 1_100, `${tookMs} ms`)
  })

  test("a port that drops everybody is vm_unreachable within the connect timeout", async (t) => {
    const rude = await listening((server) => server.on("connection", (socket) => socket.resetAndDestroy()))
    t.after(() => close(rude))
    const transport = transportFor(sshd, { connectTimeoutMs: 1_000 })
    t.after(() => transport.close())
    const startedAt = performance.now()
    await assert.rejects(transport.open(vmOf(sshd, { port: portOf(rude) }), asItself), { code: "vm_unreachable" })
    assert.ok(performance.now() - startedAt < 1_100)
  })

  test("a port that speaks something else is a fault", async (t) => {
    const web = await listening((server) =>
      server.on("connection", (socket) => socket.on("error", () => {}).end("HTTP/1.1 400 Bad Request\r\n\r\n")),
    )
    t.after(() => close(web))
    const transport = transportFor(sshd, { connectTimeoutMs: 1_000 })
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(sshd, { port: portOf(web) }), asItself), { name: "Fault" })
  })

  test("a server that offers only diffie-hellman-group-exchange is vm_unsupported", async (t) => {
    const old = await startSshd({ config: ["KexAlgorithms diffie-hellman-group-exchange-sha256"] })
    t.after(() => old.stop())
    const transport = transportFor(old)
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(old), asItself), { code: "vm_unsupported", message: /key exchange/ })
  })

  test("a server without SFTP is vm_unsupported", async (t) => {
    const bare = await startSshd({ config: ["Subsystem sftp /nonexistent/sftp-server"] })
    t.after(() => bare.stop())
    const transport = transportFor(bare)
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(bare), asItself), { code: "vm_unsupported", message: /SFTP/ })
  })

  test("a server whose SFTP cannot replace a file is vm_unsupported", async (t) => {
    const poor = await startSshd({ config: ["Subsystem sftp internal-sftp -P posix-rename"] })
    t.after(() => poor.stop())
    const transport = transportFor(poor)
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(poor), asItself), { code: "vm_unsupported", message: /posix-rename/ })
  })

  test("a caller who gives up is let go, and the connection serves the next one", async (t) => {
    const events: string[] = []
    const transport = transportFor(sshd, { onEvent: ({ kind }) => events.push(kind) })
    t.after(() => transport.close())
    const giveUp = new AbortController()
    const opening = transport.open(vmOf(sshd), { ...asItself, signal: giveUp.signal })
    giveUp.abort(new Error("gone"))
    await assert.rejects(opening, { message: "gone" })
    await withSession(transport, vmOf(sshd), async (session) => assert.equal(session.dead, false))
    assert.deepEqual(events, ["opened"])
  })

  test("a transport that was closed refuses with shutting_down", async () => {
    const transport = transportFor(sshd)
    await transport.close()
    await assert.rejects(transport.open(vmOf(sshd), asItself), { code: "shutting_down" })
  })

  test("closing while a connection is being made leaves nothing open", async () => {
    const transport = transportFor(sshd)
    const opening = assert.rejects(transport.open(vmOf(sshd), asItself), { code: "shutting_down" })
    await transport.close()
    await opening
  })

  test("an IPv6 address is reached", async (t) => {
    const six = await startSshd({ ipv6: true })
    t.after(() => six.stop())
    const transport = transportFor(six)
    t.after(() => transport.close())
    await withSession(transport, vmOf(six), async (session) => assert.equal(session.dead, false))
  })

  test("30 VMs on a server that drops most of many handshakes are all reached", async (t) => {
    const busy = await startSshd({ config: ["MaxStartups 2:100:2"] })
    t.after(() => busy.stop())
    const transport = transportFor(busy, { connectTimeoutMs: 15_000, callTimeoutMs: 15_000 })
    t.after(() => transport.close())
    const vms = Array.from({ length: 30 }, (_, index) => vmOf(busy, { vmId: `vm${index}` }))
    const sessions = await Promise.all(vms.map((vm) => transport.open(vm, asItself)))
    assert.ok(sessions.every((session) => !session.dead))
    for (const session of sessions) session.close()
  })
})

async function listening(prepare: (server: Server) => void): Promise<Server> {
  const server = createServer()
  const sockets = new Set<{ destroy(): void }>()
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
  })
  server.on("close-all", () => {
    for (const socket of sockets) socket.destroy()
  })
  prepare(server)
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  return server
}

async function close(server: Server): Promise<void> {
  const closed = once(server, "close")
  server.close()
  server.emit("close-all")
  await closed
}

function portOf(server: Server): number {
  const address = server.address()
  assert.ok(typeof address === "object" && address)
  return address.port
}

async function closedPort(): Promise<number> {
  const server = await listening(() => {})
  const port = portOf(server)
  await close(server)
  return port
}
