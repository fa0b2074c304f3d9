import assert from "node:assert/strict"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import { startSshd } from "../support/sshd.ts"
import { arrange, asItself, upToOneMiB } from "./transport-harness.ts"

suite("proxy_jump", () => {
  async function arrangeJump(t: TestContext) {
    const { sshd, transport, vm } = await arrange(t)
    const jump = await startSshd({ knownHostsPath: sshd.knownHostsPath })
    t.after(() => jump.stop())
    const proxyJump = { user: jump.user, host: jump.host, port: jump.port }
    return { sshd, jump, transport, vm: { ...vm, proxyJump } }
  }

  test("leads through another server", async (t) => {
    const { jump, transport, vm, sshd } = await arrangeJump(t)
    await writeFile(join(sshd.root, "x"), "behind")
    const session = await transport.open(vm, asItself)
    assert.equal((await session.read(join(sshd.root, "x"), upToOneMiB))?.bytes.toString(), "behind")
    assert.match(jump.log(), /Accepted publickey/)
    session.close()
  })

  test("refuses a jump host whose key is unknown before it authenticates there", async (t) => {
    const { transport, vm, sshd, jump } = await arrangeJump(t)
    const lines = (await readFile(sshd.knownHostsPath, "utf8")).split("\n")
    await writeFile(sshd.knownHostsPath, lines.filter((line) => !line.includes(`:${jump.port} `)).join("\n"))
    await assert.rejects(transport.open(vm, asItself), { code: "host_key_unknown", message: /jump host/ })
    assert.doesNotMatch(jump.log(), /Accepted|Failed/)
  })

  test("refuses a VM behind it whose key is not the one that is known", async (t) => {
    const { transport, vm } = await arrangeJump(t)
    const pinned = { ...vm, hostKeys: [`SHA256:${"A".repeat(43)}`] }
    await assert.rejects(transport.open(pinned, asItself), { code: "host_key_mismatch" })
  })

  test("says that the VM cannot be reached from the jump host, and that the jump host is lost", async (t) => {
    const { transport, vm, jump, sshd } = await arrangeJump(t)
    const session = await transport.open(vm, asItself)
    await jump.stop()
    await assert.rejects(session.exists("/"), { code: "connection_lost" })
    session.close()
    await assert.rejects(transport.open(vm, asItself), { code: "vm_unreachable", message: /jump host/ })
    const other = await startSshd({ knownHostsPath: sshd.knownHostsPath })
    t.after(() => other.stop())
    const through = { ...vm, port: 1, hostKeys: ["SHA256:x"], proxyJump: { ...vm.proxyJump, port: other.port } }
    await assert.rejects(transport.open(through, asItself), { code: "vm_unreachable", message: /through jump host/ })
  })
})
