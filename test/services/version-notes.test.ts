import assert from "node:assert/strict"
import { renameSync } from "node:fs"
import { join } from "node:path"
import { mock, suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import { joinedNotes, stateOf, withoutVoid } from "../../src/domain/notes.ts"
import { idOf, leaveSettings, putDaily, withClock } from "./keeping.ts"
import { path, type Rig, refusal } from "./rig.ts"

const day = (n: number): string => new Date(Date.UTC(2026, 0, 1 + n)).toISOString()
const departed = { vmId: "vm01", type: "app" }

/** What the catalog holds beside the blobs. */
async function beside(rig: Rig): Promise<unknown> {
  return { versions: await rig.catalog.annotatedVersions(), departures: await rig.catalog.departures() }
}

/** As a rebuild does: rows anew from what the blobs tell, nothing beside them. */
async function forget(rig: Rig): Promise<void> {
  for (const { backupId } of await rig.catalog.annotatedVersions()) {
    await rig.catalog.annotateVersion(backupId, { pinned: false, note: null })
  }
  await rig.catalog.noteDepartures((await rig.catalog.departures()).map((each) => ({ ...each, leftAt: null })))
}

suite("A pin or a note", () => {
  test("is noted beside the blobs and in the catalog, member by member", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 1)
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true })
      await rig.versionNotes.annotate(backupId, { note: "before the move" })
      assert.deepEqual(rig.notes.notes, [
        { at: day(1), backupId, pinned: true },
        { at: day(1).replace(".000Z", ".001Z"), backupId, note: "before the move" },
      ])
      const version = await rig.catalog.getVersion(backupId)
      assert.deepEqual([version?.pinned, version?.note], [true, "before the move"])
    }))

  test("that could not be read is told of until it can be, by whoever asks how that stands", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 1)
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true })
      await forget(rig)
      rig.notes.failing = "backup_storage_unavailable"
      await assert.rejects(rig.versionNotes.applyNotes(), { code: "backup_storage_unavailable" })

      const [told, again] = await Promise.all([rig.versionNotes.health(), rig.versionNotes.health()])

      assert.equal(told.ok, false)
      assert.match(told.detail, /^notes\.jsonl .* told to fail/)
      assert.deepEqual(again, told)
      rig.notes.failing = null
      assert.equal((await rig.versionNotes.health()).ok, true)
      assert.equal((await rig.catalog.getVersion(backupId))?.pinned, true)
    }))

  test("is not read by who asks how it stands, while nothing says that it cannot be", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 1)
      await rig.versionNotes.applyNotes()
      rig.notes.failing = "backup_storage_unavailable"

      assert.equal((await rig.versionNotes.health()).ok, true)
    }))

  test("counts over earlier ones of its version wherever they are joined, also by a clock that stands still or was set back", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 1)
      const id = await idOf(rig, "n: 0")
      for (const [days, note] of [
        [0, "first"],
        [0, "second"],
        [-400, "third"],
      ] as const) {
        time.set(days)
        const earlier = rig.notes.notes
        await rig.versionNotes.annotate(id, { note })
        const later = rig.notes.notes.slice(-1)
        for (const joined of [joinedNotes(earlier, later), joinedNotes(later, earlier)])
          assert.equal(stateOf(joined).versions.get(id)?.note, note)
        // As a process that has just started.
        await rig.versionNotes.applyNotes()
      }
    }))

  test("is noted again later than what the notes say, where only the catalog knows it", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 1)
      const id = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(id, { note: "first" })
      const older = rig.notes.notes
      await rig.versionNotes.annotate(id, { note: "second" })
      await rig.notes.replace(older)
      time.set(-400)
      await rig.versionNotes.applyNotes()
      assert.equal(stateOf(joinedNotes(older, rig.notes.notes.slice(-1))).versions.get(id)?.note, "second")
      assert.equal(stateOf(joinedNotes(rig.notes.notes.slice(-1), older)).versions.get(id)?.note, "second")
    }))

  test("that is there already is not noted again", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: false, note: null })
      await rig.versionNotes.annotate(backupId, {})
      assert.deepEqual(rig.notes.notes, [])
      await rig.versionNotes.annotate(backupId, { pinned: true, note: null })
      assert.deepEqual(rig.notes.notes, [{ at: day(0), backupId, pinned: true }])
    }))

  test("of a version that is not there is refused, and nothing is noted", () =>
    withClock(async (rig) => {
      assert.equal((await refusal(rig.versionNotes.annotate("none", { pinned: true }))).code, "backup_not_found")
      assert.deepEqual(rig.notes.notes, [])
    }))

  test("is noted nowhere where the catalog was removed while the service runs", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true })
      const noted = rig.notes.notes
      const path = join(rig.dir, "catalog.db")
      renameSync(path, `${path}.away`)
      const unpinned = await refusal(rig.versionNotes.annotate(backupId, { pinned: false }))
      renameSync(`${path}.away`, path)
      assert.equal(unpinned.code, "backup_storage_unavailable")
      assert.deepEqual(rig.notes.notes, noted)
    }))

  for (const code of ["storage_full", "backup_storage_unavailable"] as const) {
    test(`that cannot be noted beside the blobs changes nothing (${code})`, () =>
      withClock(async (rig) => {
        await rig.put("n: 1\n")
        const backupId = await idOf(rig, "n: 0")
        rig.notes.failing = code
        assert.equal((await refusal(rig.versionNotes.annotate(backupId, { pinned: true }))).code, code)
        assert.equal((await rig.catalog.getVersion(backupId))?.pinned, false)
      }))
  }
})

