import assert from "node:assert/strict"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { startFaultyServer } from "../faults/sftp-faults.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { vmOf } from "../support/sshd.ts"
import { asItself, makeFolder, transportFor, upToOneMiB } from "./transport-harness.ts"

test("a directory that takes the file's place after it was looked at is a change, not a failure of the VM", async (t) => {
  const root = await makeFolder(t)
  const file = join(root, "app.yml")
  writeFileSync(file, "port: 80\n")
  const clientKeyPath = await sharedClientKey()
  const server = await startFaultyServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
  t.after(() => server.close())
  server.faults.rule = ({ name }) => {
    if (name !== "open") return null
    rmSync(file)
    mkdirSync(file)
    return null
  }
  const transport = transportFor({ knownHostsPath: join(root, "known_hosts") })
  t.after(() => transport.close())
  const vm = vmOf(
    { host: "127.0.0.1", port: server.port, user: "x", clientKeyPath },
    { hostKeys: [server.fingerprint] },
  )
  const session = await transport.open(vm, asItself)
  await assert.rejects(session.read("/app.yml", upToOneMiB), { code: "concurrent_modification" })
  session.close()
})
