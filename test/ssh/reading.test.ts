import assert from "node:assert/strict"
import { mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { startFaultyServer } from "../faults/sftp-faults.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { vmOf } from "../support/sshd.ts"
import { asItself, makeFolder, transportFor, upToOneMiB } from "./transport-harness.ts"

/** A file of 100 000 bytes, an open session, and a server that does as `rule` says. */
async function arrange(t: TestContext) {
  const root = await makeFolder(t)
  const file = join(root, "app.yml")
  writeFileSync(file, "a".repeat(100_000))
  const clientKeyPath = await sharedClientKey()
  const server = await startFaultyServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
  t.after(() => server.close())
  const transport = transportFor({ knownHostsPath: join(root, "known_hosts") })
  t.after(() => transport.close())
  const vm = vmOf(
    { host: "127.0.0.1", port: server.port, user: "x", clientKeyPath },
    { hostKeys: [server.fingerprint] },
  )
  const session = await transport.open(vm, asItself)
  t.after(() => session.close())
  return { file, session, faults: server.faults }
}

test("a directory that takes the file's place after it was looked at is a change, not a failure of the VM", async (t) => {
  const { file, session, faults } = await arrange(t)
  faults.rule = ({ name }) => {
    if (name !== "open") return null
    rmSync(file)
    mkdirSync(file)
    return null
  }
  await assert.rejects(session.read("/app.yml", upToOneMiB), { code: "concurrent_modification" })
})

for (const [size, read, what, longestRead] of [
  [100_000, 2, "after its first part was read", undefined],
  [100_000, 4, "before its last part is", undefined],
  [1_000, 2, "within a read that may have seen some of it", undefined],
  [3_000, 4, "between the reads of a server that gives less than is asked for", 1_000],
] as const) {
  test(`a file that is written over ${what} is a change, though its size and the second are the same`, async (t) => {
    const { file, session, faults } = await arrange(t)
    writeFileSync(file, "a".repeat(size))
    if (longestRead) faults.longestRead = longestRead
    const { atime, mtime } = statSync(file)
    let reads = 0
    faults.rule = ({ name }) => {
      if (name !== "read") return null
      reads++
      if (reads !== read) return null
      writeFileSync(file, "b".repeat(size))
      utimesSync(file, atime, mtime)
      return null
    }
    await assert.rejects(session.read("/app.yml", upToOneMiB), { code: "concurrent_modification" })
    assert.equal((await session.read("/app.yml", upToOneMiB))?.bytes.toString(), "b".repeat(size))
  })
}
