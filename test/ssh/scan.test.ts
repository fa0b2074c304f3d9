import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"
import { after, before, suite, test } from "node:test"
import { promisify } from "node:util"
import { KnownHosts } from "../../src/ssh/known-hosts.ts"
import { scanHostKeys } from "../../src/ssh/scan.ts"
import { startProxy } from "../support/proxy.ts"
import { type Sshd, startSshd } from "../support/sshd.ts"

const run = promisify(execFile)
const timeoutMs = 10_000

suite("scanHostKeys", { timeout: 20_000 }, () => {
  let sshd: Sshd
  before(async () => {
    sshd = await startSshd({ hostKeyTypes: ["rsa", "ecdsa", "ed25519"], config: ["LogLevel DEBUG1"] })
  })
  after(() => sshd.stop())

  test("finds the key of each type, as ssh-keyscan does", async () => {
    const found = await scanHostKeys(sshd.host, sshd.port, { timeoutMs })
    const { stdout } = await run("ssh-keyscan", ["-p", String(sshd.port), sshd.host])
    const lines = stdout.split("\n").filter((line) => line.startsWith("["))
    assert.equal(lines.length, 3)
    assert.deepEqual(found.map(({ line }) => line).sort(), lines.sort())
    assert.deepEqual(
      found.map(({ type }) => type),
      ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"],
    )
    assert.deepEqual(
      new Set(found.map(({ fingerprint }) => fingerprint)),
      new Set(sshd.hostKeys.map(({ fingerprint }) => fingerprint)),
    )
  })

  test("prints lines that known_hosts takes", async () => {
    const [key] = await scanHostKeys(sshd.host, sshd.port, { timeoutMs, types: ["ssh-ed25519"] })
    const hosts = KnownHosts.parse(`${key?.line}\n`)
    assert.deepEqual(hosts.problems, [])
    assert.ok(key && hosts.match(sshd.host, sshd.port).keys[0]?.blob.equals(key.blob))
  })

  test("tries no authentication", async () => {
    await scanHostKeys(sshd.host, sshd.port, { timeoutMs })
    assert.doesNotMatch(sshd.log(), /userauth-request/)
  })

  test("asks for the types that it is told only, and leaves out one that the host has not", async () => {
    const types = ["ecdsa-sha2-nistp521", "ssh-rsa"] as const
    const found = await scanHostKeys(sshd.host, sshd.port, { timeoutMs, types })
    assert.deepEqual(
      found.map(({ type }) => type),
      ["ssh-rsa"],
    )
  })

  test("leaves no timer behind", async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length
    const before = timers()
    await scanHostKeys(sshd.host, sshd.port, { timeoutMs, types: ["ssh-ed25519"] })
    assert.equal(timers(), before)
  })

  test("goes the way it is given, and names the host by its own address", async () => {
    const network = await startProxy(sshd)
    const via = async () => connect(network.port, network.host)
    const found = await scanHostKeys("Web-1", 22, { timeoutMs, types: ["ssh-ed25519"], via })
    assert.match(found[0]?.line ?? "", /^web-1 ssh-ed25519 /)
    assert.equal(network.connections, 1)
    await network.close()
  })

  test("says vm_unreachable where nobody listens", async () => {
    await assert.rejects(scanHostKeys("127.0.0.1", 1, { timeoutMs }), { code: "vm_unreachable" })
  })

  test("says vm_unreachable within its time where the host is silent, and lets go of the connection", async () => {
    const network = await startProxy(sshd)
    network.blackhole()
    const startedAt = performance.now()
    await assert.rejects(scanHostKeys(network.host, network.port, { timeoutMs: 200 }), {
      code: "vm_unreachable",
      message: /did not answer within 0\.2 s/,
    })
    const took = performance.now() - startedAt
    assert.ok(took >= 190 && took < 2000, `took ${took} ms`)
    await network.close()
  })

  test("counts all its connections towards its time", async () => {
    const network = await startProxy(sshd)
    network.blackhole()
    let asked = 0
    const via = async () => (++asked === 1 ? connect(sshd.port, sshd.host) : connect(network.port, network.host))
    await assert.rejects(scanHostKeys(sshd.host, sshd.port, { timeoutMs: 500, via }), { code: "vm_unreachable" })
    assert.equal(asked, 2)
    await network.close()
  })

  test("says vm_unreachable where the connection is cut midway", async () => {
    const network = await startProxy(sshd)
    for (const action of ["reset", "fin"] as const) {
      network.onBytes("down", network.bytesDown + 100, action)
      await assert.rejects(scanHostKeys(network.host, network.port, { timeoutMs }), { code: "vm_unreachable" }, action)
    }
    await network.close()
  })

  test("says vm_unsupported where something else than SSH answers", async () => {
    const { server, port } = await answering("HTTP/1.1 400 Bad Request\r\n\r\n")
    await assert.rejects(scanHostKeys("127.0.0.1", port, { timeoutMs: 2000 }), { code: "vm_unsupported" })
    server.close()
  })

  test("says vm_unsupported where the host knows no key exchange that is taken", async () => {
    const old = await startSshd({ config: ["KexAlgorithms diffie-hellman-group-exchange-sha256"] })
    await assert.rejects(scanHostKeys(old.host, old.port, { timeoutMs }), {
      code: "vm_unsupported",
      message: /key exchange/,
    })
    await old.stop()
  })
})

/** A server that says one thing and closes. */
async function answering(text: string): Promise<{ server: Server; port: number }> {
  const server = createServer((socket: Socket) => {
    socket.on("error", () => {})
    socket.end(text)
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  return { server, port: typeof address === "object" && address ? address.port : 0 }
}
