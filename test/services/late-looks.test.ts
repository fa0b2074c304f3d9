import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Transport } from "../../src/domain/transport.ts"
import { Slots } from "../../src/ssh/slots.ts"
import { file } from "../fakes/memory-transport.ts"
import { audit, edit, live, lost, makeRig, path, type Rig, refusal, tidied, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const looksSoon = { files: { [live]: file(old) }, lateLooksMs: [20, 40] }

/** A push whose connection is lost at `step`, before anything of it is done; resolves when its operation has ended. */
async function losePush(
  rig: Rig,
  step: "stage" | "swap",
): Promise<{ readonly staging: string; readonly second: string }> {
  rig.transport.failNext(step, lost())
  const { details } = await refusal(rig.put(next))
  const { operationId = "" } = details
  assert.equal((await rig.end((each) => each.operationId === operationId)).state, "failed")
  return { staging: `${live}.${operationId}.new`, second: `${live}.${operationId}.old` }
}

suite("a message that arrives after its operation has ended", () => {
  test("leaves no staging file", async () => {
    await withRig(looksSoon, async (rig) => {
      const { staging } = await losePush(rig, "stage")
      rig.transport.files.set(staging, file("", 0o600))
      await tidied(rig)
      assert.equal(rig.transport.files.has(staging), false)
      assert.equal(rig.text(), old)
    })
  })

  test("leaves no second name, and the file that it names stands", async () => {
    await withRig(looksSoon, async (rig) => {
      const { second } = await losePush(rig, "swap")
      const standing = rig.transport.files.get(live)
      assert.ok(standing)
      rig.transport.files.set(second, standing)
      await tidied(rig)
      assert.deepEqual([...rig.transport.files.keys()], [live])
      assert.equal(rig.text(), old)
    })
  })

  test("has what stands under the second name become a version, where it stands nowhere else", async () => {
    await withRig(looksSoon, async (rig) => {
      const { second } = await losePush(rig, "swap")
      rig.transport.files.set(second, file("by: hand\n"))
      await tidied(rig)
      assert.equal(rig.transport.files.has(second), false)
      assert.equal((await rig.versions())[0]?.digest, digestOf(Buffer.from("by: hand\n")))
    })
  })

  test("leaves something odd under the second name where it is", async () => {
    const rig = await makeRig(looksSoon)
    const { second } = await losePush(rig, "swap")
    rig.transport.files.set(second, { ...file(""), kind: "symlink", target: "/etc/other.yml" })
    await tidied(rig)
    assert.equal(rig.transport.files.has(second), true)
    await rig.stop()
    await rig.remove()
  })

  // It has become read-only, say, or one that needs space to remove anything has none left.
  for (const refused of ["vm_permission_denied", "write_failed", "vm_disk_full"] as const) {
    test(`is what is left on a VM that refuses to remove it: the config is free, and the looks go on: ${refused}`, async () => {
      await withRig({ ...looksSoon, timeoutMs: 300 }, async (rig) => {
        const denied = new Fault(refused, "The VM denied it.")
        rig.transport.failNext("swap", denied)
        const mayRemove = rig.transport.onStep("remove", () => {
          throw denied
        })
        const { code, details } = await refusal(rig.put(next))
        assert.deepEqual([code, details.fileState], [refused, "unchanged"])
        await rig.end((each) => each.operationId === details.operationId)
        const [left] = await rig.catalog.openOperations()
        assert.deepEqual([left?.operation.state, left?.journal.phase], ["failed", "tidying"])
        mayRemove()
        await tidied(rig)
        assert.deepEqual([...rig.transport.files.keys()], [live])
      })
    })
  }

  test("keeps no session from a push that has the config's lock: with one session each would wait for the other", async () => {
    const slots = new Slots(1, 500)
    await withRig(
      { ...looksSoon, instead: ({ transport }) => ({ transport: slotted(transport, slots) }) },
      async (rig) => {
        const { second } = await losePush(rig, "swap")
        rig.transport.files.set(second, file("by: hand\n"))
        const pushes: Promise<unknown>[] = []
        rig.transport.onStep("exists", async ({ paths }) => {
          if (pushes.length > 0 || `vm01:${paths[0]}` !== second) return
          pushes.push(rig.put("port: 82\n"))
          while (slots.waiting === 0) await new Promise(setImmediate)
        })
        await tidied(rig)
        await Promise.all(pushes)
        assert.equal(rig.text(), "port: 82\n")
        assert.equal(rig.transport.files.has(second), false)
      },
    )
  })

  test("keeps nobody from changing the config meanwhile", async () => {
    await withRig(looksSoon, async (rig) => {
      await losePush(rig, "stage")
      assert.equal((await rig.put("port: 82\n")).outcome, "written")
      assert.equal((await rig.catalog.openOperations())[0]?.journal.phase, "tidying")
      await tidied(rig)
      assert.equal(rig.text(), "port: 82\n")
    })
  })

  test("is looked for once by a service that is started again, when all looks are past", async () => {
    const rig = await makeRig({ ...looksSoon, lateLooksMs: [60_000] })
    const { staging } = await losePush(rig, "stage")
    await rig.stop()
    rig.transport.files.set(staging, file("", 0o600))
    rig.transport.steps.length = 0

    const again = await makeRig({ after: rig, lateLooksMs: [0] })
    assert.equal(await again.resolver.takeUp(), 0)
    await tidied(again)
    assert.equal(again.transport.files.has(staging), false)
    assert.deepEqual(
      again.transport.steps.map((step) => step.split(" ")[0]),
      ["open", "remove", "exists"],
    )
    assert.equal((await again.put(next)).outcome, "written")
    await audit(again)
    await again.stop()
    await again.remove()
  })

  test("is not given up on a VM that could not be reached at the last look", async () => {
    const rig = await makeRig({ ...looksSoon, lateLooksMs: [10] })
    await losePush(rig, "stage")
    const looked = new Promise<void>((resolve) => {
      rig.transport.onStep("open", () => {
        resolve()
        throw new Fault("vm_unreachable", "Nobody answers.")
      })
    })
    await looked
    await rig.stop()
    const again = await makeRig({ after: rig })
    assert.equal((await again.catalog.openOperations())[0]?.journal.phase, "tidying")
    await again.stop()
    await again.remove()
  })

  test("is not looked for on a VM that has left the settings, until it is back", async () => {
    await withRig(looksSoon, async (rig) => {
      const { inventory } = rig.settings
      const { staging } = await losePush(rig, "stage")
      rig.transport.steps.length = 0
      leave(rig)
      await sleep(100)
      assert.deepEqual(rig.transport.steps, [])
      assert.equal((await rig.catalog.openOperations())[0]?.journal.phase, "tidying")
      rig.transport.files.set(staging, file("", 0o600))
      rig.settings.inventory = inventory
      await tidied(rig)
      assert.equal(rig.transport.files.has(staging), false)
    })
  })

  test("cannot be where the VM itself refused, or the new bytes stand there", async () => {
    await withRig(looksSoon, async (rig) => {
      rig.transport.failNext("stage", new Fault("vm_disk_full", "no space"), { killsSession: false })
      assert.equal((await refusal(rig.put(next))).code, "vm_disk_full")
      rig.transport.failNext("swap", lost(), { applied: true })
      assert.equal((await rig.put(next)).outcome, "written")
      assert.deepEqual(await rig.catalog.openOperations(), [])
    })
  })
})

suite("an edit of the last moment on a VM that is not in the settings at the next start", () => {
  /** What stands under the second name alone: the answer to the rename was lost, and the service ended. */
  async function loseEdit(): Promise<Rig> {
    const rig = await makeRig({ ...looksSoon, timeoutMs: 300 })
    rig.transport.onStep("swap", () => {
      edit(rig, "by: hand\n")
      rig.transport.unreachable.add("vm01")
    })
    rig.transport.failNext("swap", lost(), { applied: true })
    assert.equal((await refusal(rig.put(next))).code, "outcome_unknown")
    await rig.stop()
    rig.transport.unreachable.clear()
    return rig
  }

  for (const [what, comesBack] of [
    ["a reload", async (rig: Rig) => rig],
    [
      "a start",
      async (rig: Rig) => {
        await rig.stop()
        const again = await makeRig({ ...looksSoon, after: rig })
        await again.reconcile()
        await again.resolver.takeUp()
        return again
      },
    ],
  ] as const) {
    test(`becomes a version once it is back, after ${what}`, async () => {
      const without = await makeRig({ ...looksSoon, after: await loseEdit() })
      const { inventory } = without.settings
      leave(without)
      without.transport.steps.length = 0
      await without.reconcile()
      await without.resolver.takeUp()
      await without.end(() => true)
      await sleep(150)
      assert.deepEqual(without.transport.steps, [])
      without.settings.inventory = inventory
      const rig = await comesBack(without)
      await tidied(rig)
      assert.deepEqual([[...rig.transport.files.keys()], rig.text()], [[live], next])
      const digests = (await rig.versions()).map(({ digest }) => digest)
      assert.ok(digests.includes(digestOf(Buffer.from("by: hand\n"))))
      await audit(rig)
      await rig.stop()
      await rig.remove()
    })
  }
})

suite("a rename that is held while its VM leaves the settings and comes back", () => {
  const nothingYet = { files: { [live]: file(old) }, lateLooksMs: [60_000] }

  /** @returns where the staging file stands that the rename would put in place */
  async function leaveAndReturn(rig: Rig): Promise<string> {
    const { inventory } = rig.settings
    rig.transport.failNext("swap", lost())
    const leaves = rig.transport.onStep("swap", () => {
      leave(rig)
    })
    const { code, details } = await refusal(rig.put(next))
    leaves()
    rig.settings.inventory = inventory
    const staging = `${live}.${details.operationId}.new`
    assert.deepEqual([code, rig.transport.files.has(staging)], ["outcome_unknown", true])
    return staging
  }

  for (const [text, outcome] of [
    ["port: 82\n", "written"],
    [old, "unchanged"],
  ] as const) {
    test(`finds nothing that it could put in place of what is acknowledged since: ${outcome}`, async () => {
      const rig = await makeRig(nothingYet)
      const staging = await leaveAndReturn(rig)
      assert.equal((await rig.put(text)).outcome, outcome)
      assert.equal(rig.transport.files.has(staging), false)
      await rig.stop()
      await rig.remove()
    })
  }

  test("finds nothing after a restart either", async () => {
    const rig = await makeRig(nothingYet)
    const staging = await leaveAndReturn(rig)
    await rig.stop()
    const again = await makeRig({ ...nothingYet, after: rig })
    await again.resolver.takeUp()
    assert.equal((await again.put("port: 82\n")).outcome, "written")
    assert.equal(again.transport.files.has(staging), false)
    await again.stop()
    await again.remove()
  })
})

suite("the rename that takes a created file away again, arriving once more after its operation has ended", () => {
  /** A created file that loses its mode is taken away again, and the answer to that is lost. */
  async function loseTakingAway(rig: Rig): Promise<string> {
    const ends = rig.transport.onStep("swap", () => spoilStaged(rig))
    rig.transport.failNext("rename", lost())
    const { details } = await refusal(rig.put(next))
    ends()
    const { state, operationId } = await rig.end((each) => each.operationId === details.operationId)
    assert.deepEqual([state, rig.text()], ["rolled_back", null])
    return `${live}.${operationId}.new`
  }
  const late = { files: {}, lateLooksMs: [20, 40] }
  const contents = async (rig: Rig): Promise<readonly string[]> =>
    Promise.all((await rig.versions()).map(async (version) => (await rig.blobs.open(version)).bytes.toString()))

  test("takes nobody's file: it is given back", async () => {
    await withRig(late, async (rig) => {
      const staging = await loseTakingAway(rig)
      rig.transport.files.set(staging, file("by: hand\n"))
      await tidied(rig)
      assert.deepEqual([rig.text(), rig.transport.files.has(staging)], ["by: hand\n", false])
    })
  })

  test("takes no later change's bytes either, which may be the same", async () => {
    await withRig(late, async (rig) => {
      const staging = await loseTakingAway(rig)
      assert.equal((await rig.put(next)).outcome, "created")
      const standing = rig.transport.files.get(live)
      assert.ok(standing)
      rig.transport.files.delete(live)
      rig.transport.files.set(staging, standing)
      await tidied(rig)
      assert.deepEqual([rig.text(), await contents(rig)], [next, [next]])
    })
  })

  test("has what it took become a version where another file stands there by now", async () => {
    await withRig(late, async (rig) => {
      const staging = await loseTakingAway(rig)
      rig.transport.files.set(staging, file("by: hand\n"))
      rig.transport.files.set(live, file("by: others\n"))
      await tidied(rig)
      assert.deepEqual([rig.text(), rig.transport.files.has(staging)], ["by: others\n", false])
      assert.deepEqual(await contents(rig), ["by: hand\n"])
    })
  })
})

suite("a rollback whose rename is still under way", () => {
  test("does not write the file anew that the rename would put in place", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      rig.transport.hardLinks = false
      const ends = rig.transport.onStep("swap", () => spoilStaged(rig))
      rig.transport.failNext("rename", lost())
      const { details } = await refusal(rig.put(next))
      ends()
      const operation = await rig.end(({ operationId }) => operationId === details.operationId)
      assert.deepEqual([operation.state, rig.text()], ["rolled_back", old])
      const staged = rig.transport.steps.filter((step) => step.startsWith("stage"))
      assert.equal(staged.length, 2, "once for the new bytes, once for the old ones")
    })
  })

  test("is taken back when somebody has changed the file meanwhile", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      rig.transport.hardLinks = false
      const ends = rig.transport.onStep("swap", () => spoilStaged(rig))
      rig.transport.onStep("rename", () => edit(rig, "by: hand\n"))
      rig.transport.failNext("rename", lost())
      const { details } = await refusal(rig.put(next))
      ends()
      const { problem } = await rig.end(({ operationId }) => operationId === details.operationId)
      assert.deepEqual([problem?.code, rig.text()], ["concurrent_modification", "by: hand\n"])
    })
  })
})

