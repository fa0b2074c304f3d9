import assert from "node:assert/strict"
import { existsSync, readdirSync } from "node:fs"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import { type Sshd, startSshd, vmOf } from "../support/sshd.ts"
import { asItself, makeFolder, makeKey, transportFor, withSession } from "./transport-harness.ts"

suite("SshTransport and host keys", () => {
  let sshd: Sshd
  before(async () => {
    sshd = await startSshd({ config: ["LogLevel DEBUG1"], hostKeyTypes: ["ed25519", "ecdsa", "rsa"] })
  })
  after(() => sshd.stop())

  /** Opens with another known_hosts; asserts the fault, and that the server was never asked to let anybody in. */
  async function refused(
    t: { after(clean: () => Promise<void>): void },
    lines: readonly string[],
    expected: { code: string; message: RegExp },
    hostKeys: readonly string[] = [],
  ): Promise<void> {
    const knownHostsPath = join(await makeFolder(t), "known_hosts")
    await writeFile(knownHostsPath, lines.map((line) => `${line}\n`).join(""))
    const transport = transportFor({ knownHostsPath })
    const logged = sshd.log().length
    try {
      await assert.rejects(transport.open(vmOf(sshd, { hostKeys }), asItself), expected)
    } finally {
      await transport.close()
    }
    const log = sshd.log().slice(logged)
    assert.match(log, /Connection from/)
    assert.doesNotMatch(log, /userauth-request|Failed publickey|Accepted publickey/)
  }

  const lineOf = (publicKey: string) => `[${sshd.host}]:${sshd.port} ${publicKey}`
  const foreignKey = async (t: { after(clean: () => Promise<void>): void }, type: "ed25519" | "rsa") =>
    (await readFile(`${await makeKey(join(await makeFolder(t), "key"), type)}.pub`, "utf8")).trim()

  test("refusals leave no descriptor behind", { skip: !existsSync("/proc/self/fd") }, async (t) => {
    const refuse = () => refused(t, [], { code: "host_key_unknown", message: /not known/ })
    await refuse()
    const before = readdirSync("/proc/self/fd").length
    for (let round = 0; round < 10; round++) await refuse()
    assert.ok(readdirSync("/proc/self/fd").length <= before + 2)
  })

  test("an unknown key is refused before authentication, and its fingerprint told", async (t) => {
    await refused(t, [], { code: "host_key_unknown", message: /SHA256:.*known-hosts scan/ })
  })

  test("a changed key is refused before authentication", async (t) => {
    await refused(t, [lineOf(await foreignKey(t, "ed25519"))], { code: "host_key_mismatch", message: /not the one/ })
  })

  test("a revoked key is refused even where it is known", async (t) => {
    const key = sshd.hostKeys[0]?.publicKey ?? ""
    await refused(t, [lineOf(key), `@revoked * ${key}`], { code: "host_key_mismatch", message: /revoked/ })
  })

  test("a revoked key is refused even where it is pinned", async (t) => {
    const lines = sshd.hostKeys.map((key) => `@revoked * ${key.publicKey}`)
    const pins = sshd.hostKeys.map((key) => key.fingerprint)
    await refused(t, lines, { code: "host_key_mismatch", message: /revoked/ }, pins)
  })

  test("a pin that no key of the host has is refused, whatever known_hosts says", async (t) => {
    const lines = sshd.hostKeys.map((key) => lineOf(key.publicKey))
    await refused(t, lines, { code: "host_key_mismatch", message: /pin/ }, [`SHA256:${"A".repeat(43)}`])
  })

  test("a certificate authority is refused in words, without contacting the host", async (t) => {
    const knownHostsPath = join(await makeFolder(t), "known_hosts")
    await writeFile(knownHostsPath, `@cert-authority * ${await foreignKey(t, "ed25519")}\n`)
    const transport = transportFor({ knownHostsPath })
    await assert.rejects(transport.open(vmOf(sshd), asItself), {
      code: "host_key_unknown",
      message: /certificate authority/,
    })
    await transport.close()
  })

  test("a host that has none of the known key types is refused", async (t) => {
    const only = await startSshd({ hostKeyTypes: ["ed25519"] })
    t.after(() => only.stop())
    const knownHostsPath = join(await makeFolder(t), "known_hosts")
    await writeFile(knownHostsPath, `[${only.host}]:${only.port} ${await foreignKey(t, "rsa")}\n`)
    const transport = transportFor({ knownHostsPath })
    t.after(() => transport.close())
    await assert.rejects(transport.open(vmOf(only), asItself), { code: "host_key_mismatch", message: /rsa-sha2/ })
  })

  for (const type of ["ed25519", "ecdsa", "rsa"] as const) {
    test(`a host of three keys is trusted by its ${type} key alone, from known_hosts`, async (t) => {
      const key = sshd.hostKeys.find((each) => each.type === type)
      const knownHostsPath = join(await makeFolder(t), "known_hosts")
      await writeFile(knownHostsPath, `${lineOf(key?.publicKey ?? "")}\n`)
      const transport = transportFor({ knownHostsPath })
      t.after(() => transport.close())
      await withSession(transport, vmOf(sshd), async (session) => assert.equal(session.dead, false))
    })

    test(`a host of three keys is trusted by its ${type} key alone, pinned`, async (t) => {
      const key = sshd.hostKeys.find((each) => each.type === type)
      const transport = transportFor({ knownHostsPath: "/nonexistent" })
      t.after(() => transport.close())
      const vm = vmOf(sshd, { hostKeys: [key?.fingerprint ?? ""] })
      await withSession(transport, vm, async (session) => assert.equal(session.dead, false))
    })
  }
})
