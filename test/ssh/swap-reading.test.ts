import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import { textOf } from "../contracts/transport-scene.ts"
import { isRoot } from "../support/sshd.ts"
import { arrange, asItself, asNobody, plain, sftpServer, upToOneMiB } from "./transport-harness.ts"

/** A server that answers READ with `longestRead` bytes at most, and what was said to it and by it. */
async function arrangeFiltered(t: TestContext, longestRead: number) {
  const folder = await mkdtemp(join(tmpdir(), "config-manager-ssh-"))
  const recordPath = join(folder, "record")
  const filter = join(import.meta.dirname, "sftp-filter.ts")
  const command = [process.execPath, filter, sftpServer, recordPath, longestRead].join(" ")
  const arranged = await arrange(t, { config: [`Subsystem sftp ${command}`] })
  // Hooks run in this order: the server has stopped by then, and nobody writes the record any more.
  t.after(() => rm(folder, { recursive: true }))
  const session = await arranged.transport.open(arranged.vm, asItself)
  t.after(() => session.close())
  const { path } = arranged
  const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
  const record = async () => (await readFile(recordPath, "utf8")).trim().split("\n")
  return { ...arranged, session, paths, record }
}

suite("A server that answers with fewer bytes than were asked for", () => {
  for (const [longestRead, size] of [
    [1_000, 900],
    [1_000, 1_001],
    [1_000, 100_000],
    [31 * 1024, 100_000],
  ] as const) {
    test(`which gives at most ${longestRead} of ${size}: all of it is staged, put in place and read back`, async (t) => {
      const { session, paths } = await arrangeFiltered(t, longestRead)
      const [before, after] = [randomBytes(size), randomBytes(size)]
      await writeFile(paths.path, before)
      assert.ok((await session.read(paths.path, upToOneMiB))?.bytes.equals(before))
      const { ownerKept } = await session.stage(paths.stagingPath, plain(after))
      assert.equal(ownerKept, true)
      const { live, old } = await session.swap(paths, upToOneMiB)
      assert.ok(live && live !== "odd" && live.bytes.equals(after))
      assert.equal(live.mode, 0o640)
      assert.ok(old && old !== "odd" && old.bytes.equals(before))
    })
  }

  test("leaves no handle open on the VM, and asks for no byte twice where nothing came short", async (t) => {
    for (const longestRead of [100, 0]) {
      const { session, paths, record } = await arrangeFiltered(t, longestRead)
      await writeFile(paths.path, "x".repeat(250))
      await session.stage(paths.stagingPath, plain("y".repeat(250)))
      await session.swap(paths, upToOneMiB)
      await session.exists(paths.path)
      const said = await record()
      const count = (what: RegExp) => said.filter((line) => what.test(line)).length
      assert.equal(count(/^< handle/), count(/^> close/))
      if (longestRead === 0) assert.equal(count(/^> read /), 3)
    }
  })
})

suite("What stands there after a swap and cannot be told in bytes", () => {
  test("is odd where it may not be read", { skip: !isRoot }, async (t) => {
    const { transport, vm, path } = await arrange(t, { config: [asNobody] })
    await writeFile(path, "old", { mode: 0o600 })
    // The kernel gives no second name to a file of somebody else; the live one is nobody's own, and closed to nobody.
    const session = await transport.open(vm, asItself)
    await session.stage(`${path}.new`, plain("new"))
    await chmod(`${path}.new`, 0o000)
    const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
    assert.equal((await session.swap(paths, upToOneMiB)).live, "odd")
    assert.equal(session.dead, false)
    assert.equal(await readFile(path, "utf8"), "new")
    session.close()
  })
})

suite("The directory of a file that was put in place", () => {
  test("is synced after the rename and before the swap is told done", async (t) => {
    const { session, paths, record } = await arrangeFiltered(t, 0)
    await session.stage(paths.stagingPath, plain("new"))
    await writeFile(paths.path, "old")
    await session.swap(paths, upToOneMiB)
    assertSynced(await record(), dirname(paths.path), 0)
  })

  test("is synced after a file was created and renamed", async (t) => {
    const { session, paths, record } = await arrangeFiltered(t, 0)
    await session.stage(paths.stagingPath, plain("new"))
    await session.swap({ ...paths, replaces: false }, upToOneMiB)
    const swapped = await record()
    assertSynced(swapped, dirname(paths.path), 0, "> rename ")
    await session.rename(paths.path, paths.oldPath)
    assertSynced(await record(), dirname(paths.path), swapped.length)
  })

  test("is synced by itself, where the answer to a rename was lost", async (t) => {
    const { session, paths, record } = await arrangeFiltered(t, 0)
    await session.exists(paths.path)
    const before = (await record()).length
    await session.syncDirectory(paths.path)
    assertSynced(await record(), dirname(paths.path), before, "> open ")
  })

  test("may be closed to reading: the swap and a rename go on without", { skip: !isRoot }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
    await chmod(sshd.root, 0o333)
    const session = await transport.open(vm, asItself)
    t.after(() => session.close())
    await session.stage(path, plain("old"))
    await session.stage(`${path}.new`, plain("new"))
    const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
    const { live, old } = await session.swap(paths, upToOneMiB)
    assert.deepEqual([textOf(live), textOf(old)], ["new", "old"])
    await session.rename(paths.oldPath, path)
    await session.syncDirectory(path)
    assert.equal(await readFile(path, "utf8"), "old")
    assert.deepEqual(await readdir(sshd.root), ["app.yml"])
  })
})

/** In what was said from line `from` on: a rename, then fsync of a handle of `directory`, and the server's yes to it. */
function assertSynced(said: readonly string[], directory: string, from: number, rename = "posix-rename@openssh.com") {
  const lines = said.slice(from)
  const renamed = lines.findIndex((line) => line.includes(rename))
  assert.notEqual(renamed, -1, lines.join("\n"))
  // Handles are used again: what was done with the same one before is another file's.
  const after = lines.slice(renamed)
  const opening = after.find((line) => line.startsWith("> open ") && line.endsWith(` ${directory}`))?.split(" ")[2]
  const handle = after.find((line) => line.startsWith(`< handle ${opening} `))?.split(" ")[3]
  const syncing = after.find((line) => line.endsWith(` fsync@openssh.com ${handle}`))?.split(" ")[2]
  assert.ok(after.includes(`< status ${syncing} 0`), after.join("\n"))
}
