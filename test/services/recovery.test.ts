import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { FailpointName } from "../../src/domain/failpoint.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, edit, live, lost, makeRig, type Rig, type RigOptions, refusal, tidied, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const scenes = [
  ["a file", { [live]: file(old, 0o640) }],
  ["a file that did not exist", {}],
] as const

/** The process of a change ends at `at`. */
async function killAt(at: FailpointName, options: RigOptions, backup = true): Promise<Rig> {
  const reached = Promise.withResolvers<void>()
  const failpoint = async (step: FailpointName): Promise<void> => {
    if (step !== at) return
    reached.resolve()
    await new Promise(() => {})
  }
  const rig = await makeRig({ ...options, instead: () => ({ failpoint }) })
  rig.put(next, { backup }).catch(() => {})
  await reached.promise
  rig.transport.breakConnection("vm01")
  await rig.stop()
  return rig
}

/** Starts the service again, and audits it once what was open has ended. */
async function restart(rig: Rig, work: (again: Rig) => Promise<void>): Promise<void> {
  const again = await makeRig({ after: rig })
  try {
    assert.equal(await again.resolver.takeUp(), 1)
    await work(again)
    await audit(again)
  } finally {
    await again.stop()
    await again.remove()
  }
}

function standing(rig: Rig): readonly unknown[] {
  return [rig.text(), rig.transport.files.get(live)?.mode]
}

suite("The same bytes, put there by hand with another mode while nobody knows how a change ended", () => {
  for (const [what, given] of scenes) {
    for (const at of ["prepared", "staged", "kept", "looked"] as const) {
      test(`stay: ${what}, the process of the change killed at "${at}"`, async () => {
        const rig = await killAt(at, { files: { ...given } })
        rig.transport.files.set(live, file(next, 0o600))
        await restart(rig, async (again) => {
          const { state, fileState } = await again.end(() => true)
          assert.deepEqual([state, fileState, ...standing(again)], ["failed", "unknown", next, 0o600])
        })
      })
    }

    test(`stay: ${what}, the request for the rename lost and the VM away for a while`, async () => {
      await withRig({ files: { ...given }, timeoutMs: 1000 }, async (rig) => {
        rig.transport.failNext("swap", lost())
        rig.transport.onStep("swap", () => void rig.transport.unreachable.add("vm01"))
        const { code, details } = await refusal(rig.put(next))
        assert.equal(code, "outcome_unknown")
        rig.transport.files.set(live, file(next, 0o600))
        // The staging file is removed by a try that does not come to its end.
        rig.transport.failNext("read", lost())
        rig.transport.unreachable.clear()
        const { state, fileState } = await rig.end(({ operationId }) => operationId === details.operationId)
        assert.deepEqual([state, fileState, ...standing(rig)], ["failed", "unknown", next, 0o600])
      })
    })
  }

  test("stay where the second name of the file was made, and its rename was not", async () => {
    await withRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 1000 }, async (rig) => {
      rig.transport.failNext("swap", lost())
      rig.transport.onStep("swap", () => {
        const staging = [...rig.transport.files.keys()].find((name) => name.endsWith(".new")) ?? ""
        rig.transport.files.set(staging.replace(/new$/, "old"), rig.transport.files.get(live) ?? file(""))
        rig.transport.files.set(live, file(next, 0o600))
      })
      const { details } = await refusal(rig.put(next))
      assert.deepEqual([details.fileState, ...standing(rig)], ["unknown", next, 0o600])
    })
  })
})

suite("The same bytes, put there by hand with the very mode of a change that was killed before it kept a version", () => {
  for (const backup of [true, false]) {
    test(`stay, and the config is free: backup=${backup}`, async () => {
      const rig = await killAt("prepared", { files: { [live]: file(old, 0o640) } }, backup)
      rig.transport.files.set(live, file(next, 0o640))
      await restart(rig, async (again) => {
        await again.end(() => true)
        assert.deepEqual(standing(again), [next, 0o640])
        assert.equal((await again.put("port: 82\n")).outcome, "written")
      })
    })
  }
})

suite("The same bytes, put there by hand with the very mode of a change whose rename was never sent", () => {
  const cases = scenes.flatMap(([what, given]) =>
    (["prepared", "staged", "kept"] as const).flatMap((at) =>
      [true, false].map((backup) => [what, given, at, backup] as const),
    ),
  )
  for (const [what, given, at, backup] of cases) {
    test(`are not told as the change's own: ${what}, killed at "${at}", backup=${backup}`, async () => {
      const rig = await killAt(at, { files: { ...given } }, backup)
      // Nothing of it has come to the VM.
      for (const name of rig.transport.files.keys()) if (name.endsWith(".new")) rig.transport.files.delete(name)
      rig.transport.files.set(live, file(next, 0o640))
      await restart(rig, async (again) => {
        const { state, fileState, problem } = await again.end(() => true)
        assert.deepEqual([state, fileState, problem?.code], ["failed", "unknown", "concurrent_modification"])
        assert.deepEqual(standing(again), [next, 0o640])
      })
    })
  }
})

