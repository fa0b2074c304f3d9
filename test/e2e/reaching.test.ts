import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { appendFile, chmod, chown, mkdir, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { dirname, join } from "node:path"
import { after, before, suite, test } from "node:test"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { isRoot, type Sshd, startSshd } from "../support/sshd.ts"
import { assertProblem, type Json, type Send } from "./client.ts"
import { assertRefused } from "./refusal.ts"
import { eventually, leftovers, makeWorld, standing, type World } from "./world.ts"

/** Of nobody and nogroup on Debian; the number is what matters. */
const weakUser = { name: "nobody", id: 65534 }

let stranger: Sshd
let blackHole: FaultyNetwork
let unknown: FaultyNetwork
let world: World
let send: Send

before(async () => {
  stranger = await startSshd()
  unknown = await startProxy(stranger)
  blackHole = await startProxy(stranger)
  blackHole.blackhole()
  const closedPort = await freePort()
  world = await makeWorld({
    settings: (sshd) => ({
      vms: {
        down: { ip: "127.0.0.1", ssh_port: closedPort, ssh_user: sshd.user },
        silent: { ip: "127.0.0.1", ssh_port: blackHole.port, ssh_user: sshd.user },
        changed: { ip: stranger.host, ssh_port: stranger.port, ssh_user: sshd.user },
        pinned: { ip: sshd.host, ssh_port: sshd.port, ssh_user: sshd.user, host_key: stranger.fingerprint },
        unknown: { ip: "127.0.0.1", ssh_port: unknown.port, ssh_user: sshd.user },
        locked: { ip: sshd.host, ssh_port: sshd.port, ssh_user: sshd.user, private_key_path: keyOfNobody(sshd) },
        weak: { ip: sshd.host, ssh_port: sshd.port, ssh_user: weakUser.name },
      },
      ssh: {
        known_hosts_path: sshd.knownHostsPath,
        private_key_path: sshd.clientKeyPath,
        connect_timeout: 1,
      },
      config_management: {
        config_types: { vm_specific: { keep_owner: false } },
        config_paths: {
          central: { default: join(sshd.root, "{vmId}", "central.yml") },
          vm_specific: { default: join(sshd.root, "{vmId}", "vm.yml") },
          env: { default: join(sshd.root, "{vmId}", ".env") },
        },
      },
    }),
  })
  send = world.send
  const key = world.sshd.hostKeys[0]?.publicKey
  await appendFile(world.sshd.knownHostsPath, `[${stranger.host}]:${stranger.port} ${key}\n`)
  await appendFile(
    world.sshd.knownHostsPath,
    `[127.0.0.1]:${blackHole.port} ${key}\n[127.0.0.1]:${closedPort} ${key}\n`,
  )
})
after(async () => {
  await world.close()
  await Promise.all([unknown.close(), blackHole.close()])
  await stranger.stop()
})

/** A fresh key that no server knows. */
function keyOfNobody(sshd: Sshd): string {
  const path = join(sshd.root, "stranger_key")
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path])
  return path
}

async function change(vmId: string, status: number, code: string): Promise<Json> {
  const answer = await send("PUT", `/vms/${vmId}/configs/central`, { yaml: "port: 1\n" })
  const problem = assertProblem(answer, status, code)
  assert.equal(problem.fileState, "unchanged")
  const operation = (await send("GET", `/operations/${String(problem.operationId)}`)).body
  assert.deepEqual([operation.state, (operation.problem as Json).code], ["failed", code])
  return problem
}

suite("A VM that cannot be reached", () => {
  test("nobody listens: 503 vm_unreachable, and at once for those who come right after", async () => {
    const begin = performance.now()
    await change("down", 503, "vm_unreachable")
    const first = performance.now() - begin
    assert.ok(first < 2500, `${first} ms`)
    const answer = await send("GET", "/vms/down/configs/central")
    assertProblem(answer, 503, "vm_unreachable")
    assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]/)
  })

  test("it swallows everything: 503 vm_unreachable within connect_timeout", async () => {
    const begin = performance.now()
    await change("silent", 503, "vm_unreachable")
    const ms = performance.now() - begin
    assert.ok(ms < 2500, `${ms} ms`)
  })

  test("its check says so, and the call succeeds", async () => {
    const answer = await send("POST", "/vms/down/check")
    assert.deepEqual([answer.status, answer.body.ok], [200, false], answer.text)
    assert.equal((answer.body.checks as readonly Json[])[0]?.name, "connect")
  })
})

