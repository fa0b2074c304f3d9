import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Session, SwapReport } from "../../src/domain/transport.ts"
import { file, type MemoryFile } from "../fakes/memory-transport.ts"
import { anyone, caller, edit, live, lost, makeRig, type Rig, ref, refusal, tidied, withRig } from "./rig.ts"
import { everywhere } from "./whereabouts.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const hand = "by: hand\n"
const given = () => ({ files: { [live]: file(old, 0o640) } })

async function contents(rig: Rig): Promise<readonly string[]> {
  return Promise.all((await rig.versions()).map(async (version) => (await rig.blobs.open(version)).bytes.toString()))
}

async function assertStands(rig: Rig, text: string): Promise<void> {
  assert.ok((await everywhere(rig)).includes(text), `${text.trim()} is nowhere`)
}

/** Somebody gives the new file another mode the moment that it stands there, and the answer is lost. */
function spoilSwap(rig: Rig): void {
  rig.transport.onStep("swap", () => void Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0o600 }), "after")
  rig.transport.failNext("swap", lost(), { applied: true })
}

/** Runs `hook` at the `nth` such step alone. */
function onNth(
  rig: Rig,
  step: "stage" | "open" | "rename",
  nth: number,
  hook: (path: string) => void,
  when?: "after",
): void {
  let count = 0
  rig.transport.onStep(
    step,
    ({ paths }) => {
      count += 1
      if (count === nth) hook(paths[0] ?? "")
    },
    when,
  )
}

/** The VM refuses a rename that it has done, `around` it as told. */
function refuseWhenDone(rig: Rig, around: (proper: () => Promise<SwapReport>) => Promise<unknown>): void {
  const open = rig.transport.open.bind(rig.transport)
  rig.transport.open = async (vm, options) => {
    const session: Session = await open(vm, options)
    const proper = session.swap.bind(session)
    session.swap = async (paths, reading) => {
      await around(() => proper(paths, reading))
      throw new Fault("write_failed", "There is nothing to rename.")
    }
    return session
  }
}

async function ended(rig: Rig, fault: Fault) {
  return rig.end(({ operationId }) => operationId === fault.details.operationId)
}

suite("What a rollback meets on its way", () => {
  test("is no version where it is half of the old bytes, left by a try that lost its connection", async () => {
    await withRig(given(), async (rig) => {
      rig.transport.hardLinks = false
      spoilSwap(rig)
      rig.transport.failNext("stage", lost(), { skip: 1, applied: true })
      const cut = (staging: string): void => {
        const staged = rig.transport.files.get(`vm01:${staging}`)
        if (staged) Object.assign(staged, { bytes: staged.bytes.subarray(0, 4), mode: 0o600 })
      }
      onNth(rig, "stage", 2, cut, "after")
      assert.equal((await ended(rig, await refusal(rig.put(next)))).state, "rolled_back")
      assert.deepEqual([rig.text(), await contents(rig)], [old, [old]])
    })
  })

  const symlink: MemoryFile = { ...file(""), kind: "symlink", target: "/etc/other.yml" }
  for (const [what, thing] of [
    ["a symlink", symlink],
    ["a file beyond max_bytes", file("x".repeat(70_000))],
  ] as const) {
    for (const isCreated of [true, false]) {
      test(`stays on the VM where it is ${what} that took the place of a ${isCreated ? "created " : ""}file`, async () => {
        const rig = await makeRig(isCreated ? {} : given())
        spoilSwap(rig)
        onNth(rig, "rename", 1, () => void rig.transport.files.set(live, thing))
        assert.equal((await ended(rig, await refusal(rig.put(next)))).state, "rolled_back")
        assert.ok([...rig.transport.files.values()].includes(thing))
        assert.equal(rig.text(), isCreated ? null : old)
        await rig.stop()
        await rig.remove()
      })
    }
  }

  test("is kept where it was written while the old bytes were being staged, without second names", async () => {
    await withRig(given(), async (rig) => {
      rig.transport.hardLinks = false
      spoilSwap(rig)
      onNth(rig, "stage", 2, () => void rig.transport.files.set(live, file(hand, 0o640)))
      await ended(rig, await refusal(rig.put(next)))
      assert.equal(rig.text(), hand)
    })
  })

  test("is kept where the catalog cannot be read once when the rollback is taken up again", async () => {
    await withRig(given(), async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
      rig.transport.onStep("rename", () => edit(rig, hand))
      rig.transport.failNext("rename", lost(), { applied: true })
      const read = rig.catalog.openOperations.bind(rig.catalog)
      rig.catalog.openOperations = async () => {
        rig.catalog.openOperations = read
        throw new Fault("storage_busy", "The catalog was told to refuse.")
      }
      assert.equal((await ended(rig, await refusal(rig.put(next)))).fileState, "rolled_back")
      await assertStands(rig, hand)
    })
  })

  test("is told as `unknown` where the old bytes are back and what they replaced cannot be kept yet", async () => {
    await withRig(given(), async (rig) => {
      rig.transport.onStep("swap", () => {
        for (const [name, found] of rig.transport.files) if (name.endsWith(".new")) found.mode = 0o600
      })
      rig.transport.onStep("rename", () => {
        edit(rig, hand)
        rig.blobs.failing.set("put", "storage_full")
      })
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState, rig.text()], ["rollback_failed", "unknown", old])
      rig.blobs.failing.clear()
      await ended(rig, fault)
      await assertStands(rig, hand)
    })
  })
})