suite("The same bytes, put there by hand with the very mode of a change whose staging file still stands", () => {
  for (const [what, given] of scenes) {
    for (const at of ["kept", "looked"] as const) {
      test(`are not told as the change's own: ${what}, the process of the change killed at "${at}"`, async () => {
        const rig = await killAt(at, { files: { ...given } })
        rig.transport.files.set(live, file(next, 0o640))
        const again = await makeRig({ after: rig })
        const [open] = await again.catalog.openOperations()
        // At "kept" it may be on its way.
        again.transport.files.set(`vm01:${open?.journal.stagingPath}`, file(next, 0o640))
        await again.resolver.takeUp()
        const { state, fileState, problem } = await again.end(() => true)
        assert.deepEqual([state, fileState, problem?.code], ["failed", "unknown", "concurrent_modification"])
        assert.deepEqual(standing(again), [next, 0o640])
        await audit(again)
        await again.stop()
        await again.remove()
      })
    }
  }
})

suite("A staging file that was not whole when the process of its change was killed", () => {
  test("is no version, and closes no config where it cannot be read", async () => {
    for (const isReadable of [true, false]) {
      const rig = await killAt("kept", { files: { [live]: file(old, 0o640) } })
      const again = await makeRig({ after: rig })
      const [open] = await again.catalog.openOperations()
      const staging = open?.journal.stagingPath ?? ""
      again.transport.files.set(`vm01:${staging}`, file(next.slice(0, 4), 0o600))
      again.transport.onStep("read", ({ paths }) => {
        if (paths[0] === staging && !isReadable) throw new Fault("vm_permission_denied", "The VM denied it.")
      })
      await again.resolver.takeUp()
      const { state, fileState } = await again.end(() => true)
      assert.deepEqual([state, fileState, ...standing(again)], ["failed", "unchanged", old, 0o640])
      await audit(again)
      assert.equal((await again.versions()).length, 1)
      await again.stop()
      await again.remove()
    }
  })
})

suite("What a caller is told of a change that was not sent, or refused", () => {
  const denied = new Fault("vm_permission_denied", "The VM denied it.")
  const reasons: readonly [string, string, (rig: Rig) => void][] = [
    [
      "the file was edited meanwhile",
      "concurrent_modification",
      (rig) => void rig.transport.onStep("stage", () => edit(rig, "by: hand\n"), "after"),
    ],
    ["the VM refused the rename", "vm_permission_denied", (rig) => rig.transport.failNext("swap", denied)],
  ]
  for (const [what, code, arrange] of reasons) {
    test(`is what its row says, also where a later process finds the same bytes put there by hand: ${what}`, async () => {
      const rig = await makeRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 500 })
      arrange(rig)
      rig.transport.failNext("remove", lost(), { applied: true })
      rig.transport.onStep("remove", () => void rig.transport.unreachable.add("vm01"))
      const told = await refusal(rig.put(next))
      assert.deepEqual([told.code, told.details.fileState], [code, "unchanged"])
      const row = await rig.catalog.getOperation(told.details.operationId ?? "")
      assert.deepEqual([row?.state, row?.fileState, row?.problem?.code], ["failed", "unchanged", code])
      await rig.stop()
      rig.transport.unreachable.clear()
      rig.transport.files.set(live, file(next, 0o640))
      await restart(rig, async (again) => {
        const { state, fileState, problem } = await again.end(() => true)
        assert.deepEqual([state, fileState, problem?.code], ["failed", "unchanged", code])
        assert.deepEqual(standing(again), [next, 0o640])
      })
    })
  }
})

suite("An operation whose end is kept", () => {
  test("is told to its caller, whatever goes wrong in telling it to others", async () => {
    const observe = (): void => {
      throw new Error("nobody listens")
    }
    const rig = await makeRig({ files: { [live]: file(old) }, instead: () => ({ observe }) })
    assert.equal((await rig.put(next)).outcome, "written")
    assert.equal(
      (await refusal(rig.put("port: 82\n", { precondition: { ifMatch: null, createOnly: true } }))).code,
      "precondition_failed",
    )
    assert.equal(rig.problems.length, 2)
    await audit(rig)
    await rig.stop()
    await rig.remove()
  })
})

suite("A VM on which the second name cannot be removed once the new bytes stand there", () => {
  test("closes no config: the change is done, and the name goes when it can", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 1000, lateLooksMs: [10, 20] }, async (rig) => {
      const isWritable = rig.transport.onStep("remove", ({ paths }) => {
        if (paths.some((each) => each.endsWith(".old"))) throw new Fault("write_failed", "It is read-only.")
      })
      assert.equal((await rig.put(next)).outcome, "written")
      assert.equal((await rig.catalog.openOperations())[0]?.journal.phase, "tidying")
      isWritable()
      await tidied(rig)
      assert.deepEqual([...rig.transport.files.keys()], [live])
      assert.equal((await rig.put("port: 82\n")).outcome, "written")
    })
  })
})

suite("A type that leaves the settings while the outcome of a change is open", () => {
  test("keeps nothing from being found out: no staging file is left that a late rename could put in place", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 1000 }, async (rig) => {
      rig.transport.failNext("swap", lost())
      rig.transport.onStep("swap", () => {
        rig.settings.inventory = new Inventory(rig.settings.inventory.vms, [], new Map())
      })
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState], ["connection_lost", "unchanged"])
    })
  })
})
