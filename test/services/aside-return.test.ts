import assert from "node:assert/strict"
import { rmSync } from "node:fs"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, mock, suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { itemsOf } from "../../src/domain/catalog.ts"
import { fileNameOf } from "../../src/domain/copies.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { Version } from "../../src/domain/version.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { file } from "../fakes/memory-transport.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { putDaily, TestClock } from "./keeping.ts"
import { audit, live, makeRig, migrationsDir, type Rig, ref } from "./rig.ts"

const forced = { dryRun: false, force: true }

suite("A version that was put aside while the catalog was made anew", () => {
  let place: string
  let target: DirectoryTarget
  let time: TestClock
  let rig: Rig
  let healed: string[]
  let withCopies: boolean

  beforeEach(async () => {
    place = makeTemporary("copies")
    target = new DirectoryTarget(place)
    time = new TestClock()
    healed = []
    withCopies = true
    rig = await startRig()
    await rig.retentionClock.now()
    await putDaily(rig, time, 4)
  })
  afterEach(async () => {
    mock.restoreAll()
    await audit(rig)
    await rig.stop()
    await rig.remove()
    await removeTemporary(place)
  })

  function startRig(after?: Rig): Promise<Rig> {
    const files = new DiskStoreFiles(place)
    return makeRig({
      files: { [live]: file("n: 0\n") },
      after,
      instead: ({ catalog }) => ({
        clock: time.clock,
        monotonic: time.monotonic,
        copies: withCopies ? { catalog: catalog as SqliteCatalog, target, files } : null,
        onHealed: ({ backupId }) => void healed.push(backupId),
      }),
    })
  }

  /** Those of the config, newest first: over all configs a version that came back takes its place at the next start. */
  async function versions(): Promise<readonly Version[]> {
    return itemsOf(await rig.catalog.listVersions(ref, { limit: 500, cursor: null }))
  }

  async function contents(): Promise<readonly string[]> {
    const opened = (await versions()).map((version) => rig.blobs.open(version))
    return (await Promise.all(opened)).map(({ bytes }) => bytes.toString().trim())
  }

  async function versionOf(content: string): Promise<Version> {
    const version = (await versions())[(await contents()).indexOf(content)]
    assert.ok(version, `no version holds ${content}`)
    return version
  }

  async function copy(...versions: readonly Version[]): Promise<void> {
    for (const version of versions) await target.put(fileNameOf(version), await rig.blobs.sealed(version))
  }

  /** The catalog is lost, and the files of `versions` are rotten: what a start does then. */
  async function loseCatalog(...versions: readonly Version[]): Promise<void> {
    for (const version of versions) rig.blobs.damage(version)
    await rig.stop()
    for (const end of ["", "-wal", "-shm"]) rmSync(join(rig.dir, `catalog.db${end}`), { force: true })
    rig = await startRig(rig)
    assert.equal((await rig.reconcile()).found.putAside, versions.length)
    await rig.catalog.setCopyTarget(target.name, time.clock().toISOString())
    await rig.retentionClock.now()
  }

  const round = (signal = new AbortController().signal) => rig.scrubber.round(signal)
  const whole = ["n: 4", "n: 3", "n: 2", "n: 1", "n: 0"]

  test("comes home from its copy by itself: in its place in the list, with its pin, every byte", async () => {
    const [lost, newest] = [await versionOf("n: 2"), await versionOf("n: 4")]
    await rig.versionNotes.annotate(lost.backupId, { pinned: true, note: "kept" })
    const before = await versions()
    await copy(lost, newest)
    await loseCatalog(lost, newest)
    assert.deepEqual(await contents(), ["n: 3", "n: 1", "n: 0"])

    await round()

    assert.deepEqual(await contents(), whole)
    const timeless = (versions: readonly Version[]) => versions.map((each) => ({ ...each, verifiedAt: null }))
    assert.deepEqual(timeless(await versions()), timeless(before))
    assert.deepEqual(healed.sort(), [lost.backupId, newest.backupId].sort())
    await round()
    assert.equal(healed.length, 2)
    await rig.reconcile()
    assert.deepEqual(timeless(await rig.versions()), timeless(before))
  })

  for (const [what, andThen] of [
    ["", () => {}],
    [
      ", though the catalog was made anew once more",
      (path: string) => SqliteCatalog.remake({ path, migrationsDir }).close(),
    ],
  ] as const) {
    test(`comes home with its pin where the notes were cut after that, too${what}`, async () => {
      const [lost, other] = [await versionOf("n: 2"), await versionOf("n: 1")]
      await rig.versionNotes.annotate(other.backupId, { pinned: true })
      const cut = rig.notes.notes
      await rig.versionNotes.annotate(lost.backupId, { pinned: true, note: "kept" })
      await copy(lost)
      await loseCatalog(lost)
      await rig.notes.replace(cut)
      await rig.stop()
      andThen(join(rig.dir, "catalog.db"))
      rig = await startRig(rig)
      await rig.reconcile()

      await round()

      const { pinned, note } = await versionOf("n: 2")
      assert.deepEqual([pinned, note], [true, "kept"])
    })
  }

  test("moves no page of the list that somebody reads meanwhile", async () => {
    const lost = await versionOf("n: 1")
    await copy(lost)
    await loseCatalog(lost)
    const first = await rig.catalog.listVersions({}, { limit: 2, cursor: null })

    await round()

    const rest = await rig.catalog.listVersions({}, { limit: 500, cursor: first.nextCursor })
    const read = [first, rest].flatMap((page) => itemsOf<Version>(page).map(({ backupId }) => backupId))
    const others = ["n: 4", "n: 3", "n: 2", "n: 0"].map(async (content) => (await versionOf(content)).backupId)
    assert.deepEqual(read, await Promise.all(others))
  })

  test("waits while the place is away", async () => {
    const lost = await versionOf("n: 2")
    await copy(lost)
    await loseCatalog(lost)
    const getting = mock.method(target, "get", async () => {
      throw new Fault("vm_unreachable", "The host of the copies is away.")
    })
    await round()
    assert.equal((await rig.versions()).length, 4)
    getting.mock.restore()

    await round()

    assert.deepEqual(await contents(), whole)
  })

  test("stays aside where its copy is rotten too, and the others come home", async () => {
    const [lost, other] = [await versionOf("n: 1"), await versionOf("n: 2")]
    await copy(lost, other)
    const path = join(place, fileNameOf(lost))
    await writeFile(path, (await readFile(path)).subarray(0, -1))
    await loseCatalog(lost, other)

    await round()

    assert.deepEqual(await contents(), ["n: 4", "n: 3", "n: 2", "n: 0"])
    assert.deepEqual(healed, [other.backupId])
  })

  test("stays aside where its copy does not open, and leaves nothing in the store", async () => {
    const lost = await versionOf("n: 1")
    await copy(lost)
    await loseCatalog(lost)
    mock.method(rig.blobs, "open", async () => {
      throw new Fault("backup_corrupt", "It does not open.")
    })

    await round()

    mock.restoreAll()
    assert.equal((await rig.versions()).length, 4)
    assert.deepEqual(healed, [])
  })

  test("stays aside where there is no copy, or no place for any", async () => {
    const lost = await versionOf("n: 1")
    const sealed = await rig.blobs.sealed(lost)
    await loseCatalog(lost)
    await round()
    await target.put(fileNameOf(lost), sealed)
    withCopies = false
    await rig.stop()
    rig = await startRig(rig)

    await round()

    assert.equal((await rig.versions()).length, 4)
  })

  test("comes home though the place can never give another one", async () => {
    const [rotten, lost] = [await versionOf("n: 1"), await versionOf("n: 2")]
    await copy(lost)
    await loseCatalog(rotten, lost)
    const getting = target.get.bind(target)
    mock.method(target, "get", async (name: string) => {
      if (name === fileNameOf(rotten)) throw new Fault("backup_storage_unavailable", "A sector cannot be read.")
      return getting(name)
    })

    for (let n = 0; n < 2; n += 1) await round()

    assert.deepEqual(await contents(), ["n: 4", "n: 3", "n: 2", "n: 0"])
  })

  test("comes up in turn where there are very many", async () => {
    for (let n = 0; n < 450; n += 1) rig.blobs.aside.set(`vm01/app/id-${n}`, Buffer.of())
    const asked = new Map<string, number>()
    mock.method(target, "get", async (name: string) => {
      asked.set(name, (asked.get(name) ?? 0) + 1)
      return null
    })

    for (let n = 0; n < 6; n += 1) await round()

    assert.equal(asked.size, 450)
    assert.ok([...asked.values()].every((times) => times === 2))
  })

  test("is asked for again, in the next round, where there was no copy: a mount may have been away", async () => {
    const lost = await versionOf("n: 1")
    const sealed = await rig.blobs.sealed(lost)
    await loseCatalog(lost)
    await round()
    await target.put(fileNameOf(lost), sealed)

    await round()

    assert.deepEqual(await contents(), whole)
  })

  test("comes home no more once it was removed on purpose, though the place has its copy still", async () => {
    const lost = await versionOf("n: 0")
    await copy(lost)
    await loseCatalog(lost)
    await round()
    assert.deepEqual(await contents(), whole)
    await rig.catalog.noteCopy({ backupId: lost.backupId, work: "queued" }, { kind: "copied", at: "2026" })
    for (let day = 0; day < 400; day += 1) {
      time.pass(1)
      await rig.retentionClock.now()
    }
    assert.ok((await rig.retention.purge(forced)).removed.includes(lost.backupId))
    healed = []
    await rig.stop()
    rig = await startRig(rig)

    await round()

    assert.deepEqual([await contents(), healed], [["n: 4"], []])
  })

  test("is pinned before a purge sees it", async () => {
    const lost = await versionOf("n: 0")
    await rig.versionNotes.annotate(lost.backupId, { pinned: true })
    await copy(lost)
    await loseCatalog(lost)
    for (let day = 0; day < 400; day += 1) {
      time.pass(1)
      await rig.retentionClock.now()
    }
    const imports = rig.catalog.importVersions.bind(rig.catalog)
    let purged: Promise<unknown> = Promise.resolve()
    mock.method(rig.catalog, "importVersions", async (versions: Parameters<typeof imports>[0]) => {
      await imports(versions)
      purged = rig.retention.purge(forced)
    })

    await round()
    await purged

    assert.deepEqual(await contents(), ["n: 4", "n: 0"])
  })

  test("keeps nobody from looking at the others where it cannot be looked for", async () => {
    const lost = await versionOf("n: 1")
    await loseCatalog(lost)
    time.pass(2)
    rig.blobs.failing.set("list", "backup_storage_unavailable")

    assert.equal((await round()).looked, 1)

    rig.blobs.failing.clear()
    assert.deepEqual(rig.problems, ["versions that were put aside could not be brought home"])
  })

  test("is left alone once the service stops", async () => {
    const lost = await versionOf("n: 1")
    await copy(lost)
    await loseCatalog(lost)

    await round(AbortSignal.abort())

    assert.equal((await rig.versions()).length, 4)
  })
})