suite("Where the catalog fails after it was noted beside the blobs", () => {
  const full = async (): Promise<never> => {
    throw new Fault("storage_full", "There is no room.")
  }

  test("the notes say again what was before: a change that was answered by a fault does not come with the next start", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true, note: "keep" })
      const failing = mock.method(rig.catalog, "annotateVersion", full)
      const refused = await refusal(rig.versionNotes.annotate(backupId, { pinned: false, note: null }))
      assert.equal(refused.code, "storage_full")
      failing.mock.restore()

      await forget(rig)
      await rig.versionNotes.applyNotes()

      const version = await rig.catalog.getVersion(backupId)
      assert.deepEqual([version?.pinned, version?.note], [true, "keep"])
    }))

  test("a version that is pinned again stays pinned over the next start", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true })
      const failing = mock.method(rig.catalog, "annotateVersion", full)
      assert.equal((await refusal(rig.versionNotes.annotate(backupId, { pinned: false }))).code, "storage_full")
      failing.mock.restore()

      await rig.versionNotes.annotate(backupId, { pinned: true })
      await rig.versionNotes.applyNotes()

      assert.equal((await rig.catalog.getVersion(backupId))?.pinned, true)
    }))

  test("a config that came back since counts from the day on which it leaves again", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      const comeBack = leaveSettings(rig)
      const failing = mock.method(rig.catalog, "noteDepartures", full)
      assert.equal((await refusal(rig.versionNotes.takeStock())).code, "storage_full")
      failing.mock.restore()
      await comeBack()
      time.pass(100)
      leaveSettings(rig)
      await rig.versionNotes.takeStock()

      await rig.versionNotes.applyNotes()

      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(100) }])
    }))
})

suite("Configs that left the settings", () => {
  test("are noted once, with the day, and again when they are back", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      assert.equal(await rig.versionNotes.takeStock(), 0)
      const comeBack = leaveSettings(rig)
      time.pass(1)
      assert.equal(await rig.versionNotes.takeStock(), 1)
      time.pass(1)
      assert.equal(await rig.versionNotes.takeStock(), 0)
      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(1) }])
      await comeBack()
      assert.deepEqual(await rig.catalog.departures(), [])
      assert.deepEqual(rig.notes.notes, [
        { at: day(1), ...departed, left: true },
        { at: day(2), ...departed, left: false },
      ])
    }))

  test("are those that have versions, and no others", () =>
    withClock(async (rig) => {
      leaveSettings(rig)
      assert.equal(await rig.versionNotes.takeStock(), 0)
    }))

  test("are not those whose VM is only disabled", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const { inventory } = rig.settings
      const disabled = inventory.vms.map((vm) => ({ ...vm, enabled: false }))
      rig.settings.inventory = new Inventory(disabled, inventory.types, new Map([["app", { default: path }]]))
      assert.equal(await rig.versionNotes.takeStock(), 0)
    }))

  test("count from the day on which they leave again, though it could not be noted that they were back", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      const comeBack = leaveSettings(rig)
      await rig.versionNotes.takeStock()
      time.pass(100)
      rig.notes.failing = "storage_full"
      assert.equal((await refusal(comeBack())).code, "storage_full")
      rig.notes.failing = null
      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(100) }])
      await rig.versionNotes.applyNotes()
      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(100) }])
    }))

  test("are noted in neither place when the notes cannot be written", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      leaveSettings(rig)
      rig.notes.failing = "storage_full"
      assert.equal((await refusal(rig.versionNotes.takeStock())).code, "storage_full")
      assert.deepEqual(await rig.catalog.departures(), [])
    }))
})

