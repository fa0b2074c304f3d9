import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { nodeFs, syncDirectory, writeNew } from "../../src/blobs/fs-port.ts"
import { makeTemporary } from "../support/temporary.ts"
import { fsPortContract } from "./fs-port-contract.ts"
import { ModelFs } from "./model-fs.ts"

fsPortContract("the real one", async () => ({ fs: nodeFs, dir: makeTemporary("fs") }))
fsPortContract("the model", async () => ({ fs: modelOf({}), dir: "/d" }))

/** Every state after a power cut as text, `-` for a file that is not there. */
function statesOf(fs: ModelFs, ...paths: readonly string[]): readonly string[] {
  const states = [...fs.crashStates()].map((tree) => paths.map((path) => tree.get(path)?.toString("latin1") ?? "-"))
  return [...new Set(states.map((state) => state.join(",")))].sort()
}

/** A directory `/d` with files in it, all of it durable. */
function modelOf(files: Readonly<Record<string, string>>): ModelFs {
  const entries = Object.entries(files).map(([name, value]) => [`/d/${name}`, text(value)] as const)
  return new ModelFs(new Map<string, Buffer | null>([["/d", null], ...entries]))
}

const text = (value: string): Buffer => Buffer.from(value, "latin1")

suite("ModelFs.crashStates", () => {
  test("leaves nothing, a part, zeros or all of bytes that were not synced", async () => {
    const fs = modelOf({ a: "old!" })
    const file = await fs.open("/d/a", 1)
    await file.write(text("new!"), 0)

    assert.deepEqual(statesOf(fs, "/d/a"), ["\0\0\0\0", "ne", "new!", "old!"])

    await file.sync()
    assert.deepEqual(statesOf(fs, "/d/a"), ["new!"])
  })

  test("loses the name of a synced file until its directory is synced", async () => {
    const fs = modelOf({})
    await writeNew(fs, "/d/a", text("1"))

    assert.deepEqual(statesOf(fs, "/d/a"), ["-", "1"])

    await syncDirectory(fs, "/d")
    assert.deepEqual(statesOf(fs, "/d/a"), ["1"])
  })

  test("keeps or drops each unsynced name by itself, in any combination", async () => {
    const fs = modelOf({})
    await writeNew(fs, "/d/temp", text("1"))
    await syncDirectory(fs, "/d")
    await fs.link("/d/temp", "/d/a")
    await fs.unlink("/d/temp")

    assert.deepEqual(statesOf(fs, "/d/temp", "/d/a"), ["-,-", "-,1", "1,-", "1,1"])
  })

  test("does a rename whole or not at all", async () => {
    const fs = modelOf({ a: "old", b: "new" })
    await fs.rename("/d/b", "/d/a")

    assert.deepEqual(statesOf(fs, "/d/a", "/d/b"), ["new,-", "old,new"])
  })

  test("does a rename from one directory to another whole or not at all, and syncs it with either", async () => {
    const fs = modelOf({ a: "1" })
    await fs.mkdir("/d/sub")
    await syncDirectory(fs, "/d")
    await fs.rename("/d/a", "/d/sub/a")

    assert.deepEqual(statesOf(fs, "/d/a", "/d/sub/a"), ["-,1", "1,-"])

    await syncDirectory(fs, "/d")
    assert.deepEqual(statesOf(fs, "/d/a", "/d/sub/a"), ["-,1"])
  })

  test("loses all that is in a directory whose own name was not synced", async () => {
    const fs = modelOf({})
    await fs.mkdir("/d/sub")
    await writeNew(fs, "/d/sub/a", text("1"))
    await syncDirectory(fs, "/d/sub")

    assert.deepEqual(statesOf(fs, "/d/sub/a"), ["-", "1"])
  })

  test("shows the same bytes under both names of a file", async () => {
    const fs = modelOf({ a: "old!" })
    await fs.link("/d/a", "/d/b")
    await syncDirectory(fs, "/d")
    const file = await fs.open("/d/b", 1)
    await file.write(text("new!"), 0)

    for (const state of statesOf(fs, "/d/a", "/d/b")) {
      const [a, b] = state.split(",")
      assert.equal(a, b)
    }
  })
})
