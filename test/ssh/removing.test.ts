import assert from "node:assert/strict"
import { readdirSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { startFaultyServer } from "../faults/sftp-faults.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { vmOf } from "../support/sshd.ts"
import { asItself, makeFolder, transportFor } from "./transport-harness.ts"

/** A server that removes nothing, as on a file system that is read-only. */
async function arrangeReadOnly(t: TestContext) {
  const root = await makeFolder(t)
  const clientKeyPath = await sharedClientKey()
  const server = await startFaultyServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
  t.after(() => server.close())
  server.faults.rule = ({ name }) => (name === "remove" ? { how: "refuse", status: 4 } : null)
  const transport = transportFor({ knownHostsPath: join(root, "known_hosts") })
  t.after(() => transport.close())
  const vm = vmOf(
    { host: "127.0.0.1", port: server.port, user: "x", clientKeyPath },
    { hostKeys: [server.fingerprint] },
  )
  return { root, session: await transport.open(vm, asItself) }
}

test("what is not there counts as removed, also where nothing can be removed", async (t) => {
  const { session } = await arrangeReadOnly(t)
  await session.remove(["/a", "/b"])
  session.close()
})

test("what is there and cannot be removed is told", async (t) => {
  const { root, session } = await arrangeReadOnly(t)
  writeFileSync(join(root, "b"), "stays")
  await assert.rejects(session.remove(["/a", "/b"]), { code: "write_failed", message: /removing \/b/ })
  assert.deepEqual(readdirSync(root), ["b"])
  session.close()
})
