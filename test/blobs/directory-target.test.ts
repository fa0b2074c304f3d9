import assert from "node:assert/strict"
import { mkdir, readdir, rm, symlink, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import { suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { copyTargetContract } from "../contracts/copy-target.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

async function filesBelow(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => !entry.isDirectory())
  return files.map((entry) => relative(path, join(entry.parentPath, entry.name))).sort()
}

copyTargetContract("DirectoryTarget", async () => {
  const path = makeTemporary("copies")
  return {
    target: new DirectoryTarget(path),
    plant: async (name, bytes) => {
      await mkdir(dirname(join(path, name)), { recursive: true })
      await writeFile(join(path, name), bytes)
    },
    files: () => filesBelow(path),
    close: async () => removeTemporary(path),
  }
})

suite("DirectoryTarget", () => {
  test("does not make the directory itself: a mount that is gone must not be taken for an empty one", async () => {
    const path = makeTemporary("copies")
    await rm(path, { recursive: true })

    await assert.rejects(new DirectoryTarget(path).put("vm01/central/a.cmb", Buffer.from("x")), {
      code: "backup_storage_unavailable",
    })

    await assert.rejects(readdir(path), { code: "ENOENT" })
  })

  test("follows no symlink to read a copy", async () => {
    const path = makeTemporary("copies")
    await writeFile(join(path, "elsewhere"), "not a copy")
    await symlink(join(path, "elsewhere"), join(path, "keyring.json"))

    assert.equal(await new DirectoryTarget(path).get("keyring.json"), null)
    await removeTemporary(path)
  })
})
