import assert from "node:assert/strict"
import { createRequire } from "node:module"
import { test } from "node:test"
import ssh2 from "ssh2"
import { hurryAuthentication, openSftp } from "../../src/ssh/internals.ts"
import { startSshd, vmOf } from "../support/sshd.ts"
import { transportFor, withSession } from "./transport-harness.ts"

test("ssh2 is the release whose internals are used", () => {
  assert.equal(createRequire(import.meta.url)("ssh2/package.json").version, "1.17.0")
})

test("a client of another shape is refused, not used by halves", async () => {
  const client = new ssh2.Client()
  assert.throws(() => hurryAuthentication(client, () => {}), /internals have changed/)
  await assert.rejects(openSftp(client, { subsystem: "sftp" }), /internals have changed/)
})

test("what is patched and called is there once a client connects", () => {
  const client = new ssh2.Client()
  client.on("error", () => {})
  client.connect({ host: "127.0.0.1", port: 1, username: "nobody" })
  const internals: Record<string, unknown> = { ...client }
  assert.ok(internals._protocol && internals._chanMgr && "_remoteVer" in internals)
  hurryAuthentication(client, () => {})
  client.destroy()
})

test("a key signs at once: the server is asked once, and not whether it would take the key", async (t) => {
  const sshd = await startSshd({ config: ["LogLevel DEBUG2"] })
  t.after(() => sshd.stop())
  const transport = transportFor(sshd)
  t.after(() => transport.close())
  await withSession(transport, vmOf(sshd), async (session) => assert.equal(session.dead, false))
  const log = sshd.log()
  assert.equal(log.match(/userauth-request for user/g)?.length, 1)
  assert.doesNotMatch(log, /Postponed publickey/)
  assert.match(log, /Accepted publickey/)
})
