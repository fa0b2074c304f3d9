import assert from "node:assert/strict"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { DiskNotes, parseNotes } from "../../src/blobs/notes.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { NotesCopy } from "../../src/services/notes-copy.ts"
import { file } from "../fakes/memory-transport.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { idOf, leaveSettings, putDaily, TestClock } from "./keeping.ts"
import { live, makeRig, type Rig } from "./rig.ts"

suite("A line of notes.jsonl that cannot be read any more", () => {
  let store: string
  let place: string
  let time: TestClock
  let rig: Rig

  beforeEach(async () => {
    store = makeTemporary("store")
    place = makeTemporary("copies")
    time = new TestClock()
    rig = await start()
    await rig.retentionClock.now()
  })
  afterEach(async () => {
    await rig.stop()
    await rig.remove()
    for (const each of [store, place]) await removeTemporary(each)
  })

  function start(after?: Rig): Promise<Rig> {
    const { clock, monotonic } = time
    const instead = () => ({ clock, monotonic, notes: new DiskNotes(store) })
    return makeRig({ files: { [live]: file("n: 0\n") }, after, instead })
  }

  const notesFile = () => join(store, "notes.jsonl")
  const unread = () => readdirSync(store).filter((name) => /^notes-.*\.jsonl$/.test(name))

  /** A byte of the line that says `text` rots, and the service starts again. @returns what stood there then */
  async function rot(text: string): Promise<Buffer> {
    await rig.stop()
    const bytes = readFileSync(notesFile())
    const at = bytes.indexOf(text)
    assert.ok(at > 0, text)
    bytes[at] = 0x5f
    writeFileSync(notesFile(), bytes)
    rig = await start(rig)
    await rig.reconcile()
    await rig.retentionClock.now()
    return bytes
  }

  /** @returns the version that is pinned by one line between others */
  async function pinBetween(): Promise<string> {
    await putDaily(rig, time, 3)
    const [kept, other] = [await idOf(rig, "n: 0"), await idOf(rig, "n: 1")]
    await rig.versionNotes.annotate(kept, { pinned: true, note: "old" })
    await rig.versionNotes.annotate(kept, { pinned: false })
    await rig.versionNotes.annotate(kept, { pinned: true, note: "KEEP" })
    time.pass(1)
    await rig.versionNotes.annotate(other, { note: "other" })
    return kept
  }

  const copy = () => {
    const files = new DiskStoreFiles(store)
    const { catalog, versionNotes } = rig
    const target = new DirectoryTarget(place)
    return new NotesCopy({ catalog, files, target, versionNotes, parse: parseNotes, onFound: () => {} }).copy()
  }

  for (const [what, text] of [
    ["", '"pinned":true,"note":"KEEP'],
    [", in the name of a member alone", 'pinned":true,"note":"KEEP'],
  ] as const) {
    test(`unpins nothing that the catalog knows, is told once, and kept beside the notes${what}`, async () => {
      const kept = await pinBetween()

      const rotten = await rot(text)

      const version = await rig.catalog.getVersion(kept)
      assert.deepEqual([version?.pinned, version?.note], [true, "KEEP"])
      assert.match(rig.problems.join(), /^1 of the lines of notes\.jsonl cannot be read/)
      assert.equal(unread().length, 1)
      assert.ok(readFileSync(join(store, ...unread()), "utf8").startsWith(String(rotten)))
      await rot('"note":"other')
      await rig.stop()
      rig = await start(rig)
      await rig.reconcile()
      assert.equal((await rig.catalog.getVersion(kept))?.note, "KEEP")
      assert.deepEqual(rig.problems, [])
    })
  }

  test("is looked for in the copy off this host before that is written over, though what stands there is known", async () => {
    const kept = await pinBetween()
    await copy()
    // As a catalog that lost it, too.
    await rig.catalog.annotateVersion(kept, { pinned: false, note: "old" })
    await rot('"pinned":true,"note":"KEEP')
    assert.equal((await rig.catalog.getVersion(kept))?.pinned, false)

    await copy()

    const version = await rig.catalog.getVersion(kept)
    assert.deepEqual([version?.pinned, version?.note], [true, "KEEP"])
    assert.deepEqual(readFileSync(join(place, "notes.jsonl")), readFileSync(notesFile()))
  })

  test("lets no config have left earlier than the catalog knows, so that its newest version stays", async () => {
    await rig.put("n: 1\n")
    const comeBack = leaveSettings(rig)
    await rig.versionNotes.takeStock()
    time.pass(1)
    await comeBack()
    for (let n = 0; n < 200; n += 1) {
      time.pass(1)
      await rig.retentionClock.now()
    }
    const leftAt = time.clock().toISOString()
    leaveSettings(rig)
    await rig.versionNotes.takeStock()

    await rot("false")

    assert.deepEqual(
      (await rig.catalog.departures()).map((each) => each.leftAt),
      [leftAt],
    )
  })
})
