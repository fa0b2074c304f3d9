import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { Seen, Session, SwapPaths, SwapReport } from "../../src/domain/transport.ts"
import { file } from "../fakes/memory-transport.ts"
import { edit, live, lost, path, type Rig, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"

/** A VM that swaps in its own way. */
function swapBy(rig: Rig, swap: (paths: SwapPaths, proper: () => Promise<SwapReport>) => Promise<SwapReport>): void {
  const open = rig.transport.open.bind(rig.transport)
  rig.transport.open = async (vm, options) => {
    const session: Session = await open(vm, options)
    const proper = session.swap.bind(session)
    session.swap = (paths, reading) => swap(paths, () => proper(paths, reading))
    return session
  }
}

function seen(rig: Rig): Seen {
  const found = rig.transport.files.get(live)
  return found ? { ...found, realPath: path } : null
}

suite("A VM that says it has renamed and has not", () => {
  test("keeps its file, and no staging file is left on it", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      swapBy(rig, async () => ({ live: seen(rig), old: null }))
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState, rig.text()], ["write_failed", "unchanged", old])
    })
  })

  test("keeps the edit of the last moment, and no staging file is left on it", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      swapBy(rig, async ({ oldPath }) => {
        edit(rig, "by: hand\n")
        rig.transport.files.set(`vm01:${oldPath}`, rig.transport.files.get(live) ?? file(""))
        return { live: seen(rig), old: seen(rig) }
      })
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState, rig.text()], ["concurrent_modification", "unknown", "by: hand\n"])
    })
  })

  test("and does it a moment later is not told to have its old file", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      swapBy(rig, async (_paths, proper) => {
        const before = seen(rig)
        await proper()
        return { live: before, old: null }
      })
      assert.equal((await rig.put(next)).outcome, "written")
      assert.equal(rig.text(), next)
    })
  })
})

suite("A VM that says it has not renamed and has", () => {
  const refuses = (rig: Rig): void => {
    swapBy(rig, async ({ oldPath }, proper) => {
      await proper()
      rig.transport.files.delete(`vm01:${oldPath}`)
      throw new Fault("write_failed", "There is nothing to rename.")
    })
  }
  test("has done it over an edit of the last moment: that is given back", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      swapBy(rig, async (_paths, proper) => {
        edit(rig, "by: hand\n")
        await proper()
        throw new Fault("write_failed", "There is nothing to rename.")
      })
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState, rig.text()], ["concurrent_modification", "rolled_back", "by: hand\n"])
    })
  })

  const contents = async (rig: Rig): Promise<readonly string[]> =>
    Promise.all((await rig.versions()).map(async (version) => (await rig.blobs.open(version)).bytes.toString()))

  test("has done the change: the new bytes and the old ones are versions", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      refuses(rig)
      const report = await rig.put(next)
      assert.deepEqual([report.outcome, rig.text(), await contents(rig)], ["written", next, [next, old]])
    })
  })

  test("has done it with backup=false as well: nobody is told that the old bytes stand there", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      refuses(rig)
      assert.equal((await rig.put(next, { backup: false })).outcome, "written")
      assert.equal(rig.text(), next)
    })
  })

  test("and puts another mode on it: the old bytes are put back", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      refuses(rig)
      const ends = rig.transport.onStep(
        "swap",
        () => void Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0 }),
        "after",
      )
      const { details } = await refusal(rig.put(next))
      ends()
      assert.deepEqual([details.fileState, rig.text(), await contents(rig)], ["rolled_back", old, [old]])
    })
  })

  test("and is lost before that can be seen: it is asked again", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      refuses(rig)
      rig.transport.onStep("swap", () => rig.transport.failNext("read", lost()), "after")
      assert.equal((await rig.put(next)).outcome, "written")
      assert.deepEqual(await contents(rig), [next, old])
    })
  })
})

test("What a VM shows for a moment, neither the old file nor the new one, is looked at again", async () => {
  await withRig({ files: { [live]: file(old) } }, async (rig) => {
    swapBy(rig, async (_paths, proper) => ({ ...(await proper()), live: "odd" }))
    assert.equal((await rig.put(next)).outcome, "written")
  })
})

suite("A second name that the VM does not give", () => {
  test("is not removed: what was not seen there is nobody's to remove", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.hardLinks = false
      assert.equal((await rig.put(next)).outcome, "written")
      assert.deepEqual(
        rig.transport.steps.filter((step) => step.startsWith("remove")),
        [],
      )
    })
  })

  test("but has made of an edit of the last moment: that is given back", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      // The first answer was lost; asked again the VM says that the name stands there.
      const ends = rig.transport.onStep("swap", () => {
        ends()
        edit(rig, "by: hand\n")
        const staged = [...rig.transport.files.keys()].find((name) => name.endsWith(".new")) ?? ""
        rig.transport.files.set(staged.replace(/new$/, "old"), file("by: hand\n"))
      })
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState, rig.text()], ["concurrent_modification", "rolled_back", "by: hand\n"])
    })
  })
})

suite("A second name that holds the new bytes", () => {
  test("since the VM made it after the rename: the change stands, and the old bytes are a version", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      swapBy(rig, async ({ oldPath }, proper) => {
        await proper()
        rig.transport.files.set(`vm01:${oldPath}`, rig.transport.files.get(live) ?? file(""))
        return { live: seen(rig), old: seen(rig) }
      })
      const report = await rig.put(next)
      assert.deepEqual([report.outcome, rig.text()], ["written", next])
      assert.deepEqual(
        (await rig.versions()).map(({ digest }) => digest),
        [next, old].map((text) => digestOf(Buffer.from(text))),
      )
    })
  })

  test("since somebody else wrote the same just before: backup=false still leaves no version", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, next))
      assert.equal((await rig.put(next, { backup: false })).outcome, "written")
      assert.deepEqual(await rig.versions(), [])
    })
  })

  test("but another mode: that edit is given back", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      rig.transport.onStep("swap", () => {
        edit(rig, next)
        Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0o600 })
      })
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState], ["concurrent_modification", "rolled_back"])
      assert.equal(rig.transport.files.get(live)?.mode, 0o600)
    })
  })
})
