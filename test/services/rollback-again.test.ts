import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { live, lost, makeRig, type Rig, refusal, withRig } from "./rig.ts"
import { ended, everywhere } from "./whereabouts.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const hand = "by: hand\n"

/** Somebody gives the new file another mode the moment that it stands there, and the answer is lost. */
function spoilSwap({ transport }: Rig): void {
  transport.onStep("swap", () => void Object.assign(transport.files.get(live) ?? {}, { mode: 0o600 }), "after")
  transport.failNext("swap", lost(), { applied: true })
}

const given = { files: { [live]: file(old, 0o640) }, timeoutMs: 500 }

suite("A rollback that is tried again", () => {
  test("gives what it replaces a second name, also where an earlier try has left one", async () => {
    await withRig(given, async (rig) => {
      spoilSwap(rig)
      let count = 0
      rig.transport.onStep("rename", ({ paths: [, to, aside] }) => {
        count += 1
        const { files } = rig.transport
        const standing = files.get(`vm01:${to}`)
        if (count > 1) return void files.set(live, file(hand, 0o640))
        // The second name was given, and the rename never came.
        if (standing) files.set(`vm01:${aside}`, standing)
        rig.transport.breakConnection("vm01")
        throw lost()
      })
      await ended(rig, await refusal(rig.put(next)))
      assert.equal(rig.text(), old)
      assert.ok((await everywhere(rig)).includes(hand))
    })
  })

  test("gives what it replaces a second name, also where the old bytes have none any more", async () => {
    await withRig(given, async (rig) => {
      rig.transport.hardLinks = false
      spoilSwap(rig)
      rig.transport.onStep("swap", () => void Object.assign(rig.transport, { hardLinks: true }), "after")
      rig.transport.onStep("rename", ({ paths: [, to] }) => {
        if (`vm01:${to}` === live) rig.transport.files.set(live, file(hand, 0o640))
      })
      assert.equal((await ended(rig, await refusal(rig.put(next)))).state, "rolled_back")
      assert.equal(rig.text(), old)
      assert.ok((await everywhere(rig)).includes(hand))
    })
  })

  for (const skip of [0, 1]) {
    for (const applied of [true, false]) {
      test(`puts the old bytes back where the answer to rename ${skip + 1} of them was lost, ${applied ? "done" : "or it itself"}`, async () => {
        await withRig(given, async (rig) => {
          rig.transport.hardLinks = false
          spoilSwap(rig)
          rig.transport.failNext("rename", lost(), { skip, applied })
          assert.equal((await ended(rig, await refusal(rig.put(next, { backup: false })))).state, "rolled_back")
          assert.deepEqual([rig.text(), rig.transport.files.get(live)?.mode], [old, 0o640])
        })
      })
    }
  }

  for (const backup of [true, false]) {
    test(`puts back what the try before has written down, where no version gives it (backup=${backup})`, async () => {
      const rig = await makeRig(given)
      rig.transport.hardLinks = false
      if (!backup) rig.blobs.failing.set("put", "storage_full")
      spoilSwap(rig)
      const ends = rig.transport.onStep("rename", () => {
        rig.transport.unreachable.add("vm01")
        rig.transport.breakConnection("vm01")
        throw lost()
      })
      const { details } = await refusal(rig.put(next, { backup }))
      ends()
      if (backup) rig.blobs.damage({ vmId: "vm01", type: "app", backupId: details.backupId ?? "" })
      await rig.stop()
      rig.transport.unreachable.clear()
      rig.blobs.failing.clear()
      const again = await makeRig({ ...given, after: rig })
      await again.resolver.takeUp()
      assert.deepEqual([(await again.end(() => true)).state, again.text()], ["rolled_back", old])
      await again.stop()
      await again.remove()
    })
  }
})

test("A rollback without second names ends where the old owner cannot be given, and need not be", async () => {
  const files = { [live]: file(old, 0o644, { uid: 0, gid: 0 }) }
  await withRig({ files, type: { keepOwner: false }, timeoutMs: 500 }, async (rig) => {
    rig.transport.hardLinks = false
    rig.transport.mayGiveOwners = false
    spoilSwap(rig)
    const fault = await refusal(rig.put(next))
    const late = new Promise<null>((resolve) => setTimeout(resolve, 2000, null))
    assert.equal((await Promise.race([ended(rig, fault), late]))?.state, "rolled_back")
    assert.equal(rig.text(), old)
  })
})
