import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { type FailpointName, failpointNames } from "../../src/domain/failpoint.ts"
import { edit } from "../services/rig.ts"
import { makeDiskRig } from "./disk-rig.ts"

const src = join(import.meta.dirname, "..", "..", "src")

suite("failpoints", () => {
  test("each is passed somewhere in src", () => {
    const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"))
    const text = files.map((name) => readFileSync(join(src, name), "utf8")).join("\n")
    const passed = [...text.matchAll(/failpoint\("([^"]+)"\)/g)].map((match) => match[1])
    assert.deepEqual([...new Set(passed)].sort(), [...failpointNames].sort())
  })

  test("a push passes them in the order of their list, and only a rollback the others", async () => {
    const passed: FailpointName[] = []
    const disk = await makeDiskRig({ failpoint: (name) => void passed.push(name) })
    await disk.rig.put("port: 1\n")
    // The staging file is written while the blobs are.
    const order = passed.filter((name, index) => name !== "staged" && passed.indexOf(name) === index)
    assert.deepEqual(
      order,
      failpointNames.filter((name) => !["staged", "rolling_back", "put_back", "blobs.removing"].includes(name)),
    )
    assert.ok(passed.indexOf("staged") > passed.indexOf("prepared"))
    assert.ok(passed.indexOf("staged") < passed.indexOf("looked"))
    await disk.close()
  })

  test("a rollback passes the journal's mark and the putting back before the end", async () => {
    const passed: FailpointName[] = []
    const disk = await makeDiskRig({ failpoint: (name) => void passed.push(name) })
    disk.rig.transport.onStep("swap", () => edit(disk.rig, "by: hand\n"))
    await assert.rejects(disk.rig.put("port: 1\n"), { code: "concurrent_modification" })
    const last = passed.slice(passed.indexOf("swapped"))
    assert.deepEqual(last, ["swapped", "rolling_back", "put_back", "done", "blobs.removing"])
    await disk.close()
  })
})