suite("Applying the notes", () => {
  test("gives a catalog that was made anew all that the lost one had", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 3)
      await rig.versionNotes.annotate(await idOf(rig, "n: 0"), { pinned: true })
      await rig.versionNotes.annotate(await idOf(rig, "n: 1"), { pinned: true, note: "one" })
      await rig.versionNotes.annotate(await idOf(rig, "n: 2"), { note: "two" })
      await rig.versionNotes.annotate(await idOf(rig, "n: 1"), { pinned: false })
      await rig.versionNotes.annotate(await idOf(rig, "n: 2"), { note: null })
      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      const lost = await beside(rig)
      await forget(rig)
      assert.notDeepEqual(await beside(rig), lost)

      assert.equal(await rig.versionNotes.applyNotes(), 3)
      assert.deepEqual(await beside(rig), lost)
      assert.equal(await rig.versionNotes.applyNotes(), 0)
    }))

  test("goes on where a process ended after it had noted and before its row", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true, note: "keep" })
      await rig.notes.append([{ at: day(1), backupId, pinned: false }])
      assert.equal(await rig.versionNotes.applyNotes(), 1)
      const version = await rig.catalog.getVersion(backupId)
      assert.deepEqual([version?.pinned, version?.note], [false, "keep"])
    }))

  test("takes the day on which a config left first, since it last came back", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      await rig.notes.append([
        { at: day(1), ...departed, left: true },
        { at: day(2), ...departed, left: false },
        { at: day(3), ...departed, left: true },
        { at: day(4), ...departed, left: true },
      ])
      await rig.catalog.noteDepartures([{ ...departed, leftAt: day(1) }])
      assert.equal(await rig.versionNotes.applyNotes(), 1)
      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(3) }])
    }))

  test("takes no earlier day from an old copy that was put behind the newer ones by hand", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const noted = (n: number, left: boolean) => ({ at: day(n), ...departed, left })
      // Cleared of what was void, so that the old copy's are not among them.
      const newer = [noted(100, false), noted(100, true)]
      await rig.notes.append([...newer, noted(1, true), noted(2, false), noted(3, true)])
      await rig.versionNotes.applyNotes()
      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(100) }])
    }))

  test("passes over notes of versions that are gone", () =>
    withClock(async (rig) => {
      await rig.notes.append([{ at: day(1), backupId: "gone", pinned: true }])
      assert.equal(await rig.versionNotes.applyNotes(), 0)
    }))

  test("goes on to the last of them, however many there are", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      const gone = Array.from({ length: 10_001 }, (_, n) => ({ at: day(0), backupId: `gone-${n}`, note: "a ticket" }))
      await rig.notes.append([...gone, { at: day(0), backupId, pinned: true }])

      assert.equal(await rig.versionNotes.applyNotes(), 1)

      assert.equal((await rig.catalog.getVersion(backupId))?.pinned, true)
    }))

  test("notes again what only the catalog knows: lost notes unpin nothing", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { pinned: true, note: "keep" })
      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      const before = await beside(rig)
      rig.notes.notes = []
      assert.equal(await rig.versionNotes.applyNotes(), 0)
      assert.deepEqual(await beside(rig), before)
      await forget(rig)
      await rig.versionNotes.applyNotes()
      assert.deepEqual(await beside(rig), before)
    }))

  test("unpins nothing by notes that are older than the catalog, and lets no config have left earlier", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(backupId, { note: "before the move" })
      const comeBack = leaveSettings(rig)
      await rig.versionNotes.takeStock()
      const earlier = rig.notes.notes
      await rig.versionNotes.annotate(backupId, { pinned: true })
      await comeBack()
      time.pass(100)
      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      const before = await beside(rig)

      rig.notes.notes = earlier
      await rig.versionNotes.applyNotes()
      assert.deepEqual(await beside(rig), before)

      await forget(rig)
      await rig.versionNotes.applyNotes()
      assert.deepEqual(await beside(rig), before)
    }))

  test("lets no config have left earlier by older notes where it came back since", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      const comeBack = leaveSettings(rig)
      await rig.versionNotes.takeStock()
      const earlier = rig.notes.notes
      time.pass(1)
      await comeBack()
      for (let n = 0; n < 100; n += 1) {
        time.pass(1)
        await rig.retentionClock.now()
      }
      leaveSettings(rig)

      rig.notes.notes = earlier
      await rig.versionNotes.applyNotes()
      await rig.versionNotes.takeStock()

      assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(101) }])
      assert.equal((await rig.retention.purge({ dryRun: true, force: false })).removed.length, 1)
    }))

  test("clears away notes that say nothing any more, once there are many", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      const flips = (count: number) =>
        Array.from({ length: count }, (_, index) => ({ at: day(index), backupId, pinned: index % 2 === 0 }))
      rig.notes.notes = flips(1000)
      await rig.versionNotes.applyNotes()
      assert.equal(rig.notes.notes.length, 1000)
      rig.notes.notes = [...flips(1003), { at: day(1), ...departed, left: true }]
      await rig.versionNotes.applyNotes()
      assert.deepEqual(rig.notes.notes, [
        { at: day(1002), backupId, pinned: true, note: null },
        { at: day(1), ...departed, left: false },
        { at: day(1), ...departed, left: true },
      ])
    }))

  test("clears them away while the service runs as well", () =>
    withClock(async (rig) => {
      await rig.put("n: 1\n")
      const backupId = await idOf(rig, "n: 0")
      for (let n = 1; n <= 2500; n += 1) await rig.versionNotes.annotate(backupId, { pinned: n % 2 === 1 })
      assert.ok(rig.notes.notes.length <= 1002, `${rig.notes.notes.length} notes`)
      await rig.versionNotes.annotate(backupId, { pinned: true })
      assert.equal(stateOf(rig.notes.notes).versions.get(backupId)?.pinned, true)
    }))

  for (const again of ["before", "after"]) {
    test(`takes no earlier day from an old copy, though its return was cleared away (it left again ${again} that)`, () =>
      withClock(async (rig, time) => {
        await rig.put("n: 1\n")
        const comeBack = leaveSettings(rig)
        await rig.versionNotes.takeStock()
        const theirs = rig.notes.notes
        time.pass(1)
        await comeBack()
        time.pass(99)
        const leave = async (): Promise<void> => {
          leaveSettings(rig)
          await rig.versionNotes.takeStock()
        }
        if (again === "before") await leave()
        rig.notes.notes = withoutVoid(rig.notes.notes)
        await rig.versionNotes.applyNotes()

        await rig.versionNotes.takeIn(theirs)
        if (again === "after") await leave()

        assert.deepEqual(await rig.catalog.departures(), [{ ...departed, leftAt: day(100) }])
      }))
  }

  for (const [what, isCleared] of [
    ["", false],
    [", which were cleared of what was void", true],
  ] as const) {
    test(`takes nothing from an old copy that was put behind the newer ones by hand${what}`, () =>
      withClock(async (rig, time) => {
        await putDaily(rig, time, 2)
        const [kept, other] = [await idOf(rig, "n: 0"), await idOf(rig, "n: 1")]
        await rig.versionNotes.annotate(kept, { pinned: true, note: "old" })
        await rig.versionNotes.annotate(other, { pinned: true })
        await rig.versionNotes.annotate(kept, { pinned: false })
        const comeBack = leaveSettings(rig)
        await rig.versionNotes.takeStock()
        const old = rig.notes.notes
        time.pass(1)
        await comeBack()
        await rig.versionNotes.annotate(kept, { pinned: true, note: "new" })
        if (!isCleared) await rig.versionNotes.annotate(other, { pinned: false })
        const before = await beside(rig)

        rig.notes.notes = [...(isCleared ? withoutVoid(rig.notes.notes) : rig.notes.notes), ...old]
        for (const again of [async () => {}, forget]) {
          await again(rig)
          await rig.versionNotes.applyNotes()
          // That a config is back says nothing once it is void: it is seen anew.
          await rig.versionNotes.takeStock()
          assert.deepEqual(await beside(rig), before)
        }
      }))
  }

  test("can be tried again after it failed", () =>
    withClock(async (rig) => {
      rig.notes.failing = "backup_storage_unavailable"
      await refusal(rig.versionNotes.ready())
      rig.notes.failing = null
      await rig.versionNotes.ready()
      // And is not done again.
      rig.notes.failing = "backup_storage_unavailable"
      await rig.versionNotes.ready()
    }))
})

test("the fewest notes that say the same say the same", () => {
  const notes = [
    { at: day(0), backupId: "a", pinned: true },
    { at: day(1), backupId: "b", note: "x" },
    { at: day(2), backupId: "a", note: "y" },
    { at: day(3), backupId: "b", note: null },
    { at: day(4), ...departed, left: true },
    { at: day(5), vmId: "vm02", type: "app", left: true },
    { at: day(6), vmId: "vm02", type: "app", left: false },
  ]
  const few = withoutVoid(notes)
  assert.deepEqual(few, [
    { at: day(2), backupId: "a", pinned: true, note: "y" },
    { at: day(4), ...departed, left: false },
    { at: day(4), ...departed, left: true },
  ])
  assert.deepEqual([...stateOf(few).departures], [["vm01/app", { at: day(4), ...departed, left: true }]])
  assert.deepEqual(stateOf(few).versions.get("a"), stateOf(notes).versions.get("a"))
})