suite("a blob whose row is gone", () => {
  test("is removed by the next start, where the process ended before", async () => {
    const rig = await makeRig({ files: { [live]: file(old) } })
    rig.transport.onStep("read", () => void rig.blobs.failing.set("remove", "backup_storage_unavailable"))
    rig.transport.failNext("swap", new Fault("write_failed", "no"), { killsSession: false })
    assert.equal((await refusal(rig.put(next))).code, "write_failed")
    assert.equal(rig.blobs.blobs.size, 2)
    await rig.stop()
    rig.blobs.failing.clear()

    const again = await makeRig({ after: rig })
    assert.equal(await again.resolver.takeUp(), 0)
    await audit(again)
    assert.equal((await again.versions()).length, 1)
    await again.stop()
    await again.remove()
  })
})

/** No VM is in the settings any more. */
function leave(rig: Rig): void {
  rig.settings.inventory = new Inventory([], rig.settings.inventory.types, new Map([["app", { default: path }]]))
}

/** As a real transport has it with few sessions at once. */
function slotted(transport: Transport, slots: Slots): Transport {
  return {
    open: async (vm, options) => {
      const leave = await slots.enter(vm.vmId, options.signal ?? new AbortController().signal)
      try {
        const session = await transport.open(vm, options)
        const close = session.close.bind(session)
        session.close = () => {
          close()
          leave()
        }
        return session
      } catch (error) {
        leave()
        throw error
      }
    },
    check: (vm, signal) => transport.check(vm, signal),
    retain: (vms) => transport.retain(vms),
    close: () => transport.close(),
  }
}

/** The staged file has lost its mode when it is put in place. */
function spoilStaged(rig: Rig): void {
  for (const [name, found] of rig.transport.files) if (name.endsWith(".new")) found.mode = 0o666
}