suite("A VM that is not the one we know", () => {
  test("another host key than known_hosts says: 502 host_key_mismatch, and no authentication is tried", async () => {
    await change("changed", 502, "host_key_mismatch")
    await assertNoAuthentication(stranger)
  })

  test("another host key than the pinned one: 502 host_key_mismatch", async () => {
    const problem = await change("pinned", 502, "host_key_mismatch")
    assert.ok(!world.sshd.log().includes("Accepted publickey"))
    assert.match(String(problem.detail), /SHA256:/)
  })

  test("a host key that nobody vouches for: 502 host_key_unknown, and no authentication is tried", async () => {
    const problem = await change("unknown", 502, "host_key_unknown")
    assert.match(String(problem.detail), /known_hosts|known-hosts/)
    await assertNoAuthentication(stranger)
  })

  /** sshd names the user only once one has asked to be let in. */
  async function assertNoAuthentication(sshd: Sshd): Promise<void> {
    await eventually(sshd.log, (log) => /\[preauth\]/.test(log))
    assert.doesNotMatch(sshd.log(), /publickey|user /)
  }
})

suite("A VM that does not let us in, or not far enough", () => {
  test("a key it does not know: 502 vm_auth_failed, once, never retried", async () => {
    const before = attempts()
    await change("locked", 502, "vm_auth_failed")
    await eventually(attempts, (count) => count > before)
    assert.equal(attempts(), before + 1)
  })

  const attempts = (): number => world.sshd.log().split(/(?:by|from) authenticating user/).length

  const asNobody = { skip: !isRoot }
  let directory: string
  before(async () => {
    if (!isRoot) return
    directory = world.directory("weak")
    await mkdir(directory)
    await chmod(dirname(world.sshd.root), 0o755)
    await letNobodyIn()
  })

  test("an unreadable file: 502 vm_permission_denied (needs root: logs in as nobody)", asNobody, async () => {
    const file = world.file("weak")
    await chown(directory, weakUser.id, weakUser.id)
    await writeFile(file, "port: 1\n", { mode: 0o600 })
    assertProblem(await send("GET", "/vms/weak/configs/central"), 502, "vm_permission_denied")
    await refused("central", 502, "vm_permission_denied")
  })

  test(
    "an owner that cannot be given: 502, the sentence names become and keep_owner (needs root)",
    asNobody,
    async () => {
      await chmod(world.file("weak"), 0o644)
      const problem = await refused("central", 502, "vm_permission_denied")
      assert.match(String(problem.detail), /become: true/)
      assert.match(String(problem.detail), /keep_owner: false/)
    },
  )

  test("keep_owner: false makes the file the SSH user's, with a warning (needs root)", asNobody, async () => {
    const file = world.file("weak", "vm_specific")
    await writeFile(file, "port: 1\n")
    await chmod(file, 0o604)
    const answer = await send("PUT", "/vms/weak/configs/vm_specific", { yaml: "port: 2\n" })
    assert.equal(answer.status, 200, answer.text)
    assert.deepEqual(
      (answer.body.warnings as readonly Json[]).map(({ code }) => code),
      ["owner_changed"],
    )
    const { mode, uid, gid } = standing(file)
    assert.deepEqual([readFileSync(file, "utf8"), mode, uid, gid], ["port: 2\n", 0o604, weakUser.id, weakUser.id])
    const version = (await send("GET", `/backups/${String(answer.body.versionId)}`)).body
    assert.deepEqual([version.uid, version.gid], [weakUser.id, weakUser.id])
    assert.deepEqual(leftovers(file), [])
  })

  test("a directory that may not be written to: 502 vm_permission_denied (needs root)", asNobody, async () => {
    await chown(directory, 0, 0)
    await chmod(directory, 0o755)
    await refused("central", 502, "vm_permission_denied")
    await refused("env", 502, "vm_permission_denied")
  })

  test("its check names what stands in the way (needs root)", asNobody, async () => {
    const { body } = await send("POST", "/vms/weak/check")
    const failed = (body.checks as readonly Json[]).filter(({ ok }) => ok === false)
    assert.equal(body.ok, false)
    assert.ok(failed.length > 0)
    for (const { name } of failed) assert.match(String(name), /^(central|vm_specific|env): /)
    assert.deepEqual(leftovers(world.file("weak")), [])
  })

  function refused(type: string, status: number, code: string): Promise<Json> {
    const request = type === "env" ? { text: "A=1\n" } : { yaml: "port: 9\n" }
    return assertRefused(world, {
      file: world.file("weak", type),
      path: `/vms/weak/configs/${type}`,
      request,
      status,
      code,
    })
  }

  /** sshd reads authorized keys as the user they let in, and the harness's own are in a directory of ours. */
  async function letNobodyIn(): Promise<void> {
    const { clientKeyPath } = world.sshd
    await chmod(dirname(clientKeyPath), 0o711)
    await chmod(`${clientKeyPath}.pub`, 0o644)
  }
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await new Promise((resolve) => server.once("listening", resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === "object" && address ? address.port : 0
}
