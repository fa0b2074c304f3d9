import assert from "node:assert/strict"
import { copyFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { DiskNotes } from "../../src/blobs/notes.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { file } from "../fakes/memory-transport.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { idOf, putDaily, TestClock } from "./keeping.ts"
import { live, makeRig, type Rig } from "./rig.ts"

const minute = 1 / 1440

suite("Notes that are newer than an earlier copy of the catalog, and lack what it holds for the last one", () => {
  let store: string
  let time: TestClock
  let rig: Rig

  beforeEach(async () => {
    store = makeTemporary("store")
    time = new TestClock()
    rig = await start()
  })
  afterEach(async () => {
    await rig.stop()
    await rig.remove()
    await removeTemporary(store)
  })

  async function start(after?: Rig): Promise<Rig> {
    const { clock, monotonic } = time
    const instead = () => ({ clock, monotonic, notes: new DiskNotes(store) })
    const next = await makeRig({ files: { [live]: file("n: 0\n") }, after, instead })
    await next.reconcile()
    return next
  }

  /** The service ends, something happens, and it starts again. */
  async function restart(meanwhile: (catalog: string) => void = () => {}): Promise<void> {
    await rig.stop()
    meanwhile(join(rig.dir, "catalog.db"))
    time.pass(minute)
    rig = await start(rig)
  }

  async function pinAndUnpin(id: string, times: number): Promise<void> {
    for (let n = 0; n < times * 2; n += 1) {
      time.pass(minute)
      await rig.versionNotes.annotate(id, { pinned: n % 2 === 0 })
    }
  }

  for (const [what, times, isLost] of [
    ["since they were lost and noted again from the catalog", 1, true],
    ["since they were cleared of what was void", 501, false],
  ] as const) {
    test(`${what}, count`, async () => {
      await putDaily(rig, time, 3)
      const [kept, other] = [await idOf(rig, "n: 1"), await idOf(rig, "n: 2")]
      await rig.versionNotes.annotate(kept, { pinned: true, note: "old" })
      await pinAndUnpin(other, 1)
      await restart((catalog) => copyFileSync(catalog, `${catalog}.old`))
      await rig.versionNotes.annotate(kept, { note: "new" })
      await pinAndUnpin(other, times)
      await restart(() => {
        if (isLost) rmSync(join(store, "notes.jsonl"))
      })

      await restart((catalog) => {
        for (const end of ["-wal", "-shm"]) rmSync(catalog + end, { force: true })
        copyFileSync(`${catalog}.old`, catalog)
      })

      const version = await rig.catalog.getVersion(kept)
      assert.deepEqual([version?.pinned, version?.note], [true, "new"])
    })
  }

  test("are no earlier copy of the notes, over which what the catalog holds counts, also where that is made anew", async () => {
    await putDaily(rig, time, 3)
    const kept = await idOf(rig, "n: 1")
    const notes = join(store, "notes.jsonl")
    await rig.versionNotes.annotate(kept, { note: "old" })
    copyFileSync(notes, `${notes}.old`)
    time.pass(minute)
    await rig.versionNotes.annotate(kept, { pinned: true, note: "new" })

    await restart((path) => {
      copyFileSync(`${notes}.old`, notes)
      SqliteCatalog.remake({ path, migrationsDir }).close()
    })

    const version = await rig.catalog.getVersion(kept)
    assert.deepEqual([version?.pinned, version?.note], [true, "new"])
    await rig.versionNotes.annotate(kept, { pinned: false, note: null })
    await restart(() => rmSync(notes))
    assert.equal((await rig.catalog.getVersion(kept))?.pinned, false)
  })

  test("are no earlier copy of the notes that a clock which was ahead has dated", async () => {
    await putDaily(rig, time, 3)
    const kept = await idOf(rig, "n: 1")
    const notes = join(store, "notes.jsonl")
    time.set(400)
    await rig.versionNotes.annotate(kept, { note: "old" })
    copyFileSync(notes, `${notes}.old`)
    time.set(-400)
    await rig.versionNotes.annotate(kept, { pinned: true, note: "new" })

    await restart(() => copyFileSync(`${notes}.old`, notes))

    const version = await rig.catalog.getVersion(kept)
    assert.deepEqual([version?.pinned, version?.note], [true, "new"])
  })

  test("are no earlier copy of the notes, over which what the catalog holds counts, also after they were cleared", async () => {
    await putDaily(rig, time, 4)
    const [kept, other, third] = [await idOf(rig, "n: 1"), await idOf(rig, "n: 2"), await idOf(rig, "n: 3")]
    const notes = join(store, "notes.jsonl")
    await rig.versionNotes.annotate(kept, { note: "a note" })
    time.pass(minute)
    await rig.versionNotes.annotate(third, { pinned: true })
    copyFileSync(notes, `${notes}.old`)
    time.pass(minute)
    await rig.versionNotes.annotate(kept, { pinned: true })
    await pinAndUnpin(other, 501)
    await restart()
    await restart(() => copyFileSync(`${notes}.old`, notes))

    const pinned = await Promise.all([kept, third].map(async (id) => (await rig.catalog.getVersion(id))?.pinned))
    assert.deepEqual(pinned, [true, true])
  })
})
