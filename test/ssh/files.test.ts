import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { randomBytes } from "node:crypto"
import { chmod, link, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { PassThrough } from "node:stream"
import { after, afterEach, before, beforeEach, suite, test } from "node:test"
import type { Session, StagedFile } from "../../src/domain/transport.ts"
import type { Connection } from "../../src/ssh/connection.ts"
import { runCommand } from "../../src/ssh/run-command.ts"
import type { SshTransport } from "../../src/ssh/transport.ts"
import { textOf } from "../contracts/transport-scene.ts"
import { isRoot, type Sshd, startSshd, vmOf } from "../support/sshd.ts"
import { asItself, transportFor, upToOneMiB } from "./transport-harness.ts"

const following = { ...upToOneMiB, followSymlinks: true }
const plain = (text: string | Buffer): StagedFile => ({
  bytes: Buffer.from(text),
  mode: 0o640,
  owner: null,
  keepOwner: true,
})

suite("SshSession and files", () => {
  let sshd: Sshd
  let transport: SshTransport
  let session: Session
  let folder: string
  let path: string
  let count = 0

  before(async () => {
    sshd = await startSshd()
    transport = transportFor(sshd)
  })
  after(async () => {
    await transport.close()
    await sshd.stop()
  })
  beforeEach(async () => {
    folder = join(sshd.root, `case-${count++}`)
    path = join(folder, "app.yml")
    await mkdir(folder)
    session = await transport.open(vmOf(sshd), asItself)
  })
  afterEach(() => session.close())

  const swapPaths = (replaces: boolean) => ({
    path,
    stagingPath: `${path}.new`,
    oldPath: `${path}.old`,
    replaces,
  })

  suite("read", () => {
    test("gives bytes, mode and owner", async () => {
      await writeFile(path, "a: 1\n")
      await chmod(path, 0o604)
      const file = await session.read(path, upToOneMiB)
      const { uid, gid, mtimeMs } = await stat(path)
      assert.deepEqual(file, {
        bytes: Buffer.from("a: 1\n"),
        mode: 0o604,
        uid,
        gid,
        mtime: Math.floor(mtimeMs / 1000),
        realPath: path,
      })
    })

    test("gives null where nothing stands, and where not even the directory does", async () => {
      assert.equal(await session.read(path, upToOneMiB), null)
      assert.equal(await session.read(join(folder, "none", "app.yml"), upToOneMiB), null)
      assert.equal(await session.read(path, following), null)
    })

    test("gives an empty file", async () => {
      await writeFile(path, "")
      assert.equal((await session.read(path, upToOneMiB))?.bytes.length, 0)
    })

    for (const size of [32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 5 * 1024 * 1024 + 7]) {
      test(`gives all of ${size} bytes`, async () => {
        const bytes = randomBytes(size)
        await writeFile(path, bytes)
        const file = await session.read(path, { ...upToOneMiB, maxBytes: 8 * 1024 * 1024 })
        assert.ok(file?.bytes.equals(bytes))
      })
    }

    test("refuses a directory", async () => {
      await mkdir(path)
      await assert.rejects(session.read(path, upToOneMiB), { code: "not_a_regular_file", message: /a directory/ })
    })

    test("refuses a named pipe at once", async () => {
      execFileSync("mkfifo", [path])
      await assert.rejects(session.read(path, upToOneMiB), { code: "not_a_regular_file", message: /named pipe/ })
      assert.equal(session.dead, false)
    })

    test("refuses a file that has become a named pipe at once, and the next session works", async () => {
      await writeFile(path, "a: 1\n")
      await session.read(path, upToOneMiB)
      execFileSync("rm", [path])
      execFileSync("mkfifo", [path])
      const startedAt = performance.now()
      await assert.rejects(session.read(path, upToOneMiB), { code: "not_a_regular_file" })
      assert.ok(performance.now() - startedAt < 1_000)
      // The VM's sftp-server hangs in open(2): the connection is given up, and a writer lets the server go.
      await assert.rejects(session.read(join(folder, "other"), upToOneMiB), { code: "connection_lost" })
      assert.equal(session.dead, true)
      execFileSync("sh", ["-c", `timeout 5 sh -c ': > "$0"' "$0"`, path])
      const next = await transport.open(vmOf(sshd), asItself)
      await assert.rejects(next.read(path, upToOneMiB), { code: "not_a_regular_file" })
      assert.equal(next.dead, false)
      next.close()
    })

    test("leaves no connection that a named pipe has blocked to whoever comes next", async () => {
      await writeFile(path, "a: 1\n")
      await writeFile(join(folder, "other"), "b: 1\n")
      await session.read(path, upToOneMiB)
      execFileSync("rm", [path])
      execFileSync("mkfifo", [path])
      await assert.rejects(session.read(path, upToOneMiB), { code: "not_a_regular_file" })
      session.close()
      // The answer leaves before anybody can ask for more.
      await new Promise(setImmediate)
      const next = await transport.open(vmOf(sshd), asItself)
      await assert.rejects(next.read(path, upToOneMiB), { code: "not_a_regular_file" })
      assert.equal((await next.read(join(folder, "other"), upToOneMiB))?.bytes.toString(), "b: 1\n")
      next.close()
      execFileSync("sh", ["-c", `timeout 5 sh -c ': > "$0"' "$0"`, path])
    })

    test("refuses a symlink unless it is to be followed", async () => {
      await writeFile(join(folder, "real.yml"), "a: 1\n")
      await symlink("real.yml", path)
      await assert.rejects(session.read(path, upToOneMiB), { code: "not_a_regular_file", message: /symlink/ })
      const file = await session.read(path, following)
      assert.equal(file?.realPath, join(folder, "real.yml"))
      assert.equal(file?.bytes.toString(), "a: 1\n")
    })

    test("tells where the file stands whose directory is a symlink", async () => {
      await mkdir(join(folder, "release"))
      await symlink("release", join(folder, "current"))
      await writeFile(join(folder, "release", "app.yml"), "a: 1\n")
      for (const options of [upToOneMiB, following]) {
        const file = await session.read(join(folder, "current", "app.yml"), options)
        assert.equal(file?.realPath, join(folder, "release", "app.yml"))
      }
    })

    test("gives null for a symlink to nothing that is followed", async () => {
      await symlink("nothing.yml", path)
      assert.equal(await session.read(path, following), null)
    })

    test("refuses a file that is larger than allowed, and tells both sizes", async () => {
      await writeFile(path, Buffer.alloc(101))
      await assert.rejects(session.read(path, { ...upToOneMiB, maxBytes: 100 }), {
        code: "remote_file_too_large",
        message: /101 .*100 /,
      })
    })

    test("refuses a path with control characters before it is sent", async () => {
      for (const odd of ["\0", "\n", "\r", "\u007f"]) {
        await assert.rejects(session.read(`${path}${odd}`, upToOneMiB), { code: "vm_unsupported" })
      }
      assert.equal(session.dead, false)
    })

    test("lets a caller go whose signal aborts, and stays usable", async () => {
      await writeFile(path, "a: 1\n")
      const giveUp = new AbortController()
      const reading = session.read(path, upToOneMiB, giveUp.signal)
      giveUp.abort(new Error("gone"))
      await assert.rejects(reading, { message: "gone" })
      assert.equal((await session.read(path, upToOneMiB))?.bytes.toString(), "a: 1\n")
    })
  })

  suite("stage", () => {
    for (const size of [0, 1, 32 * 1024, 32 * 1024 + 1, 3 * 1024 * 1024 + 7]) {
      test(`writes ${size} bytes with their mode`, async () => {
        const bytes = randomBytes(size)
        const report = await session.stage(path, { ...plain(bytes), mode: 0o604 })
        assert.deepEqual(report, { uid: process.getuid?.(), gid: process.getgid?.(), ownerKept: true })
        assert.ok((await readFile(path)).equals(bytes))
        assert.equal((await stat(path)).mode & 0o7777, 0o604)
      })
    }

    test("gives the owner that is asked for", { skip: !isRoot }, async () => {
      const report = await session.stage(path, { ...plain("x"), owner: { uid: 1234, gid: 4321 } })
      assert.deepEqual(report, { uid: 1234, gid: 4321, ownerKept: true })
      const { uid, gid } = await stat(path)
      assert.deepEqual([uid, gid], [1234, 4321])
    })

    test("refuses where something stands already, and leaves it alone", async () => {
      await writeFile(path, "theirs")
      await assert.rejects(session.stage(path, plain("ours")), { code: "write_failed", message: /already/ })
      assert.equal(await readFile(path, "utf8"), "theirs")
    })

    test("refuses a dangling symlink, and creates nothing behind it", async () => {
      await symlink(join(folder, "behind"), path)
      await assert.rejects(session.stage(path, plain("ours")), { code: "write_failed" })
      assert.deepEqual(await readdir(folder), ["app.yml"])
    })

    test("says that the directory is missing", async () => {
      await assert.rejects(session.stage(join(folder, "none", "x"), plain("x")), {
        code: "write_failed",
        message: /directory does not exist/,
      })
    })

    test("leaves nothing behind when the caller gives up, whenever that is", async () => {
      const giveUp = new AbortController()
      const staging = session.stage(path, plain("x"), giveUp.signal)
      giveUp.abort(new Error("gone"))
      await assert.rejects(staging, { message: "gone" })
      // Flights of one channel are worked through in order: what cleans up was sent after the next answer at the latest.
      await session.exists(path)
      await session.exists(path)
      await session.exists(path)
      assert.deepEqual(await readdir(folder), [])
    })
  })

  suite("swap", () => {
    test("replaces the live file, keeps the old one under its second name, and reads both back", async () => {
      await writeFile(path, "old")
      const { ino } = await stat(path)
      await session.stage(`${path}.new`, plain("new"))
      const report = await session.swap(swapPaths(true), upToOneMiB)
      assert.equal(textOf(report.live), "new")
      assert.equal(report.live !== "odd" && report.live?.mode, 0o640)
      assert.equal(textOf(report.old), "old")
      assert.equal((await stat(`${path}.old`)).ino, ino)
      assert.deepEqual(await readdir(folder), ["app.yml", "app.yml.old"])
    })

    test("creates a file where none was", async () => {
      await session.stage(`${path}.new`, plain("new"))
      const report = await session.swap(swapPaths(false), upToOneMiB)
      assert.equal(textOf(report.live), "new")
      assert.equal(report.old, null)
      assert.deepEqual(await readdir(folder), ["app.yml"])
    })

    test("does not replace a file that was created in the meantime", async () => {
      await session.stage(`${path}.new`, plain("ours"))
      await writeFile(path, "theirs")
      await assert.rejects(session.swap(swapPaths(false), upToOneMiB), { code: "concurrent_modification" })
      assert.equal(await readFile(path, "utf8"), "theirs")
      assert.deepEqual(await readdir(folder), ["app.yml", "app.yml.new"])
    })

    test("shows in the old file what was edited before it", async () => {
      await writeFile(path, "old")
      await session.stage(`${path}.new`, plain("new"))
      await writeFile(path, "edited")
      const report = await session.swap(swapPaths(true), upToOneMiB)
      assert.equal(textOf(report.old), "edited")
    })

    test("that is refused leaves the live file, and its second name to whoever looks whether it was done all the same", async () => {
      await writeFile(path, "old")
      await assert.rejects(session.swap(swapPaths(true), upToOneMiB), { name: "Fault" })
      assert.deepEqual(await readdir(folder), ["app.yml", "app.yml.old"])
      assert.equal(await readFile(path, "utf8"), "old")
    })

    test("refuses a directory in the place of the live file", async () => {
      await mkdir(path)
      await session.stage(`${path}.new`, plain("new"))
      await assert.rejects(session.swap(swapPaths(true), upToOneMiB), { code: "not_a_regular_file" })
      assert.deepEqual(await readdir(folder), ["app.yml", "app.yml.new"])
    })

    test("goes on where the second name cannot be given, and tells what stands under it", async () => {
      await writeFile(path, "old")
      await link(path, `${path}.old`)
      await session.stage(`${path}.new`, plain("new"))
      const report = await session.swap(swapPaths(true), upToOneMiB)
      assert.deepEqual([textOf(report.live), textOf(report.old)], ["new", "old"])
    })

    test("does not follow what has become a symlink, and reports it as odd", async () => {
      await writeFile(join(folder, "secret"), "secret")
      await symlink("secret", path)
      await session.stage(`${path}.new`, plain("new"))
      const report = await session.swap(swapPaths(true), upToOneMiB)
      assert.equal(report.old, "odd")
      assert.equal(await readFile(join(folder, "secret"), "utf8"), "secret")
    })

    test("leaves no handle open on the VM", async () => {
      // OpenSSH hands out the lowest number that is free: after 300 rounds it would have run out of descriptors.
      await writeFile(path, "0")
      for (let round = 1; round <= 300; round++) {
        await session.stage(`${path}.new`, plain(String(round)))
        await session.swap(swapPaths(true), upToOneMiB)
        await session.remove([`${path}.old`])
      }
      assert.equal(await readFile(path, "utf8"), "300")
    })
  })

  test("rename replaces, and remove takes what is not there for removed", async () => {
    await writeFile(path, "new")
    await writeFile(`${path}.old`, "old")
    await session.rename(`${path}.old`, path)
    assert.equal(await readFile(path, "utf8"), "old")
    await session.remove([`${path}.old`, path, join(folder, "none", "x")])
    assert.equal(await session.exists(path), false)
    assert.deepEqual(await readdir(folder), [])
  })

  test("rename of what is not there and remove of a directory are faults", async () => {
    await assert.rejects(session.rename(`${path}.old`, path), { code: "write_failed" })
    await mkdir(path)
    await assert.rejects(session.remove([path]), { code: "write_failed" })
    assert.equal(await session.exists(path), true)
  })

  test("probe tells what a push could do, and leaves nothing behind", async () => {
    await writeFile(path, "a: 1\n")
    const { checks } = await session.probe(path, { ...upToOneMiB, keepOwner: true })
    assert.deepEqual(
      checks.map(({ name, ok }) => [name, ok]),
      [
        ["file", true],
        ["directory", true],
        ["owner", true],
        ["space", true],
      ],
    )
    assert.deepEqual(await readdir(folder), ["app.yml"])
  })

  test("probe tells of a directory in the file's place and of a missing one around it", async () => {
    await mkdir(path)
    const inPlace = await session.probe(path, { ...upToOneMiB, keepOwner: true })
    assert.deepEqual(
      inPlace.checks.filter(({ ok }) => !ok).map(({ name }) => name),
      ["file"],
    )
    const around = await session.probe(join(folder, "none", "x"), { ...upToOneMiB, keepOwner: true })
    assert.ok(around.checks.some(({ name, ok }) => name === "directory" && !ok))
  })

  test("probe tells of a name that is too long for the staging file of a push", async () => {
    const long = join(folder, "x".repeat(220))
    const { checks } = await session.probe(long, { ...upToOneMiB, keepOwner: true })
    assert.match(checks.find(({ ok }) => !ok)?.detail ?? "", /name is longer/)
  })

  test("probe tells of a symlink that leads to nothing, followed or not", async () => {
    await symlink("nowhere", path)
    for (const followSymlinks of [true, false]) {
      const { checks } = await session.probe(path, { ...upToOneMiB, followSymlinks, keepOwner: true })
      const failed = checks.filter(({ ok }) => !ok)
      assert.deepEqual(
        failed.map(({ name }) => name),
        ["file"],
      )
      assert.match(failed[0]?.detail ?? "", followSymlinks ? /leads to nothing/ : /follow_symlinks of its type is off/)
    }
  })

  test("requirePlace refuses a directory that is missing", async () => {
    await assert.rejects(session.requirePlace(join(folder, "none", "x")), {
      code: "write_failed",
      message: /directory does not exist/,
    })
  })

  test("run gives exit code and output, cut where it is too long", async () => {
    const limits = { timeoutMs: 5_000, maxOutputBytes: 4 }
    assert.deepEqual(await session.run("printf 123456; exit 3", limits), { exitCode: 3, output: "1234" })
    assert.deepEqual(await session.run("kill -9 $$", limits), { exitCode: null, output: "" })
  })

  test("run gives the exit code of a command that had ended before anybody could listen to its channel", async () => {
    const channel = Object.assign(new PassThrough(), { stderr: new PassThrough() })
    const connection = {
      onDown: () => () => {},
      exec: async () => {
        channel.emit("exit", 3)
        // As ssh2 closes a channel: once all has been read, and with what "exit" was told.
        channel.once("end", () => channel.emit("close", 3))
        return channel
      },
    } as unknown as Connection
    const { exitCode } = await runCommand(connection, "exit 3", { timeoutMs: 5_000, maxOutputBytes: 4 })
    assert.equal(exitCode, 3)
  })

  test("a session that was closed refuses everything", async () => {
    session.close()
    session.close()
    assert.equal(session.dead, true)
    await assert.rejects(session.read(path, upToOneMiB), { code: "connection_lost" })
  })
})
