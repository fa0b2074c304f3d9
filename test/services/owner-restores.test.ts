import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, lost, type Rig, ref, refusal, withRig } from "./rig.ts"

const text = "port: 80\n"
const theirs = { uid: 7, gid: 7 }
const ours = { uid: 1000, gid: 1000 }

/** A restore that is to change the owner alone, and may do without. */
function withRestore(
  given: { readonly mayGiveOwners: boolean },
  work: (rig: Rig, restore: () => ReturnType<Rig["backups"]["restore"]>) => Promise<void>,
): Promise<void> {
  const options = { files: { [live]: file(text, 0o640, theirs) }, type: { keepOwner: false } }
  return withRig(options, async (rig) => {
    const { backupId } = await rig.backups.create(ref, caller())
    rig.transport.files.set(live, file(text, 0o640, ours))
    rig.transport.mayGiveOwners = given.mayGiveOwners
    await work(rig, () => rig.backups.restore(backupId, { vmId: null, dryRun: false, precondition: anyone }, caller()))
  })
}

for (const mayGiveOwners of [true, false]) {
  suite(`A restore of the owner alone, which ${mayGiveOwners ? "can" : "cannot"} be given and need not be`, () => {
    test("is told as written", () =>
      withRestore({ mayGiveOwners }, async (rig, restore) => {
        assert.equal((await restore()).outcome, "written")
        assert.equal(rig.transport.files.get(live)?.uid, mayGiveOwners ? theirs.uid : ours.uid)
      }))

    test("is told as written where the answer to its swap is lost", () =>
      withRestore({ mayGiveOwners }, async (rig, restore) => {
        rig.transport.failNext("swap", lost(), { applied: true })
        assert.equal((await restore()).outcome, "written")
      }))

    test("is told as not done where the request of its swap is lost", () =>
      withRestore({ mayGiveOwners }, async (rig, restore) => {
        rig.transport.failNext("swap", lost())
        const { code, details } = await refusal(restore())
        assert.deepEqual([code, details.fileState], ["connection_lost", "unchanged"])
        assert.equal(rig.transport.files.get(live)?.uid, ours.uid)
      }))

    test("is told as not done where its swap is refused", () =>
      withRestore({ mayGiveOwners }, async (rig, restore) => {
        rig.transport.failNext("swap", new Fault("write_failed", "refused"))
        assert.equal((await refusal(restore())).details.fileState, "unchanged")
      }))

    test("is told as not done where the VM says that it was, and it was not", () =>
      withRestore({ mayGiveOwners }, async (rig, restore) => {
        const open = rig.transport.open.bind(rig.transport)
        rig.transport.open = async (vm, options) => {
          const session = await open(vm, options)
          session.swap = async (paths, reading) => ({ live: await session.read(paths.path, reading), old: null })
          return session
        }
        const { code, details } = await refusal(restore())
        assert.deepEqual([code, details.fileState], ["write_failed", "unchanged"])
      }))
  })
}