suite("A rename of a rollback that comes late", () => {
  test("over an editor's file costs nothing: that becomes a version", async () => {
    await withRig({ ...given(), lateLooksMs: [20, 40] }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
      rig.transport.failNext("rename", lost())
      let from = ""
      rig.transport.onStep("rename", ({ paths }) => {
        from = paths[0] ?? ""
        // Before anybody asks again.
        onNth(rig, "open", 1, () => void rig.transport.files.set(live, file(hand, 0o640)))
      })
      const ends = rig.transport.onStep("remove", ({ paths: [removed] }) => {
        const edited = rig.transport.files.get(`vm01:${from}`)
        if (removed !== from || !edited) return
        ends()
        rig.transport.files.set(`vm01:${from.replace(/old$/, "new")}`, rig.transport.files.get(live) ?? file(""))
        rig.transport.files.set(live, edited)
        rig.transport.files.delete(`vm01:${from}`)
      })
      await ended(rig, await refusal(rig.put(next)))
      await tidied(rig)
      await assertStands(rig, hand)
    })
  })

  test("gives a file back, and not over one that is created in that moment", async () => {
    await withRig({ files: {}, lateLooksMs: [20, 40] }, async (rig) => {
      spoilSwap(rig)
      const { details } = await refusal(rig.put(next))
      rig.transport.files.set(`${live}.${details.operationId}.new`, file("by: one\n"))
      const create = (): void => void rig.transport.files.set(live, file("by: two\n"))
      for (const step of ["rename", "swap"] as const) rig.transport.onStep(step, create)
      await tidied(rig)
      assert.equal(rig.text(), "by: two\n")
      await assertStands(rig, "by: one\n")
    })
  })

  test("is looked for also where the type has left the settings meanwhile", async () => {
    const rig = await makeRig(given())
    rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
    rig.transport.onStep("rename", () => edit(rig, hand))
    rig.transport.failNext("rename", lost(), { applied: true })
    rig.transport.onStep("rename", () => void rig.transport.unreachable.add("vm01"), "after")
    await refusal(rig.put(next))
    await rig.stop()
    rig.transport.unreachable.clear()
    const again = await makeRig({ after: rig, lateLooksMs: [20, 40] })
    again.settings.inventory = new Inventory(again.settings.inventory.vms, [], new Map())
    await again.resolver.takeUp()
    await again.end(() => true)
    await tidied(again)
    await assertStands(again, hand)
    await again.stop()
    await again.remove()
  })
})

suite("A VM that refuses a rename and has done it", () => {
  const options = { vmId: null, dryRun: false, precondition: anyone }
  async function restoreMode(rig: Rig) {
    const { backupId } = await rig.backups.create(ref, caller())
    rig.transport.files.set(live, file(old, 0o600))
    return () => rig.backups.restore(backupId, options, caller())
  }

  test("that was to restore the mode alone: the change is told as done", async () => {
    await withRig(given(), async (rig) => {
      const restore = await restoreMode(rig)
      refuseWhenDone(rig, (proper) => proper())
      assert.equal((await restore()).outcome, "written")
      assert.equal(rig.transport.files.get(live)?.mode, 0o640)
    })
  })

  test("that was to restore the mode alone, over an edit of the last moment: that is given back", async () => {
    await withRig(given(), async (rig) => {
      const restore = await restoreMode(rig)
      refuseWhenDone(rig, (proper) => {
        edit(rig, hand)
        return proper()
      })
      assert.equal((await refusal(restore())).details.fileState, "rolled_back")
      assert.equal(rig.text(), hand)
    })
  })

  test("between two edits: the first is kept, the second stands", async () => {
    await withRig(given(), async (rig) => {
      refuseWhenDone(rig, async (proper) => {
        edit(rig, "by: editor one\n")
        await proper()
        rig.transport.files.set(live, file("by: editor two\n", 0o640))
      })
      await refusal(rig.put(next))
      assert.equal(rig.text(), "by: editor two\n")
      await assertStands(rig, "by: editor one\n")
    })
  })

  test("over a symlink that took the place of the file, and was replaced again: that is left on the VM", async () => {
    const rig = await makeRig(given())
    const symlink: MemoryFile = { ...file(""), kind: "symlink", target: "/etc/other.yml" }
    refuseWhenDone(rig, async (proper) => {
      rig.transport.files.set(live, symlink)
      await proper()
      rig.transport.files.set(live, file(hand, 0o640))
    })
    await refusal(rig.put(next))
    assert.equal(rig.text(), hand)
    assert.ok([...rig.transport.files.values()].includes(symlink))
    await rig.stop()
    await rig.remove()
  })
})
