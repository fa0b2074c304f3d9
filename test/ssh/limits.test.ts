import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { chmod, chown, mkdtemp, readdir, rmdir, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import { isRoot } from "../support/sshd.ts"
import { arrange, asItself, asNobody, makeFolder, plain, sftpServer, upToOneMiB } from "./transport-harness.ts"

/** Only root mounts: for others the test is not there to run; root without the right to is a failure. */
const needsRoot = { skip: isRoot ? false : "needs root, to mount a file system" }

suite("A server that allows little", () => {
  test("MaxSessions 1 leaves no room for a command, and files go on working", async (t) => {
    const { transport, vm, path } = await arrange(t, { config: ["MaxSessions 1"] })
    const session = await transport.open(vm, asItself)
    const limits = { timeoutMs: 2_000, maxOutputBytes: 100 }
    await assert.rejects(session.run("true", limits), { code: "vm_unsupported", message: /MaxSessions/ })
    await session.stage(path, plain("x"))
    assert.equal((await session.read(path, upToOneMiB))?.bytes.toString(), "x")
    session.close()
  })

  test("a file that may not be read is vm_permission_denied", { skip: !isRoot }, async (t) => {
    const { transport, vm, path } = await arrange(t, { config: [asNobody] })
    await writeFile(path, "x", { mode: 0o600 })
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.read(path, upToOneMiB), { code: "vm_permission_denied" })
    assert.equal(session.dead, false)
    session.close()
  })

  test("a directory that may not be written is vm_permission_denied", { skip: !isRoot }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
    await chmod(sshd.root, 0o755)
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.stage(path, plain("x")), { code: "vm_permission_denied" })
    const { checks } = await session.probe(path, { ...upToOneMiB, keepOwner: true })
    assert.deepEqual(
      checks.filter(({ ok }) => !ok).map(({ name }) => name),
      ["directory"],
    )
    session.close()
  })

  test("a file of somebody else in a sticky directory stays, and is given no second name", {
    skip: !isRoot,
  }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
    await chmod(sshd.root, 0o1777)
    await writeFile(path, "old")
    await chmod(path, 0o666)
    const session = await transport.open(vm, asItself)
    const names = { path, stagingPath: `${path}.new`, oldPath: `${path}.old` }
    await session.stage(names.stagingPath, plain("new"))
    await assert.rejects(session.swap({ ...names, replaces: true }, upToOneMiB), { code: "vm_permission_denied" })
    await session.remove([names.stagingPath, names.oldPath])
    assert.deepEqual(await readdir(sshd.root), ["app.yml"])
    session.close()
  })

  test("a file of the SSH user's own in a sticky directory is given a second name, which can be removed again", {
    skip: !isRoot,
  }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
    await chmod(sshd.root, 0o1777)
    const session = await transport.open(vm, asItself)
    await session.stage(path, plain("old"))
    assert.equal((await session.read(path, upToOneMiB))?.bytes.toString(), "old")
    const names = { path, stagingPath: `${path}.new`, oldPath: `${path}.old` }
    await session.stage(names.stagingPath, plain("new"))
    const { old } = await session.swap({ ...names, replaces: true }, upToOneMiB)
    assert.ok(old !== null && old !== "odd")
    assert.equal(old.bytes.toString(), "old")
    await session.remove([names.oldPath])
    assert.deepEqual(await readdir(sshd.root), ["app.yml"])
    session.close()
  })

  test("a file of somebody else in a sticky directory is given a second name by root, also where another is to own it", {
    skip: !isRoot,
  }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t)
    await chmod(sshd.root, 0o1777)
    await chown(sshd.root, 65534, 65534)
    await writeFile(path, "old")
    await chown(path, 7, 7)
    const session = await transport.open(vm, asItself)
    const names = { path, stagingPath: `${path}.new`, oldPath: `${path}.old` }
    await session.read(path, upToOneMiB)
    await session.stage(names.stagingPath, { ...plain("new"), owner: { uid: 8, gid: 8 } })
    const { old } = await session.swap({ ...names, replaces: true }, upToOneMiB)
    assert.ok(old !== null && old !== "odd")
    assert.equal(old.bytes.toString(), "old")
    await session.remove([names.oldPath])
    session.close()
  })

  test("a name with no room for what a staging file's has more is told, and counts as absent", async (t) => {
    const { transport, vm, path } = await arrange(t)
    const session = await transport.open(vm, asItself)
    const tooLong = `${path}.${"x".repeat(255)}`
    await assert.rejects(session.stage(tooLong, plain("x")), { code: "write_failed", message: /name is longer/ })
    assert.equal(await session.exists(tooLong), false)
    assert.equal(await session.read(tooLong, upToOneMiB), null)
    await session.remove([tooLong])
    session.close()
  })

  test("an owner that cannot be given is a fault that names the ways out, and nothing is left", {
    skip: !isRoot,
  }, async (t) => {
    const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.stage(path, { ...plain("x"), owner: { uid: 0, gid: 0 } }), {
      code: "vm_permission_denied",
      message: /become.*keep_owner/,
    })
    assert.deepEqual(await readdir(sshd.root), [])
    session.close()
  })

  for (const mode of [0o200, 0o000, 0o044]) {
    const text = mode.toString(8).padStart(4, "0")
    test(`a mode ${text} that keeps out the SSH user itself is refused before anything is in place, and nothing is left`, {
      skip: !isRoot,
    }, async (t) => {
      const { sshd, transport, vm, path } = await arrange(t, { config: [asNobody] })
      const session = await transport.open(vm, asItself)
      const owner = { uid: 65_534, gid: 65_534 }
      for (const given of [null, owner]) {
        await assert.rejects(session.stage(path, { ...plain("x"), mode, owner: given }), {
          code: "vm_permission_denied",
          message: new RegExp(`mode ${text} and owner 65534:65534 .* become`),
        })
        assert.deepEqual(await readdir(sshd.root), [])
      }
      assert.equal(session.dead, false)
      session.close()
    })
  }

  test("an owner that cannot be given and need not be kept is told", { skip: !isRoot }, async (t) => {
    const { transport, vm, path } = await arrange(t, { config: [asNobody] })
    const session = await transport.open(vm, asItself)
    const file = { ...plain("x"), owner: { uid: 0, gid: 0 }, keepOwner: false }
    assert.deepEqual(await session.stage(path, file), { uid: 65_534, gid: 65_534, ownerKept: false })
    session.close()
  })

  test("a full disk is vm_disk_full, leaves nothing behind, and stays so until there is room", needsRoot, async (t) => {
    const folder = await mountTmpfs(t, "size=64k")
    const { transport, vm } = await arrange(t)
    const path = join(folder, "app.yml")
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.stage(path, plain(Buffer.alloc(100_000))), {
      code: "vm_disk_full",
      message: /no space/,
    })
    assert.deepEqual(await readdir(folder), [])
    await session.stage(path, plain("small"))
    const { checks } = await session.probe(path, { ...upToOneMiB, keepOwner: true })
    assert.deepEqual(
      checks.filter(({ ok }) => !ok).map(({ name }) => name),
      ["space"],
    )
    session.close()
  })

  test("a file system without inodes is vm_disk_full", needsRoot, async (t) => {
    const folder = await mountTmpfs(t, "size=64k,nr_inodes=2")
    const { transport, vm } = await arrange(t)
    await writeFile(join(folder, "last"), "")
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.stage(join(folder, "x"), plain("x")), { code: "vm_disk_full", message: /inode/ })
    session.close()
  })

  test("a read-only file system is write_failed in words", needsRoot, async (t) => {
    const folder = await mountTmpfs(t, "size=64k,ro")
    const { transport, vm } = await arrange(t)
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.stage(join(folder, "x"), plain("x")), { code: "write_failed", message: /read-only/ })
    session.close()
  })

  test("a size limit of the user is vm_disk_full and leaves nothing behind", async (t) => {
    const script = join(await makeFolder(t), "sftp")
    // 25: SIGXFSZ, which would end the server.
    await writeFile(script, `#!/bin/sh\ntrap '' 25\nulimit -f 16\nexec ${sftpServer}\n`, { mode: 0o755 })
    const { sshd, transport, vm, path } = await arrange(t, { config: [`Subsystem sftp ${script}`] })
    const session = await transport.open(vm, asItself)
    await assert.rejects(session.stage(path, plain(Buffer.alloc(100_000))), { code: "vm_disk_full", message: /limit/ })
    assert.deepEqual(await readdir(sshd.root), [])
    session.close()
  })
})

/** @returns null where mounting is not allowed */
async function mountTmpfs(t: TestContext, options: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "config-manager-tmpfs-"))
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder], { stdio: "ignore" })
  } catch (error) {
    await rmdir(folder)
    throw error
  }
  t.after(async () => {
    execFileSync("umount", ["-l", folder])
    await rmdir(folder)
  })
  return folder
}
