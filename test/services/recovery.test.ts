import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { FailpointName } from "../../src/domain/failpoint.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, live, lost, makeRig, type Rig, type RigOptions, refusal, withRig } from "./rig.ts"

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
      await withRig({ files: { ...given }, timeoutMs: 300 }, async (rig) => {
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
    await withRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 300 }, async (rig) => {
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
