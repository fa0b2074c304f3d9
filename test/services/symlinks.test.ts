import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import { file, type MemoryFile } from "../fakes/memory-transport.ts"
import { anyone, caller, live, lost, type Rig, ref, refusal, withRig } from "./rig.ts"

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

suite("a config that is created in a directory that is a symlink", () => {
  const current = "vm01:/etc/current"
  const inOne = "vm01:/etc/one/app.yml"
  const inOther = "vm01:/etc/other/app.yml"

  /** `work` on a config at `/etc/current/app.yml`, `current` leading to `one`. */
  async function withCurrent(type: Partial<ConfigType>, work: (rig: Rig) => Promise<void>): Promise<void> {
    await withRig({ files: { [current]: leadingTo("/etc/one") }, type }, async (rig) => {
      const { vms, types } = rig.settings.inventory
      rig.settings.inventory = new Inventory(vms, types, new Map([["app", { default: "/etc/current/app.yml" }]]))
      await work(rig)
    })
  }

  const switchOver = (rig: Rig) => (): void => void rig.transport.files.set(current, leadingTo("/etc/other"))

  for (const followSymlinks of [false, true]) {
    const says = `follow_symlinks ${followSymlinks ? "on" : "off"}`

    test(`is created where the symlink leads, with ${says}`, async () => {
      await withCurrent({ followSymlinks }, async (rig) => {
        assert.equal((await rig.put(next)).outcome, "created")
        assert.deepEqual([textAt(rig, inOne), rig.transport.files.get(current)?.kind], [next, "symlink"])
      })
    })

    test(`is created nowhere when it is led elsewhere meanwhile, with ${says}`, async () => {
      await withCurrent({ followSymlinks }, async (rig) => {
        rig.transport.onStep("stage", switchOver(rig), "after")
        const { code, details } = await refusal(rig.put(next))
        assert.deepEqual([code, details.fileState], ["concurrent_modification", "unchanged"])
        assert.deepEqual([...rig.transport.files.keys()], [current])
        assert.deepEqual(await rig.versions(), [])
      })
    })
  }

  test("stands where it was to be created when it is led elsewhere just before the rename", async () => {
    await withCurrent({}, async (rig) => {
      rig.transport.onStep("swap", switchOver(rig))
      assert.equal((await rig.put(next)).outcome, "created")
      assert.deepEqual([textAt(rig, inOne), textAt(rig, inOther)], [next, undefined])
    })
  })

  test("is known to be created when the answer is lost and it is led elsewhere then", async () => {
    await withCurrent({}, async (rig) => {
      rig.transport.onStep("swap", switchOver(rig), "after")
      rig.transport.failNext("swap", lost(), { applied: true })
      assert.equal((await rig.put(next)).outcome, "created")
      assert.deepEqual([textAt(rig, inOne), textAt(rig, inOther)], [next, undefined])
      assert.deepEqual(
        (await rig.versions()).map(({ trigger }) => trigger),
        ["written"],
      )
    })
  })

  test("leaves nothing behind when the VM refuses the rename and it was led elsewhere", async () => {
    await withCurrent({}, async (rig) => {
      rig.transport.onStep("swap", switchOver(rig))
      rig.transport.failNext("swap", new Fault("write_failed", "no"))
      assert.equal((await refusal(rig.put(next))).code, "write_failed")
      assert.deepEqual([...rig.transport.files.keys()], [current])
    })
  })
})

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
        const { code, message } = await refusal(rig.configs.put(ref, { bytes: Buffer.from(next) }, options, caller()))
        assert.equal(code, "not_a_regular_file", `dryRun=${dryRun}`)
        assert.match(message, /is a symlink that leads to nothing\.$/)
      }
      assert.deepEqual([...rig.transport.files.keys()], [live])
    })
  })

  test("is refused before anything is prepared where the name that it leads to is too long, and by a dry run", async () => {
    const long = `/etc/${"x".repeat(230)}.yml`
    await withRig({ files: { [live]: leadingTo(long), [`vm01:${long}`]: file(old) }, ...followed }, async (rig) => {
      for (const dryRun of [true, false]) {
        const options = { validate: true, backup: true, dryRun, precondition: anyone }
        const { code } = await refusal(rig.configs.put(ref, { bytes: Buffer.from(next) }, options, caller()))
        assert.equal(code, "write_failed", `dryRun=${dryRun}`)
      }
      assert.deepEqual([textAt(rig, `vm01:${long}`), await rig.versions()], [old, []])
    })
  })

  test("is written where its own name is too long, and the one that it leads to is not", async () => {
    const long = `/etc/${"x".repeat(230)}.yml`
    await withRig(
      { files: { [`vm01:${long}`]: leadingTo("/etc/one.yml"), [one]: file(old) }, ...followed },
      async (rig) => {
        const { vms, types } = rig.settings.inventory
        rig.settings.inventory = new Inventory(vms, types, new Map([["app", { default: long }]]))
        assert.equal((await rig.put(next)).outcome, "written")
        assert.equal(textAt(rig, one), next)
      },
    )
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
