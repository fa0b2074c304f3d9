import assert from "node:assert/strict"
import { test } from "node:test"
import { type ContractSuite, plain, staged, textOf } from "./transport-scene.ts"

/** What puts files in place and away. */
export function changingContract(contractSuite: ContractSuite): void {
  contractSuite("swap", (given) => {
    test("puts the staged file in place, keeps the old one under its second name, and tells of both", async () => {
      await given.harness.write(given.path, Buffer.from("old"), 0o604)
      const inode = (await given.harness.stat(given.path))?.inode
      await given.session.stage(given.stagingPath, staged("new", 0o640))
      const { live, old } = await given.session.swap(given.swapPaths(true), plain)
      assert.deepEqual([textOf(live), live !== "odd" && live?.mode], ["new", 0o640])
      assert.deepEqual([textOf(old), old !== "odd" && old?.mode], ["old", 0o604])
      assert.deepEqual(
        [await given.textAt(given.path), await given.textAt(given.oldPath), await given.textAt(given.stagingPath)],
        ["new", "old", null],
      )
      assert.equal((await given.harness.stat(given.oldPath))?.inode, inode)
    })

    test("tells what was replaced even where it was edited at the last moment", async () => {
      await given.harness.write(given.path, Buffer.from("old"))
      await given.session.read(given.path, plain)
      await given.session.stage(given.stagingPath, staged("new"))
      await given.harness.write(given.path, Buffer.from("edited by hand"))
      const { old } = await given.session.swap(given.swapPaths(true), plain)
      assert.equal(textOf(old), "edited by hand")
    })

    test("creates a file where none was", async () => {
      await given.session.stage(given.stagingPath, staged("new"))
      const { live, old } = await given.session.swap(given.swapPaths(false), plain)
      assert.equal(textOf(live), "new")
      assert.equal(old, null)
      assert.equal(await given.textAt(given.path), "new")
      assert.equal(await given.harness.stat(given.oldPath), null)
    })

    test("does not replace a file that has appeared where none was", async () => {
      await given.session.stage(given.stagingPath, staged("new"))
      await given.harness.write(given.path, Buffer.from("somebody else's"))
      await assert.rejects(given.session.swap(given.swapPaths(false), plain), { code: "concurrent_modification" })
      assert.equal(given.session.dead, false)
      assert.deepEqual(
        [await given.textAt(given.path), await given.textAt(given.stagingPath)],
        ["somebody else's", "new"],
      )
    })

    test("puts the file in place though another stands at its second name, tells of that and leaves it alone", async () => {
      await given.harness.write(given.path, Buffer.from("old"))
      await given.harness.write(given.oldPath, Buffer.from("foreign"))
      await given.session.stage(given.stagingPath, staged("new"))
      const { live, old } = await given.session.swap(given.swapPaths(true), plain)
      assert.deepEqual([textOf(live), textOf(old)], ["new", "foreign"])
      assert.equal(await given.textAt(given.oldPath), "foreign")
    })

    test("tells of a symlink that stood there, or was put there, that it is odd, and follows neither", async () => {
      const elsewhere = given.harness.path("elsewhere")
      await given.harness.write(elsewhere, Buffer.from("elsewhere"))
      await given.harness.symlink(elsewhere, given.path)
      await given.harness.symlink(elsewhere, given.stagingPath)
      const { live, old } = await given.session.swap(given.swapPaths(true), plain)
      assert.deepEqual([live, old], ["odd", "odd"])
      assert.equal(given.session.dead, false)
      assert.deepEqual(
        [await given.textAt(elsewhere), (await given.harness.stat(given.oldPath))?.kind],
        ["elsewhere", "symlink"],
      )
    })

    test("tells bytes up to maxBytes, and of more only that they are odd", async () => {
      for (const [length, limit, told] of [
        [100, 100, "whole"],
        [101, 100, "odd"],
        [1, 0, "odd"],
        [0, 0, "whole"],
      ] as const) {
        await given.harness.write(given.path, Buffer.alloc(length, "o"))
        await given.session.stage(given.stagingPath, staged(Buffer.alloc(length, "n")))
        const report = await given.session.swap(given.swapPaths(true), { ...plain, maxBytes: limit })
        const whole = ["n".repeat(length), "o".repeat(length)]
        assert.deepEqual([textOf(report.live), textOf(report.old)], told === "odd" ? ["odd", "odd"] : whole)
        await given.session.remove([given.oldPath])
      }
      assert.equal(given.session.dead, false)
    })

    test("leaves all as it was when the VM refuses, and the session goes on", async () => {
      await given.harness.mkdir(given.path)
      await given.session.stage(given.stagingPath, staged("new"))
      await assert.rejects(given.session.swap(given.swapPaths(true), plain), { code: "not_a_regular_file" })
      assert.equal(given.session.dead, false)
      assert.equal((await given.harness.stat(given.path))?.kind, "directory")
      assert.equal(await given.textAt(given.stagingPath), "new")
      assert.equal(await given.harness.stat(given.oldPath), null)
    })

    test("leaves the live file alone when there is nothing staged", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      await assert.rejects(given.session.swap(given.swapPaths(true), plain), { code: "write_failed" })
      // A rename that was refused may have been done all the same: the second name is left to whoever looks.
      assert.deepEqual([await given.textAt(given.path), await given.textAt(given.oldPath)], ["live", "live"])
    })
  })

  contractSuite("rename and remove", (given) => {
    test("renames the old file back over the new one", async () => {
      await given.harness.write(given.path, Buffer.from("old"), 0o604)
      const before = await given.harness.stat(given.path)
      await given.session.stage(given.stagingPath, staged("new"))
      await given.session.swap(given.swapPaths(true), plain)
      await given.session.rename(given.oldPath, given.path)
      assert.equal(await given.textAt(given.path), "old")
      assert.deepEqual(await given.harness.stat(given.path), before)
      assert.equal(await given.harness.stat(given.oldPath), null)
    })

    test("gives what a rename replaces a second name, where one is asked for", async () => {
      await given.harness.write(given.path, Buffer.from("new"))
      await given.harness.write(given.oldPath, Buffer.from("old"))
      const replaced = await given.harness.stat(given.path)
      await given.session.rename(given.oldPath, given.path, given.stagingPath)
      assert.deepEqual([await given.textAt(given.path), await given.textAt(given.stagingPath)], ["old", "new"])
      assert.deepEqual(await given.harness.stat(given.stagingPath), replaced)
    })

    test("renames where that name is taken, and leaves what stands there", async () => {
      await given.harness.write(given.path, Buffer.from("new"))
      await given.harness.write(given.oldPath, Buffer.from("old"))
      await given.harness.write(given.stagingPath, Buffer.from("taken"))
      await given.session.rename(given.oldPath, given.path, given.stagingPath)
      assert.deepEqual([await given.textAt(given.path), await given.textAt(given.stagingPath)], ["old", "taken"])
    })

    test("does not rename what is not there", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      await assert.rejects(given.session.rename(given.oldPath, given.path), { code: "write_failed" })
      assert.equal(await given.textAt(given.path), "live")
    })

    test("syncs the directory of a path, and takes one that does not stand, or is none, for synced", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      for (const path of [given.path, given.oldPath, `${given.path}.d/x`, `${given.path}/x`]) {
        await given.session.syncDirectory(path)
      }
      assert.deepEqual([given.session.dead, await given.textAt(given.path)], [false, "live"])
    })

    test("removes each path, and takes one where nothing stands for removed", async () => {
      await given.harness.write(given.path, Buffer.from("1"))
      await given.harness.write(given.oldPath, Buffer.from("2"))
      await given.session.remove([given.path, given.stagingPath, given.oldPath])
      await given.session.remove([given.path])
      await given.session.remove([])
      assert.deepEqual([await given.harness.stat(given.path), await given.harness.stat(given.oldPath)], [null, null])
    })

    test("removes a symlink, not what it leads to", async () => {
      await given.harness.write(given.path, Buffer.from("stays"))
      await given.harness.symlink(given.path, given.oldPath)
      await given.session.remove([given.oldPath])
      assert.equal(await given.textAt(given.path), "stays")
      assert.equal(await given.harness.stat(given.oldPath), null)
    })

    test("does not remove a directory", async () => {
      await given.harness.mkdir(given.path)
      await assert.rejects(given.session.remove([given.path]), { code: "write_failed" })
      assert.equal((await given.harness.stat(given.path))?.kind, "directory")
    })
  })

  contractSuite("directories", (given) => {
    test("lists the names in one, sorted, and no others", async () => {
      const [directory, inner] = [`${given.path}.d`, `${given.path}.d/inner`]
      await given.harness.mkdir(directory)
      await given.harness.mkdir(inner)
      await given.harness.write(`${directory}/b`, Buffer.from("b"))
      await given.harness.write(`${directory}/a`, Buffer.from("a"))
      await given.harness.write(`${inner}/c`, Buffer.from("c"))
      assert.deepEqual(await given.session.list(directory), ["a", "b", "inner"])
    })

    test("lists none in an empty one, and null where none stands", async () => {
      await given.harness.mkdir(`${given.path}.d`)
      await given.harness.write(given.oldPath, Buffer.from("a file"))
      assert.deepEqual(await given.session.list(`${given.path}.d`), [])
      assert.equal(await given.session.list(given.path), null)
      assert.equal(await given.session.list(given.oldPath), null)
    })

    test("makes one that only its owner can enter, and leaves one that stands there as it is", async () => {
      const directory = `${given.path}.d`
      await given.session.makeDirectory(directory)
      const made = await given.harness.stat(directory)
      assert.deepEqual([made?.kind, made?.mode], ["directory", 0o700])
      await given.harness.write(`${directory}/a`, Buffer.from("a"))
      await given.session.makeDirectory(directory)
      assert.deepEqual(await given.session.list(directory), ["a"])
    })

    test("makes none where a file stands, and the session lives on", async () => {
      await given.harness.write(given.path, Buffer.from("a file"))
      await assert.rejects(given.session.makeDirectory(given.path), { code: "write_failed" })
      assert.equal(given.session.dead, false)
      assert.equal(await given.textAt(given.path), "a file")
    })
  })

  contractSuite("probe", (given) => {
    test("finds a path fit, and leaves nothing behind", async () => {
      await given.harness.write(given.path, Buffer.from("live"))
      const { checks } = await given.session.probe(given.path, { ...plain, keepOwner: true })
      assert.deepEqual(
        checks.filter(({ ok }) => !ok),
        [],
      )
      assert.ok(checks.length > 0)
      assert.equal(await given.textAt(given.path), "live")
    })

    test("says what is wrong with a path in a check, not in a fault", async () => {
      await given.harness.mkdir(given.path)
      const { checks } = await given.session.probe(given.path, { ...plain, keepOwner: true })
      assert.ok(checks.some(({ ok, detail }) => !ok && detail.includes("regular file")))
    })
  })
}
