import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file, type MemoryFile } from "../fakes/memory-transport.ts"
import { anyone, caller, live, type Rig, ref, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const one = "vm01:/etc/one.yml"
const other = "vm01:/etc/other.yml"
const followed = { type: { followSymlinks: true } }

function leadingTo(target: string): MemoryFile {
  return { ...file(""), kind: "symlink", target }
}

function textAt(rig: Rig, name: string): string | undefined {
  return rig.transport.files.get(name)?.bytes.toString()
}

suite("a config whose path is a symlink that is followed", () => {
  const files = () => ({ [live]: leadingTo("/etc/one.yml"), [one]: file(old), [other]: file("port: 90\n") })

  test("is written where the symlink leads", async () => {
    await withRig({ files: files(), ...followed }, async (rig) => {
      assert.equal((await rig.put(next)).outcome, "written")
      assert.deepEqual([textAt(rig, one), rig.transport.files.get(live)?.kind], [next, "symlink"])
    })
  })

  for (const [what, there] of [
    ["another file", "port: 90\n"],
    ["another file with the same bytes", old],
  ] as const) {
    test(`is left alone when the symlink is led to ${what} meanwhile`, async () => {
      await withRig({ files: { ...files(), [other]: file(there) }, ...followed }, async (rig) => {
        rig.transport.onStep("stage", () => void rig.transport.files.set(live, leadingTo("/etc/other.yml")))
        const { code, details } = await refusal(rig.put(next))
        assert.deepEqual([code, details.fileState], ["concurrent_modification", "unchanged"])
        assert.deepEqual([textAt(rig, one), textAt(rig, other)], [old, there])
      })
    })
  }

  test("is not created behind a symlink to nothing, and a dry run says so too", async () => {
    await withRig({ files: { [live]: leadingTo("/etc/one.yml") }, ...followed }, async (rig) => {
      for (const dryRun of [true, false]) {
        const options = { validate: true, backup: true, dryRun, precondition: anyone }
        const { code } = await refusal(rig.configs.put(ref, { bytes: Buffer.from(next) }, options, caller()))
        assert.equal(code, "not_a_regular_file", `dryRun=${dryRun}`)
      }
      assert.deepEqual([...rig.transport.files.keys()], [live])
    })
  })

  test("is not created where a symlink shows up meanwhile", async () => {
    await withRig({ files: { [other]: file("port: 90\n") }, ...followed }, async (rig) => {
      rig.transport.onStep("stage", () => void rig.transport.files.set(live, leadingTo("/etc/other.yml")))
      const { code } = await refusal(rig.put(next))
      assert.equal(code, "not_a_regular_file")
      assert.equal(textAt(rig, other), "port: 90\n")
    })
  })
})
