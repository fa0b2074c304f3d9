import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import type { Session } from "../../src/domain/transport.ts"
import { file } from "../fakes/memory-transport.ts"
import { live, lost, makeRig, type Rig, refusal, tidied, withRig } from "./rig.ts"
import { ended, everywhere } from "./whereabouts.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const hand = "by: hand\n"

const symlink = (target: string) => ({ ...file("", 0o777), kind: "symlink" as const, target })
const tooLarge = (letter: string) => file(letter.repeat(70_000), 0o640)

/** What stands on the VM, targets of symlinks too, is a version that opens, or was put aside. */
async function anywhere(rig: Rig): Promise<readonly string[]> {
  const aside = [...rig.blobs.aside.values()].map((bytes) => Buffer.from(bytes).toString())
  const targets = [...rig.transport.files.values()].flatMap(({ target }) => target ?? [])
  return [...(await everywhere(rig)), ...targets, ...aside]
}

function spoilSwap({ transport }: Rig): void {
  transport.onStep("swap", () => void Object.assign(transport.files.get(live) ?? {}, { mode: 0o600 }), "after")
  transport.failNext("swap", lost(), { applied: true })
}

suite("A created file that was taken back, and that somebody then creates with the same bytes", () => {
  for (const backup of [true, false]) {
    test(`is had from somewhere; backup=${backup}`, async () => {
      await withRig({ files: {}, timeoutMs: 500 }, async (rig) => {
        spoilSwap(rig)
        let renames = 0
        let isBack = false
        rig.transport.onStep(
          "rename",
          () => {
            renames += 1
          },
          "after",
        )
        // The staging file is gone, and the connection is lost as what stands there is read.
        rig.transport.onStep(
          "remove",
          ({ paths }) => {
            if (renames !== 1 || isBack || !paths.some((each) => each.endsWith(".new"))) return
            isBack = true
            rig.transport.failNext("read", lost())
          },
          "after",
        )
        const ends = rig.transport.onStep("open", () => {
          if (!isBack || rig.text() !== null) return
          ends()
          rig.transport.files.set(live, file(next, 0o644))
        })
        await ended(rig, await refusal(rig.put(next, { backup })))
        await tidied(rig)
        assert.ok(isBack)
        assert.ok((await anywhere(rig)).includes(next))
      })
    })
  }
})

/** The VM refuses the rename, the second name is given. */
function refuseSwap(rig: Rig, before: () => void, then: () => void): void {
  const open = rig.transport.open.bind(rig.transport)
  rig.transport.open = async (vm, options) => {
    const session: Session = await open(vm, options)
    session.swap = async ({ oldPath }) => {
      before()
      const standing = rig.transport.files.get(live)
      if (standing) rig.transport.files.set(`vm01:${oldPath}`, standing)
      then()
      throw new Fault("write_failed", "Not now.")
    }
    return session
  }
}

suite("A refused rename between two odd things", () => {
  for (const [what, one, two] of [
    ["symlinks", symlink("/one"), symlink("/two")],
    ["files that are too large", tooLarge("a"), tooLarge("b")],
  ] as const) {
    test(`leaves the first: ${what}`, async () => {
      const rig = await makeRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 500 })
      refuseSwap(
        rig,
        () => void rig.transport.files.set(live, one),
        () => void rig.transport.files.set(live, two),
      )
      await ended(rig, await refusal(rig.put(next)))
      const all = await anywhere(rig)
      await rig.stop()
      await rig.remove()
      assert.ok(all.includes(one.target || one.bytes.toString()))
    })
  }
})

suite("A rollback that did not come over something odd, which is replaced again", () => {
  for (const [what, second] of [
    ["something odd", () => tooLarge("b")],
    ["a file", () => file(hand, 0o640)],
    ["the new bytes", () => file(next, 0o640)],
    ["the old bytes", () => file(old, 0o640)],
  ] as const) {
    test(`leaves the first on the VM: replaced by ${what}`, async () => {
      const rig = await makeRig({ files: { [live]: file(old, 0o640) }, timeoutMs: 500 })
      spoilSwap(rig)
      let count = 0
      rig.transport.onStep("rename", ({ paths: [, , aside] }) => {
        count += 1
        if (count > 1) return
        // Somebody's file is given the second name, and the rename never comes.
        if (aside) rig.transport.files.set(`vm01:${aside}`, tooLarge("a"))
        rig.transport.files.set(live, second())
        rig.transport.breakConnection("vm01")
        throw lost()
      })
      await ended(rig, await refusal(rig.put(next)))
      const all = await anywhere(rig)
      await rig.stop()
      await rig.remove()
      assert.ok(all.includes("a".repeat(70_000)))
      assert.ok(all.includes(second().bytes.toString()))
    })
  }
})
