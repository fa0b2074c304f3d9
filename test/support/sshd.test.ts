import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { generateKeyPairSync } from "node:crypto"
import { once } from "node:events"
import { existsSync } from "node:fs"
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { suite, test } from "node:test"
import ssh2 from "ssh2"
import { type Sshd, startSshd, vmOf } from "./sshd.ts"

suite("startSshd", { timeout: 20_000 }, () => {
  test("lets the client key in and serves SFTP over the test's directory", async () => {
    const sshd = await startSshd()
    const client = await logIn(sshd)
    const names = await new Promise<readonly string[]>((resolve, reject) => {
      client.sftp((error, sftp) => {
        if (error) return reject(error)
        sftp.readdir(dirname(sshd.root), (problem, list) =>
          problem ? reject(problem) : resolve(list.map((e) => e.filename)),
        )
      })
    })
    client.end()
    assert.ok(names.includes("vm"))
    await sshd.stop()
  })

  test("removes its files and frees its port when it stops", async () => {
    const sshd = await startSshd()
    await sshd.stop()
    await sshd.stop()
    assert.equal(existsSync(sshd.root), false)
    await assert.rejects(once(connect(sshd.port, sshd.host), "connect"), { code: "ECONNREFUSED" })
  })

  test("cuts open sessions when it restarts, and comes back at the same port with the same key", async () => {
    const sshd = await startSshd()
    const client = await logIn(sshd)
    // The kernel's word for it may be an error (reset, broken pipe) or a plain end; either way it closes.
    client.on("error", () => {})
    const cut = new Promise<void>((resolve) => client.once("close", () => resolve()))
    await sshd.restart()
    await cut
    const again = await logIn(sshd)
    again.end()
    assert.match(sshd.log(), /Accepted publickey[\s\S]*Server listening[\s\S]*Accepted publickey/)
    await sshd.stop()
  })

  test("refuses another key, and says so in the log", async () => {
    const sshd = await startSshd()
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" })
    const stranger = privateKey.export({ type: "sec1", format: "pem" }).toString()
    await assert.rejects(logIn(sshd, stranger), /authentication methods failed/)
    assert.doesNotMatch(sshd.log(), /Accepted publickey/)
    await sshd.stop()
  })

  test("listens on IPv6 with several host keys and writes them into the caller's known_hosts", async () => {
    const first = await startSshd()
    const sshd = await startSshd({
      ipv6: true,
      hostKeyTypes: ["ecdsa", "ed25519"],
      knownHostsPath: first.knownHostsPath,
    })
    const lines = (await readFile(first.knownHostsPath, "utf8")).trimEnd().split("\n")
    assert.deepEqual(
      lines.map((line) => line.split(" ").slice(0, 2)),
      [
        [`[127.0.0.1]:${first.port}`, "ssh-ed25519"],
        [`[::1]:${sshd.port}`, "ecdsa-sha2-nistp256"],
        [`[::1]:${sshd.port}`, "ssh-ed25519"],
      ],
    )
    const client = await logIn(sshd)
    client.end()
    await sshd.stop()
    await first.stop()
  })

  test("lets the caller's lines of sshd_config win", async () => {
    const sshd = await startSshd({ config: ["PubkeyAuthentication no", "Match all", "X11Forwarding no"] })
    await assert.rejects(logIn(sshd), /authentication methods failed/)
    await sshd.stop()
  })

  test("refuses a port that is taken", async () => {
    const sshd = await startSshd()
    await assert.rejects(startSshd({ port: sshd.port }), /sshd ended with 255[\s\S]*Address already in use/)
    await sshd.stop()
  })

  test("tells what sshd says of a bad line in its config", async () => {
    await assert.rejects(startSshd({ config: ["Nonsense yes"] }), /Bad configuration option: Nonsense/)
  })

  for (const signal of ["SIGKILL", null] as const) {
    test(`leaves no server behind when the test process ${signal ? "is killed" : "ends"}`, async () => {
      // A process that is killed cannot remove its files.
      const temp = await mkdtemp(join(tmpdir(), "config-manager-test-"))
      const program = `
        const { startSshd } = await import(${JSON.stringify(join(import.meta.dirname, "sshd.ts"))})
        const sshd = await startSshd()
        console.log(sshd.port)
        ${signal ? "setInterval(() => {}, 1000)" : "process.exit(0)"}`
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, TMPDIR: temp },
      })
      const [chunk] = await once(child.stdout, "data")
      const ended = once(child, "exit")
      if (signal) child.kill(signal)
      await ended
      await refused(Number(String(chunk)))
      if (!signal) assert.deepEqual(await readdir(temp), [])
      await rm(temp, { recursive: true })
    })
  }
})

/** Resolves once nobody listens at the port any more. */
async function refused(port: number): Promise<void> {
  const deadline = Date.now() + 5000
  while (Date.now() < deadline) {
    const socket = connect(port, "127.0.0.1")
    const open = await once(socket, "connect").then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (!open) return
  }
  assert.fail("the server is still there")
}

async function logIn(sshd: Sshd, key?: string): Promise<ssh2.Client> {
  const vm = vmOf(sshd)
  const client = new ssh2.Client()
  client.connect({
    host: vm.host,
    port: vm.port,
    username: vm.user,
    privateKey: key ?? (await readFile(sshd.clientKeyPath)),
  })
  // A cut connection is what some tests are after, and a refused login may be followed by a reset.
  client.on("error", () => {})
  await once(client, "ready")
  return client
}
