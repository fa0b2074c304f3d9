import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { test } from "node:test"
import type { Session } from "../../src/domain/transport.ts"
import { type ContractSuite, following, plain, staged } from "./transport-scene.ts"

/** What leaves the live file alone: reading, looking, staging. */
export function readingContract(contractSuite: ContractSuite): void {
  contractSuite("read", (given) => {
    const contents: readonly (readonly [string, Buffer])[] = [
      ["an empty file", Buffer.alloc(0)],
      ["every byte there is", Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))],
      ["CRLF line ends and no last one", Buffer.from("a: 1\r\nb: 2\r\n\r\nc: 3")],
      ["a byte order mark and text that is no UTF-8", Buffer.from([0xef, 0xbb, 0xbf, 0xff, 0xfe, 0x0a])],
      ["more than a few packets", randomBytes(300_001)],
    ]
    for (const [what, bytes] of contents) {
      test(`gives back ${what} as it stands`, async () => {
        await given.harness.write(given.path, bytes, 0o604)
        const found = await given.session.read(given.path, plain)
        assert.ok(found?.bytes.equals(bytes))
        assert.equal(found?.mode, 0o604)
        assert.equal(found?.realPath, given.path)
        assert.ok(Math.abs((found?.mtime ?? 0) - Date.now() / 1000) < 60)
      })
    }

    test("sees each change of a file that it has read before", async () => {
      for (const content of ["one", "two, longer", "3", ""]) {
        await given.harness.write(given.path, Buffer.from(content))
        assert.equal((await given.session.read(given.path, plain))?.bytes.toString(), content)
      }
    })

    test("gives bytes that are the caller's own", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      const found = await given.session.read(given.path, plain)
      found?.bytes.fill(0)
      assert.equal((await given.session.read(given.path, plain))?.bytes.toString(), "live")
      assert.equal(await given.textAt(given.path), "live")
    })

    test("is null where nothing stands, also in a directory that is missing", async () => {
      assert.equal(await given.session.read(given.path, plain), null)
      assert.equal(await given.session.read(given.path, following), null)
      assert.equal(await given.session.read(given.harness.path("missing/app.yml"), plain), null)
    })

    test("refuses a directory", async () => {
      await given.harness.mkdir(given.path)
      await assert.rejects(given.session.read(given.path, plain), { code: "not_a_regular_file" })
    })

    test("refuses a symlink, unless it is told to follow it", async () => {
      const target = given.harness.path("target.yml")
      await given.harness.write(target, Buffer.from("there"))
      await given.harness.symlink(target, given.path)
      await assert.rejects(given.session.read(given.path, plain), { code: "not_a_regular_file" })
      const found = await given.session.read(given.path, following)
      assert.equal(found?.bytes.toString(), "there")
      assert.equal(found?.realPath, target)
    })

    test("refuses a symlink that stands where it has read a file before", async () => {
      await given.harness.write(given.path, Buffer.from("a file"))
      await given.session.read(given.path, plain)
      await given.session.remove([given.path])
      await given.harness.symlink(given.harness.path("elsewhere.yml"), given.path)
      await assert.rejects(given.session.read(given.path, plain), { code: "not_a_regular_file" })
    })

    test("is null for a symlink to nowhere that it is told to follow", async () => {
      await given.harness.symlink(given.harness.path("nowhere.yml"), given.path)
      assert.equal(await given.session.read(given.path, following), null)
    })

    test("refuses a FIFO without opening it", async () => {
      await given.harness.fifo(given.path)
      await assert.rejects(given.session.read(given.path, plain), { code: "not_a_regular_file" })
      assert.equal(await given.session.exists(given.path), true)
    })

    test("refuses one byte more than it may read, and takes what is just small enough", async () => {
      await given.harness.write(given.path, Buffer.alloc(11))
      await assert.rejects(given.session.read(given.path, { ...plain, maxBytes: 10 }), {
        code: "remote_file_too_large",
      })
      assert.equal((await given.session.read(given.path, { ...plain, maxBytes: 11 }))?.bytes.length, 11)
    })
  })

  contractSuite("exists", (given) => {
    test("tells of files, directories and symlinks to nowhere, and of nothing", async () => {
      await given.harness.write(given.path, Buffer.from("x"))
      await given.harness.mkdir(given.harness.path("directory"))
      await given.harness.symlink("/nowhere/at/all", given.harness.path("symlink"))
      assert.equal(await given.session.exists(given.path), true)
      assert.equal(await given.session.exists(given.harness.path("directory")), true)
      assert.equal(await given.session.exists(given.harness.path("symlink")), true)
      assert.equal(await given.session.exists(given.harness.path("missing")), false)
    })
  })

  contractSuite("realPathOf", (given) => {
    test("follows the symlinks of the directory, whether anything stands there or not", async () => {
      const release = given.harness.path("release")
      await given.harness.mkdir(release)
      await given.harness.symlink(release, given.harness.path("current"))
      const path = given.harness.path("current/app.yml")
      assert.equal(await given.session.realPathOf(path), `${release}/app.yml`)
      await given.session.stage(path, staged("x"))
      assert.equal(await given.session.realPathOf(path), `${release}/app.yml`)
      assert.equal((await given.session.read(path, plain))?.realPath, `${release}/app.yml`)
    })

    test("keeps the name itself, also where that is a symlink", async () => {
      await given.harness.symlink(given.harness.path("elsewhere.yml"), given.path)
      assert.equal(await given.session.realPathOf(given.path), given.path)
    })

    test("is the path as it is where its directory does not stand", async () => {
      const path = given.harness.path("missing/deep/app.yml")
      assert.equal(await given.session.realPathOf(path), path)
    })
  })

  contractSuite("requirePlace", (given) => {
    test("takes a new name and one that is taken, also under a symlink, and changes nothing", async () => {
      const directory = given.harness.path("release")
      await given.harness.mkdir(directory)
      await given.harness.symlink(directory, given.harness.path("current"))
      await given.harness.write(given.path, Buffer.from("x"))
      for (const path of [given.path, given.stagingPath, given.harness.path("current/app.yml")]) {
        await given.session.requirePlace(path)
      }
      assert.equal(await given.session.exists(given.stagingPath), false)
    })

    test("refuses what is no directory around it, and a name that is too long", async () => {
      await given.harness.write(given.path, Buffer.from("x"))
      await assert.rejects(given.session.requirePlace(`${given.path}/app.yml`), { code: "write_failed" })
      const long = given.harness.path("a".repeat(256))
      await assert.rejects(given.session.requirePlace(long), { code: "write_failed" })
    })
  })

  contractSuite("stage", (given) => {
    for (const bytes of [Buffer.alloc(0), Buffer.from("a: 1\r\n\0"), randomBytes(300_001)]) {
      test(`writes ${bytes.length} bytes beside the live file, and leaves that alone`, async () => {
        await given.harness.write(given.path, Buffer.from("live"))
        const report = await given.session.stage(given.stagingPath, staged(bytes, 0o640))
        assert.equal(report.ownerKept, true)
        assert.ok((await given.harness.readBack(given.stagingPath))?.equals(bytes))
        assert.equal((await given.harness.stat(given.stagingPath))?.mode, 0o640)
        assert.equal(await given.textAt(given.path), "live")
      })
    }

    for (const mode of [0o400, 0o600, 0o666, 0o755]) {
      test(`gives mode ${mode.toString(8)}, whatever the user's umask is`, async () => {
        await given.session.stage(given.stagingPath, staged("x", mode))
        assert.equal((await given.harness.stat(given.stagingPath))?.mode, mode)
      })
    }

    test("tells the owner, and keeps one that the file has already", async () => {
      const { uid, gid } = await given.session.stage(given.stagingPath, staged("x"))
      const again = await given.session.stage(given.oldPath, { ...staged("y"), owner: { uid, gid } })
      assert.deepEqual(again, { uid, gid, ownerKept: true })
    })

    test("refuses a file that stands there already, and leaves it as it is", async () => {
      await given.harness.write(given.stagingPath, Buffer.from("foreign"), 0o644)
      await assert.rejects(given.session.stage(given.stagingPath, staged("ours")), { code: "write_failed" })
      assert.equal(await given.textAt(given.stagingPath), "foreign")
      assert.equal((await given.harness.stat(given.stagingPath))?.mode, 0o644)
    })

    test("refuses a directory and a symlink, also one to nowhere, and writes through neither", async () => {
      const directory = given.harness.path("directory")
      const dangling = given.harness.path("dangling")
      const elsewhere = given.harness.path("elsewhere")
      await given.harness.mkdir(directory)
      await given.harness.symlink(elsewhere, dangling)
      await assert.rejects(given.session.stage(directory, staged("ours")), { code: "write_failed" })
      await assert.rejects(given.session.stage(dangling, staged("ours")), { code: "write_failed" })
      assert.equal(await given.harness.stat(elsewhere), null)
      assert.equal((await given.harness.stat(dangling))?.kind, "symlink")
    })

    test("leaves nothing behind when it is given up midway", async () => {
      const giveUp = new AbortController()
      const staging = given.session.stage(given.stagingPath, staged(randomBytes(500_000)), giveUp.signal)
      giveUp.abort(new Error("given up"))
      await assert.rejects(staging, /given up/)
      await gone(given.session, given.stagingPath)
    })
  })
}

/** What was given up is cleaned up behind the caller's back; it takes a moment. */
async function gone(session: Session, path: string): Promise<void> {
  const deadline = Date.now() + 2000
  while (await session.exists(path)) assert.ok(Date.now() < deadline, `${path} was left behind`)
}
