import assert from "node:assert/strict"
import { KeyObject, randomBytes } from "node:crypto"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import { test } from "node:test"
import { promisify } from "node:util"
import ssh2 from "ssh2"
import { hurryAuthentication, keepKeys, openSftp } from "../../src/ssh/internals.ts"
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

test("the keys of a connection become key objects, also after they were exchanged anew", async (t) => {
  const sshd = await startSshd({ config: ["RekeyLimit 64K"] })
  t.after(() => sshd.stop())
  const client = new ssh2.Client()
  t.after(() => client.destroy())
  const ready = once(client, "ready")
  client.connect({
    host: sshd.host,
    port: sshd.port,
    username: sshd.user,
    privateKey: readFileSync(sshd.clientKeyPath),
    algorithms: { cipher: ["aes128-gcm@openssh.com"] },
  })
  keepKeys(client)
  await ready
  const { _protocol: protocol } = client as unknown as {
    _protocol: { _cipher: { _encKey: unknown }; _decipher: { _decipherKey: unknown } }
  }
  const kinds = () => [protocol._cipher._encKey, protocol._decipher._decipherKey].map((key) => key instanceof KeyObject)
  assert.deepEqual(kinds(), [true, true])
  const exchanged = once(client, "handshake")
  const { wrapper, longest } = await openSftp(client, { subsystem: "sftp" })
  const path = join(sshd.root, "large")
  const bytes = randomBytes(200_000)
  await promisify<string, Buffer, void>(wrapper.writeFile.bind(wrapper) as never)(path, bytes)
  await exchanged
  assert.deepEqual(readFileSync(path), bytes)
  // What OpenSSH says of itself is in force by then; test/ssh/odd-answers.test.ts has a server that allows less.
  const { read, write } = longest()
  assert.ok(read > 200_000 && write > 200_000, `${read} and ${write} bytes`)
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(kinds(), [true, true])
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
