import assert from "node:assert/strict"
import { constants } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { type FsPort, readWhole, syncDirectory, writeNew } from "../../src/blobs/fs-port.ts"

interface FsHarness {
  readonly fs: FsPort
  /** An empty directory. */
  readonly dir: string
}

/** What the blob store relies on in a file system. The model of a power loss is worth what the real one has in common with it. */
export function fsPortContract(name: string, make: () => Promise<FsHarness>): void {
  const scene = (sentence: string, work: (harness: FsHarness) => Promise<void>): void =>
    void test(sentence, async () => work(await make()))
  const refused = (work: Promise<unknown>, code: string): Promise<void> => assert.rejects(work, { code })

  suite(`FsPort: ${name}`, () => {
    scene("gives back what was written, part by part", async ({ fs, dir }) => {
      await writeNew(fs, join(dir, "a"), Buffer.from("hello"))
      const file = await fs.open(join(dir, "a"), constants.O_RDONLY)
      const into = Buffer.alloc(3)
      assert.equal(await file.read(into, 2), 3)
      assert.equal(into.toString(), "llo")
      assert.equal(await file.read(into, 5), 0)
      assert.equal(await file.size(), 5)
      await file.close()
      assert.equal((await readWhole(fs, join(dir, "a"), 5))?.toString(), "hello")
      assert.equal(await readWhole(fs, join(dir, "a"), 4), null)
    })

    scene("makes a file only where none stands", async ({ fs, dir }) => {
      await writeNew(fs, join(dir, "a"), Buffer.from("1"))
      await refused(writeNew(fs, join(dir, "a"), Buffer.from("2")), "EEXIST")
      await refused(fs.mkdir(join(dir, "a")), "EEXIST")
      assert.equal((await readWhole(fs, join(dir, "a"), 9))?.toString(), "1")
    })

    scene("gives a file a second name, but never one that is taken", async ({ fs, dir }) => {
      await writeNew(fs, join(dir, "a"), Buffer.from("1"))
      await writeNew(fs, join(dir, "b"), Buffer.from("2"))
      await refused(fs.link(join(dir, "a"), join(dir, "b")), "EEXIST")
      await fs.link(join(dir, "a"), join(dir, "c"))
      await fs.unlink(join(dir, "a"))
      assert.equal((await readWhole(fs, join(dir, "c"), 9))?.toString(), "1")
      assert.deepEqual([...(await fs.readdir(dir))].sort(), ["b", "c"])
    })

    scene("renames over a file that stands", async ({ fs, dir }) => {
      await writeNew(fs, join(dir, "a"), Buffer.from("1"))
      await writeNew(fs, join(dir, "b"), Buffer.from("2"))
      await fs.rename(join(dir, "a"), join(dir, "b"))
      assert.equal((await readWhole(fs, join(dir, "b"), 9))?.toString(), "1")
      assert.equal(await fs.exists(join(dir, "a")), false)
    })

    scene("appends at the end, wherever it is told to write", async ({ fs, dir }) => {
      await writeNew(fs, join(dir, "a"), Buffer.from("one\n"))
      const file = await fs.open(join(dir, "a"), constants.O_WRONLY | constants.O_APPEND)
      await file.write(Buffer.from("two\n"), 0)
      await file.sync()
      await file.close()
      assert.equal((await readWhole(fs, join(dir, "a"), 99))?.toString(), "one\ntwo\n")
    })

    scene("tells what is missing, and what is no directory", async ({ fs, dir }) => {
      await writeNew(fs, join(dir, "a"), Buffer.from("1"))
      const gone = join(dir, "gone")
      await refused(fs.open(gone, constants.O_RDONLY), "ENOENT")
      await refused(fs.unlink(gone), "ENOENT")
      await refused(fs.rename(gone, join(dir, "b")), "ENOENT")
      await refused(fs.link(gone, join(dir, "b")), "ENOENT")
      await refused(fs.readdir(gone), "ENOENT")
      await refused(fs.realpath(gone), "ENOENT")
      await refused(fs.device(gone), "ENOENT")
      await refused(writeNew(fs, join(gone, "a"), Buffer.alloc(0)), "ENOENT")
      await refused(fs.open(join(dir, "a", "b"), constants.O_RDONLY), "ENOTDIR")
      await refused(syncDirectory(fs, join(dir, "a")), "ENOTDIR")
    })

    scene("syncs a directory, which has no size", async ({ fs, dir }) => {
      await fs.mkdir(join(dir, "d"))
      await syncDirectory(fs, dir)
      assert.equal(await readWhole(fs, join(dir, "d"), 9), null)
    })
  })
}
