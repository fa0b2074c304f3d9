import assert from "node:assert/strict"
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, mock, suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { DiskNotes, parseNotes } from "../../src/blobs/notes.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { joinedNotes, type Note, stateOf } from "../../src/domain/notes.ts"
import { Copier } from "../../src/services/copier.ts"
import { NotesCopy } from "../../src/services/notes-copy.ts"
import type { PurgeOptions } from "../../src/services/retention.ts"
import type { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { file } from "../fakes/memory-transport.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { contentsOf, idOf, leaveSettings, putDaily, TestClock } from "./keeping.ts"
import { live, makeRig, type Rig, ref, refusal } from "./rig.ts"

const asked: PurgeOptions = { dryRun: false, force: false }
const away = async (): Promise<never> => {
  throw new Fault("vm_unreachable", "The host of the copies is away.")
}

suite("The copy of the notes off this host", () => {
  let store: string
  let place: string
  let target: DirectoryTarget
  let time: TestClock
  let rig: Rig
  let found: number

  beforeEach(async () => {
    store = makeTemporary("store")
    place = makeTemporary("copies")
    target = new DirectoryTarget(place)
    time = new TestClock()
    rig = await startRig()
    await rig.retentionClock.now()
  })
  afterEach(async () => {
    mock.restoreAll()
    await rig.stop()
    await rig.remove()
    for (const each of [store, place]) await removeTemporary(each)
  })

  function startRig(after?: Rig): Promise<Rig> {
    found = 0
    return makeRig({
      files: { [live]: file("n: 0\n") },
      after,
      instead: ({ catalog }) => ({
        clock: time.clock,
        monotonic: time.monotonic,
        notes: new DiskNotes(store),
        copies: { catalog: catalog as SqliteCatalog, target, files: new DiskStoreFiles(store) },
      }),
    })
  }

  /** As a process that has just started. */
  function copyOf({ catalog, versionNotes }: Rig): NotesCopy {
    const onFound = (): void => {
      found += 1
    }
    return new NotesCopy({
      catalog,
      files: new DiskStoreFiles(store),
      target,
      versionNotes,
      parse: parseNotes,
      onFound,
    })
  }

  /** The service ends and starts again, without what is removed in between. */
  async function restart(...removed: readonly string[]): Promise<void> {
    await rig.stop()
    for (const path of removed) rmSync(path, { force: true })
    rig = await startRig(rig)
    await rig.reconcile()
    await rig.retentionClock.now()
  }

  const catalogFiles = () => ["", "-wal", "-shm"].map((end) => join(rig.dir, `catalog.db${end}`))
  const notesFile = () => join(store, "notes.jsonl")
  const loseBoth = () => restart(...catalogFiles(), notesFile())
  const copied = () => readFileSync(join(place, "notes.jsonl"), "utf8")
  const pinnedContents = async () => {
    const contents = await contentsOf(rig)
    return (await rig.versions()).flatMap(({ pinned }, index) => (pinned ? [contents[index]] : []))
  }

  /** Versions of which two are pinned, copied, and old enough to go. */
  async function pinTwo(): Promise<void> {
    await putDaily(rig, time, 6)
    for (const text of ["n: 0", "n: 1"]) {
      await rig.versionNotes.annotate(await idOf(rig, text), { pinned: true, note: `of ${text}` })
    }
    await copyOf(rig).copy()
  }

  /** Time passes with a look at the clock each day, as the daily purge takes one. */
  async function wait(days: number): Promise<void> {
    for (let day = 0; day < days; day += 1) {
      time.pass(1)
      await rig.retentionClock.now()
    }
  }

  test("brings home what stood there alone before a new note takes its place, after catalog and notes were lost", async () => {
    await pinTwo()
    await loseBoth()
    assert.deepEqual(await pinnedContents(), [])
    await rig.versionNotes.annotate(await idOf(rig, "n: 2"), { pinned: true })
    await rig.versionNotes.annotate(await idOf(rig, "n: 0"), { note: "newer" })

    await copyOf(rig).copy()

    assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1", "n: 2"])
    const notes = await Promise.all(
      ["n: 0", "n: 1"].map(async (text) => (await rig.catalog.getVersion(await idOf(rig, text)))?.note),
    )
    assert.deepEqual(notes, ["newer", "of n: 1"])
    assert.equal(stateOf(parseNotes(Buffer.from(copied())).notes).versions.size, 3)
    assert.equal(copied(), readFileSync(notesFile(), "utf8"))
  })

  test("comes home where nothing was noted here since", async () => {
    await pinTwo()
    const before = copied()
    await loseBoth()

    await copyOf(rig).copy()

    assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1"])
    assert.deepEqual([readFileSync(notesFile(), "utf8"), copied()], [before, before])
  })

  test("comes home over an older catalog that was put back, too", async () => {
    await putDaily(rig, time, 2)
    await copyOf(rig).copy()
    await rig.stop()
    const [path = ""] = catalogFiles()
    const older = readFileSync(path)
    rig = await startRig(rig)
    await rig.versionNotes.annotate(await idOf(rig, "n: 0"), { pinned: true })
    await copyOf(rig).copy()
    await rig.stop()
    for (const each of [...catalogFiles(), notesFile()]) rmSync(each, { force: true })
    writeFileSync(path, older)
    rig = await startRig(rig)
    await rig.reconcile()

    await copyOf(rig).copy()

    assert.deepEqual(await pinnedContents(), ["n: 0"])
  })

  test("comes home over earlier notes that were put back with the store, after the catalog was lost", async () => {
    await putDaily(rig, time, 2)
    await rig.versionNotes.annotate(await idOf(rig, "n: 0"), { pinned: true })
    const earlier = readFileSync(notesFile())
    await rig.versionNotes.annotate(await idOf(rig, "n: 1"), { pinned: true })
    await copyOf(rig).copy()
    await rig.stop()
    for (const each of catalogFiles()) rmSync(each, { force: true })
    writeFileSync(notesFile(), earlier)
    rig = await startRig(rig)
    await rig.reconcile()

    await copyOf(rig).copy()

    assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1"])
  })

  test("stays as it is while the place is away, and what stands there is asked for again", async () => {
    await pinTwo()
    await loseBoth()
    await rig.versionNotes.annotate(await idOf(rig, "n: 2"), { pinned: true })
    const copy = copyOf(rig)
    const getting = mock.method(target, "get", away)
    await assert.rejects(copy.copy(), { code: "vm_unreachable" })
    getting.mock.restore()

    await copy.copy()

    assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1", "n: 2"])
  })

  test("is not overwritten where what stands there could not be taken in", async () => {
    await pinTwo()
    const before = copied()
    await loseBoth()
    await rig.versionNotes.annotate(await idOf(rig, "n: 2"), { pinned: true })
    const noting = mock.method(rig.catalog, "annotateVersion", async () => {
      throw new Fault("storage_full", "There is no room.")
    })
    const copy = copyOf(rig)
    await assert.rejects(copy.copy(), { code: "storage_full" })
    assert.equal(copied(), before)
    noting.mock.restore()

    await copy.copy()

    assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1", "n: 2"])
  })

  test("is kept under another name where a part of it cannot be read; the rest is taken in", async () => {
    await pinTwo()
    const torn = Buffer.from(`${copied()}{"at":"2026-01-01T00:00:00.0\n`)
    writeFileSync(join(place, "notes.jsonl"), torn)
    await loseBoth()

    for (let process = 0; process < 2; process += 1) await copyOf(rig).copy()

    const aside = `notes-${digestOf(torn).slice(0, 16)}.jsonl`
    assert.deepEqual(readdirSync(place).sort(), [aside, "notes.jsonl"])
    assert.deepEqual(readFileSync(join(place, aside)), torn)
    assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1"])
  })

  test("brings nothing back that was unpinned since, where it is known what stands there", async () => {
    await pinTwo()
    const mocked = mock.method(target, "get", away)
    for (const text of ["n: 0", "n: 1"]) {
      await rig.versionNotes.annotate(await idOf(rig, text), { pinned: false, note: null })
    }
    // As they are cleared away once there are many.
    writeFileSync(notesFile(), "")
    await restart()
    mocked.mock.restore()

    await copyOf(rig).copy()

    assert.deepEqual(await pinnedContents(), [])
    assert.equal(copied(), "")
  })

  test("is not cut where the notes here were while the service runs: what the catalog knows is noted again", async () => {
    await pinTwo()
    const copy = copyOf(rig)
    await copy.copy()
    truncateSync(notesFile())
    await copy.copy()
    await restart(...catalogFiles(), notesFile())
    await copyOf(rig).copy()
    assert.deepEqual(await pinnedContents(), ["n: 1", "n: 0"])
  })

  test("is still sought where the mount goes between the look at its mark and at the notes", async () => {
    await pinTwo()
    const copyAll = async (): Promise<void> => {
      const parts = {
        catalog: rig.catalog as SqliteCatalog,
        files: new DiskStoreFiles(store),
        target,
        clock: time.clock,
      }
      const { blobs, legacy } = rig
      const given = { ...parts, blobs, legacy, notes: copyOf(rig), random: () => 0.5, onChange: () => {} }
      const copier = new Copier(given)
      await copier.pass()
      await copier.stop()
    }
    await copyAll()
    await loseBoth()
    const gone = mock.method(target, "get", async (name: string) => {
      gone.mock.restore()
      const marker = await target.get(name)
      renameSync(place, `${place}.away`)
      mkdirSync(place)
      return marker
    })
    await copyAll()
    rmSync(place, { recursive: true })
    renameSync(`${place}.away`, place)

    assert.equal(found, 0)
    await copyAll()
    assert.deepEqual([found, await pinnedContents()], [1, ["n: 1", "n: 0"]])
  })

  test("unpins nothing that is pinned here, and lets no config have left earlier, where a clone of this host has written there", async () => {
    await pinTwo()
    const id = await idOf(rig, "n: 0")
    time.pass(1)
    const clones: readonly Note[] = [
      { at: time.clock().toISOString(), ...ref, left: true },
      { at: time.clock().toISOString(), backupId: id, pinned: false, note: "of the clone" },
    ]
    appendFileSync(join(place, "notes.jsonl"), clones.map((note) => `${JSON.stringify(note)}\n`).join(""))
    time.pass(1)
    leaveSettings(rig)
    await rig.versionNotes.takeStock()
    const departed = await rig.catalog.departures()

    for (let process = 0; process < 2; process += 1) {
      await copyOf(rig).copy()

      assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1"])
      assert.equal((await rig.catalog.getVersion(id))?.note, "of the clone")
      assert.deepEqual(await rig.catalog.departures(), departed)
      assert.equal(copied(), readFileSync(notesFile(), "utf8"))
      await restart(...catalogFiles())
    }
  })

  test("is known also where a process ended right after it was made", async () => {
    await pinTwo()
    await rig.versionNotes.annotate(await idOf(rig, "n: 0"), { pinned: false, note: null })
    const put = target.put.bind(target)
    const putting = mock.method(target, "put", async (name: string, bytes: Buffer) => {
      await put(name, bytes)
      return away()
    })
    await assert.rejects(copyOf(rig).copy())
    putting.mock.restore()
    const taken = mock.method(rig.versionNotes, "takeIn")

    await copyOf(rig).copy()

    assert.equal(taken.mock.callCount(), 0)
    assert.deepEqual(await pinnedContents(), ["n: 1"])
  })

  suite("while it is sought, after catalog and notes were lost", () => {
    beforeEach(async () => {
      await pinTwo()
      await loseBoth()
      await wait(400)
    })

    test("lets nothing be purged, says so, and ends with a look at the place: what it pins stays", async () => {
      await restart()
      assert.equal(await rig.retention.purgeUnasked(), null)
      const { ok, detail } = rig.retention.health()
      assert.equal(ok, false)
      assert.match(detail, /would remove 6 of 7/)
      for (let n = 7; n < 20; n += 1) await rig.put(`n: ${n}\n`)
      assert.equal((await refusal(rig.retention.purge(asked))).code, "purge_guard")
      assert.match(rig.retention.health().detail, /^notes\.jsonl was lost with the catalog, .* at .*copies.* alone/)
      assert.equal((await rig.versions()).length, 20)

      await copyOf(rig).copy()

      assert.equal(found, 1)
      assert.equal((await rig.retention.purge(asked)).removed.length, 4)
      assert.equal(rig.retention.health().ok, true)
      assert.deepEqual((await pinnedContents()).sort(), ["n: 0", "n: 1"])
    })

    test("still does after notes were made here and the service was started again", async () => {
      for (let n = 7; n < 20; n += 1) await rig.put(`n: ${n}\n`)
      await rig.versionNotes.annotate(await idOf(rig, "n: 7"), { pinned: true })
      await restart()

      assert.match((await refusal(rig.retention.purge(asked))).message, /^notes\.jsonl was lost/)
    })

    test("refuses that a version is removed by hand, which may be pinned", async () => {
      const removing = rig.retention.remove(await idOf(rig, "n: 1"), new AbortController().signal)

      const { code, message } = await refusal(removing)

      assert.deepEqual([code, /may be pinned/.test(message)], ["backup_protected", true])
    })

    test("lets a purge go that is forced", async () => {
      assert.equal((await rig.retention.purge({ dryRun: false, force: true })).removed.length, 6)
    })

    test("is sought for 30 days, and no longer", async () => {
      for (let n = 7; n < 20; n += 1) await rig.put(`n: ${n}\n`)
      assert.equal(await rig.retention.purgeUnasked(), null)
      await wait(29)
      assert.equal(await rig.retention.purgeUnasked(), null)
      await wait(2)
      assert.equal((await rig.retention.purgeUnasked())?.removed.length, 6)
    })

    test("is sought no more where there turns out to be none", async () => {
      rmSync(join(place, "notes.jsonl"))
      for (let n = 7; n < 20; n += 1) await rig.put(`n: ${n}\n`)

      await copyOf(rig).copy()

      assert.equal((await rig.retention.purge(asked)).removed.length, 6)
    })
  })

  for (const [what, lost] of [
    ["", catalogFiles],
    [" with their catalog", () => []],
  ] as const) {
    test(`is looked at once before a purge where notes stand here, which may have been put back${what}`, async () => {
      await pinTwo()
      await restart(...lost())
      await wait(400)
      for (let n = 7; n < 20; n += 1) await rig.put(`n: ${n}\n`)
      assert.match((await refusal(rig.retention.purge(asked))).message, /or may be older than its copy/)

      await copyOf(rig).copy()

      assert.equal((await rig.retention.purge(asked)).removed.length, 4)
      assert.equal(found, 1)
    })
  }

  test("is looked at by each process, and no purge is told of it where none has asked", async () => {
    await pinTwo()
    await restart()
    await copyOf(rig).copy()
    assert.equal(found, 0)
  })

  test("keeps the copies of versions that it pins, though they were removed here before it could be read", async () => {
    await putDaily(rig, time, 6)
    await rig.versionNotes.annotate(await idOf(rig, "n: 1"), { note: "other" })
    const earlier = readFileSync(notesFile())
    const id = await idOf(rig, "n: 0")
    await rig.versionNotes.annotate(id, { pinned: true })
    await copyOf(rig).copy()
    await rig.stop()
    for (const path of catalogFiles()) rmSync(path, { force: true })
    writeFileSync(notesFile(), earlier)
    rig = await startRig(rig)
    await rig.reconcile()
    await rig.catalog.setCopyTarget(target.name, time.clock().toISOString())
    await rig.catalog.noteCopy({ backupId: id, work: "queued" }, { kind: "copied", at: time.clock().toISOString() })
    await wait(400)
    await rig.retention.purge({ dryRun: false, force: true })
    assert.equal(await rig.catalog.isLeaving(id), true)

    await copyOf(rig).copy()

    assert.equal(await rig.catalog.isLeaving(id), false)
  })
})

suite("Two lists of notes", () => {
  const at = (day: number): string => new Date(Date.UTC(2026, 0, day)).toISOString()
  const pin = (day: number, backupId: string, pinned = true): Note => ({ at: at(day), backupId, pinned })

  test("become one, each note once, the earlier first", () => {
    const joined = joinedNotes([pin(1, "a"), pin(3, "b"), pin(9, "c")], [pin(1, "a"), pin(2, "d"), pin(4, "e")])
    assert.deepEqual(joined, [pin(1, "a"), pin(2, "d"), pin(3, "b"), pin(4, "e"), pin(9, "c")])
  })

  test("keep their own order where a clock was set back", () => {
    const joined = joinedNotes([pin(5, "a", false), pin(3, "a")], [pin(4, "b")])
    assert.equal(stateOf(joined).versions.get("a")?.pinned, true)
  })

  test("let the later note of a version count, whichever list it is in", () => {
    const pinned = (theirs: Note, ours: Note) => stateOf(joinedNotes([theirs], [ours])).versions.get("a")?.pinned
    assert.equal(pinned(pin(1, "a", false), pin(2, "a")), true)
    assert.equal(pinned(pin(2, "a"), pin(1, "a", false)), true)
  })

  test("are not turned round by a note that a clock years ahead has dated", () => {
    const [far, pinned, unpinned] = [pin(1500, "b"), pin(9, "a"), pin(3, "a", false)]
    for (const [theirs, ours] of [
      [[far, unpinned], [pinned]],
      [[pinned], [far, unpinned]],
    ] as const)
      assert.equal(stateOf(joinedNotes(theirs, ours)).versions.get("a")?.pinned, true)
  })

  test("are not turned round by an earlier day that stands behind what was noted later", () => {
    const left = { at: at(2), vmId: "vm01", type: "central", left: true }
    const joined = joinedNotes([pin(7, "a", false)], [pin(9, "a"), left])
    assert.equal(stateOf(joined).versions.get("a")?.pinned, true)
  })
})
