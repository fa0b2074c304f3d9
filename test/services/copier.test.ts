import assert from "node:assert/strict"
import { randomUUID } from "node:crypto"
import { cp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { DiskLegacyStore } from "../../src/blobs/legacy.ts"
import { parseNotes } from "../../src/blobs/notes.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import type { BlobStore } from "../../src/domain/blob-store.ts"
import type { CopyTarget } from "../../src/domain/copies.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { Note } from "../../src/domain/notes.ts"
import { Copier } from "../../src/services/copier.ts"
import { NotesCopy } from "../../src/services/notes-copy.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { aBlob, fileOf, keyringOf, type NewBlob, refOf } from "../blobs/blobs.ts"
import { keysOf, putLegacy } from "../blobs/legacy-files.ts"
import { MemoryBlobStore } from "../fakes/memory-blob-store.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { anImport } from "../sqlite/records.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

const marker = "config-manager-copies.txt"
const holder = "config-manager-service.txt"
const legacyKey = Buffer.alloc(32, 0x11)

/** A place for copies that can be made to refuse. */
class Gate implements CopyTarget {
  readonly name: string
  readonly parallel: number
  readonly inner: CopyTarget
  refuse: (name: string) => Fault | null = () => null
  puts: string[] = []
  onPut: (name: string) => Promise<void> = async () => {}

  constructor(inner: CopyTarget, parallel = 2) {
    this.inner = inner
    this.name = inner.name
    this.parallel = parallel
  }

  async put(name: string, bytes: Buffer): Promise<void> {
    this.#look(name)
    this.puts.push(name)
    await this.inner.put(name, bytes)
    await this.onPut(name)
  }

  async get(name: string): Promise<Buffer | null> {
    this.#look(name)
    return this.inner.get(name)
  }

  async remove(name: string): Promise<void> {
    this.#look(name)
    await this.inner.remove(name)
  }

  list(): AsyncIterable<string> {
    return this.inner.list()
  }

  #look(name: string): void {
    const fault = this.refuse(name)
    if (fault) throw fault
  }
}

const away = (): Fault => new Fault("vm_unreachable", "The host of the copies is away.")

suite("Copier", () => {
  let dir: string
  let place: string
  let store: string
  let catalog: SqliteCatalog
  let blobs: MemoryBlobStore
  let legacy: DiskLegacyStore
  let target: Gate
  let copier: Copier
  let told: (string | null)[]
  let now: number
  /** What was taken in from the place. */
  let taken: (readonly Note[])[]

  function makeCopier(over: { readonly blobs?: BlobStore } = {}): Copier {
    const files = new DiskStoreFiles(store)
    const clock = () => new Date(now)
    const onChange = (problem: string | null) => void told.push(problem)
    const versionNotes = {
      ready: async () => {},
      applyNotes: async () => 0,
      takeIn: async (notes: readonly Note[]) => void taken.push(notes),
      endSearch: async () => false,
    }
    const notes = new NotesCopy({ catalog, files, target, versionNotes, parse: parseNotes, onFound: () => {} })
    const given = { catalog, blobs, legacy, files, target, notes }
    return new Copier({ ...given, clock, random: () => 0.5, onChange, ...over })
  }

  beforeEach(async () => {
    dir = makeTemporary("copier")
    place = makeTemporary("copies")
    store = makeTemporary("store")
    catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
    blobs = new MemoryBlobStore()
    legacy = await DiskLegacyStore.open({ location: store, keys: keysOf([legacyKey]) })
    target = new Gate(new DirectoryTarget(place))
    told = []
    taken = []
    // The catalog's triggers go by the real clock: what they queue is due by then.
    now = Date.now() + 1000
    copier = makeCopier()
  })
  afterEach(async () => {
    await copier.stop()
    catalog.close()
    for (const each of [dir, place, store]) await removeTemporary(each)
  })

  const open = (...keys: readonly [number, ...number[]]) =>
    DiskBlobStore.open({ location: store, keyring: keyringOf(...keys) })

  async function make(text: string, backupId: string = randomUUID()): Promise<NewBlob> {
    const blob = aBlob(text, { backup_id: backupId })
    await blobs.put([blob])
    await enter(blob)
    return blob
  }

  /** Its row, as a version's comes and a corrected one comes anew. */
  function enter(blob: NewBlob): Promise<void> {
    return catalog.importVersions([anImport({ ...refOf(blob), digest: "d".repeat(64) })])
  }

  async function copies(): Promise<readonly string[]> {
    const entries = await readdir(place, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => !entry.isDirectory())
    const names = files.map((entry) => relative(place, join(entry.parentPath, entry.name))).sort()
    return names.filter((name) => name !== holder)
  }

  const nameOf = (blob: NewBlob) => `vm01/central/${blob.header.backup_id}.cmb`

  test("copies what was there before and what comes afterwards, byte for byte", async () => {
    const first = await make("first")
    await copier.pass()
    const second = await make("second")
    await copier.pass()

    assert.deepEqual(await copies(), [marker, ...[first, second].map(nameOf)].sort())
    for (const blob of [first, second]) {
      assert.deepEqual(await readFile(join(place, nameOf(blob))), await blobs.sealed(refOf(blob)))
    }
    assert.deepEqual(await copier.health(), { ok: true, detail: `${place} has a copy of every version.` })
  })

  test("copies nothing to a place that leads back to the store, and leaves no mark there", async () => {
    const link = join(place, "link")
    await symlink(store, link)
    target = new Gate(new DirectoryTarget(link))
    copier = makeCopier()
    await make("first")

    for (let n = 0; n < 2; n += 1) await copier.pass()

    const { ok, detail } = await copier.health()
    assert.deepEqual([ok, /leads to the directory of the backups itself/.test(detail)], [false, true])
    assert.deepEqual(await readdir(store), [])
  })

  test("copies nothing there either where the mark came home to the store with the copies, or is empty", async () => {
    const link = join(place, "link")
    await symlink(store, link)
    for (const text of ["Copies.\n", ""]) {
      await writeFile(join(store, marker), text)
      target = new Gate(new DirectoryTarget(link))
      copier = makeCopier()
      await make(text)
      await copier.pass()
      const { ok, detail } = await copier.health()
      assert.deepEqual([ok, /leads to the directory of the backups itself/.test(detail)], [false, true])
      await copier.stop()
    }
    assert.deepEqual(
      (await readdir(store)).filter((name) => name !== marker),
      [],
    )
  })

  test("goes on copying elsewhere where the mark came home to the store, and leaves nothing of its look", async () => {
    await writeFile(join(store, marker), "Copies.\n")
    await writeFile(join(place, marker), "Copies.\n")
    const blob = await make("first")
    target.refuse = (name) => (name.includes("probe") ? new Fault("storage_full", "There is no room.") : null)
    await copier.pass()
    assert.deepEqual(await copies(), [marker, nameOf(blob)].sort())
    target.refuse = () => null
    await copier.pass()
    assert.deepEqual(await copies(), [marker, nameOf(blob)].sort())
    assert.deepEqual(told, [])
  })

  test("copies the files beside the blobs, and again when they change, and not otherwise", async () => {
    await writeFile(join(store, "keyring.json"), "one")
    await writeFile(join(store, "notes.jsonl"), "{}")
    await copier.pass()
    await copier.pass()
    await writeFile(join(store, "keyring.json"), "two")
    await copier.pass()

    assert.equal(await readFile(join(place, "keyring.json"), "utf8"), "two")
    assert.deepEqual(
      target.puts.filter((name) => name !== marker && name !== holder),
      ["keyring.json", "notes.jsonl", "keyring.json"],
    )
  })

  test("takes copies away whose versions have gone, and no others", async () => {
    const [gone, kept] = [await make("gone"), await make("kept")]
    await copier.pass()
    await catalog.removeVersions([gone.header.backup_id])
    await copier.pass()

    assert.deepEqual(await copies(), [marker, nameOf(kept)].sort())
    assert.equal(await catalog.nextCopyAt(), null)
  })

  test("keeps what it could not do, waits longer each time, and tells of it once", async () => {
    await copier.pass()
    const blob = await make("x")
    target.refuse = away
    for (let round = 0; round < 3; round++) {
      await copier.pass()
      now += 60_000
    }

    assert.equal((await catalog.copyLag()).waiting, 1)
    assert.deepEqual(told, ["The host of the copies is away."])
    const { ok, detail } = await copier.health()
    assert.equal(ok, false)
    assert.match(detail, /^1 copies to .* wait, the oldest since .* The host of the copies is away\.$/)

    target.refuse = () => null
    await copier.pass()
    assert.deepEqual(await copies(), [marker, nameOf(blob)].sort())
    assert.deepEqual(told, ["The host of the copies is away.", null])
    assert.equal((await copier.health()).ok, true)
  })

  test("counts all that waits for a place that was never reached yet, and does not call it copied", async () => {
    await make("x")
    await make("y")
    assert.match((await copier.health()).detail, /has not begun/)
    target.refuse = away

    await copier.pass()

    const { ok, detail } = await copier.health()
    assert.equal(ok, false)
    assert.match(detail, /^2 copies to /)
    assert.deepEqual((await copier.lag()).isFailing, true)
  })

  test("tries a place that is away again soon, although nothing is to be copied", async () => {
    await copier.pass()
    let asked = 0
    const again = Promise.withResolvers<void>()
    target.refuse = () => {
      asked += 1
      if (asked === 2) again.resolve()
      return away()
    }

    await copier.pass()
    // The first pause: a second, give or take a fifth.
    await again.promise
  })

  test("says nothing of copies that wait for a moment, and tells of those that wait for long", async () => {
    await copier.pass()
    await make("x")
    assert.equal((await copier.health()).ok, true)
    now += 6 * 60_000
    assert.equal((await copier.health()).ok, false)
  })

  test("is not kept from the others by a file that the place never takes", async () => {
    await copier.pass()
    const [bad, good] = [await make("bad"), await make("good")]
    target.refuse = (name) => (name === nameOf(bad) ? new Fault("write_failed", "It cannot be written.") : null)

    for (let round = 0; round < 3; round++) {
      await copier.pass()
      now += 20 * 60_000
    }

    assert.ok((await copies()).includes(nameOf(good)))
    assert.deepEqual(await catalog.isCopied(good.header.backup_id), true)
    assert.deepEqual(await catalog.isCopied(bad.header.backup_id), false)
  })

  test("makes room on a full place by what has gone, though other work has waited longer", async () => {
    const old = await make("old")
    await copier.pass()
    for (let n = 0; n < 100; n += 1) await make(`new ${n}`)
    await writeFile(join(store, "notes.jsonl"), "{}\n")
    await catalog.removeVersions([old.header.backup_id])
    now += 1000
    const full = new Fault("storage_full", "There is no room left.")
    let isFull = true
    target.refuse = (name) => {
      // Whatever is removed makes room for the rest; the marks are only read.
      if (name === nameOf(old)) isFull = false
      return isFull && name !== marker && name !== holder ? full : null
    }

    await copier.pass()

    assert.equal((await copies()).includes(nameOf(old)), false)
    assert.equal((await copies()).length, 102)
    assert.deepEqual(told, [])
  })

  test("copies no blob that is damaged or missing here, and goes on with the others", async () => {
    await copier.pass()
    const [damaged, missing, good] = [await make("damaged"), await make("missing"), await make("good")]
    blobs.damage(refOf(damaged))
    await blobs.remove(refOf(missing))

    await copier.pass()

    assert.deepEqual(await copies(), [marker, nameOf(good)].sort())
    assert.equal((await catalog.copyLag()).waiting, 2)
    assert.notEqual((await catalog.copyLag()).problem, null)
  })

  test("writes nothing to a place that is another than before", async () => {
    await make("first")
    await copier.pass()
    await rm(join(place, marker))
    await make("second")
    const before = await copies()

    await copier.pass()

    assert.deepEqual(await copies(), before)
    assert.match((await copier.health()).detail, /not the place it was, or not mounted/)
  })

  test("writes nothing to a place that was swapped for an empty one while it copied, and takes nothing for copied", async () => {
    await copier.pass()
    const blob = await make("x")
    const put = target.inner.put.bind(target.inner)
    target.inner.put = async (name, bytes) => {
      await put(name, bytes)
      await rm(join(place, marker))
    }

    await copier.pass()

    assert.equal(await catalog.isCopied(blob.header.backup_id), false)
    assert.match((await copier.health()).detail, /not the place it was, or not mounted/)
  })

  test("takes what it copied for copied also where the place goes away right afterwards", async () => {
    await copier.pass()
    const blob = await make("x")
    const put = target.inner.put.bind(target.inner)
    target.inner.put = async (name, bytes) => {
      await put(name, bytes)
      target.refuse = away
    }

    await copier.pass()

    assert.equal(await catalog.isCopied(blob.header.backup_id), true)
  })

  test("copies everything anew to a place whose empty marker was put there by hand", async () => {
    await writeFile(join(store, "keyring.json"), "one")
    const blob = await make("x")
    await copier.pass()
    for (const each of await copies()) await rm(join(place, each))
    await writeFile(join(place, marker), "")

    await copier.pass()

    assert.deepEqual(await copies(), [marker, "keyring.json", nameOf(blob)].sort())
    assert.notEqual(await readFile(join(place, marker), "utf8"), "")
  })

  suite("to a place that was put back as it stood before", () => {
    let old: NewBlob
    let later: readonly NewBlob[]
    /** Three versions are copied, the last two after the snapshot; a fourth went since, which is still to be taken away there. */
    beforeEach(async () => {
      old = await make("old")
      const gone = await make("gone")
      await copier.pass()
      const [middle, newest] = ["0199", "ffff"].map((start) => `${start}0000-0000-7000-8000-000000000000`)
      later = [await make("middle", middle), await make("newest", newest)]
      await copier.pass()
      await catalog.removeVersions([gone.header.backup_id])
      for (const blob of later) await rm(join(place, nameOf(blob)))
      target.puts = []
    })

    test("copies everything anew at the next start, and still takes away what has gone", async () => {
      await copier.stop()
      copier = makeCopier()

      await copier.pass()

      assert.deepEqual(await copies(), [marker, ...[old, ...later].map(nameOf)].sort())
    })

    test("copies everything anew once it can be reached again", async () => {
      target.refuse = away
      await copier.pass()
      target.refuse = () => null

      await copier.pass()

      assert.deepEqual(await copies(), [marker, ...[old, ...later].map(nameOf)].sort())
    })

    test("copies nothing anew for a version that is known to be gone here, too", async () => {
      for (const blob of later) {
        await catalog.markVersion(blob.header.backup_id, { state: "missing", verifiedAt: null })
      }
      await copier.stop()
      copier = makeCopier()

      await copier.pass()

      assert.deepEqual(target.puts, [holder])
    })
  })

  test("goes on where the newest copy alone cannot be read after a restart, and asks for it again", async () => {
    const newest = await make("newest", "ffff0000-0000-7000-8000-000000000000")
    await copier.pass()
    await copier.stop()
    copier = makeCopier()
    const next = await make("next", "00000000-0000-7000-8000-000000000000")
    const rotten = new Fault("backup_storage_unavailable", "The disk there fails at this file.")
    target.refuse = (name) => (name === nameOf(newest) ? rotten : null)

    await copier.pass()
    assert.equal(await catalog.isCopied(next.header.backup_id), true)

    target.refuse = () => null
    await rm(join(place, nameOf(newest)))
    await copier.pass()
    assert.deepEqual(await copies(), [marker, nameOf(newest), nameOf(next)].sort())
  })

  suite("to a place that was put back to a snapshot which has the newest copy", () => {
    let snapshot: string
    let newest: NewBlob
    let under: NewBlob
    const putBack = async () => {
      await rm(place, { recursive: true })
      await cp(snapshot, place, { recursive: true })
      target.puts = []
    }
    const beAway = async () => {
      target.refuse = away
      await copier.pass()
      target.refuse = () => null
    }
    const emptyPlace = async () => {
      for (const name of await readdir(place)) await rm(join(place, name), { recursive: true })
      await writeFile(join(place, marker), "")
    }
    const restart = async () => {
      await copier.stop()
      copier = makeCopier()
    }

    /** Since the snapshot the newest was copied anew, as after a rewrap, and one was made under a clock that was set back. */
    beforeEach(async () => {
      snapshot = join(makeTemporary("snapshot"), "place")
      newest = await make("newest", "ffff0000-0000-7000-8000-000000000000")
      await copier.pass()
      await cp(place, snapshot, { recursive: true })
      await restart()
      under = await make("under", "00000000-0000-7000-8000-000000000000")
      await enter(newest)
      await copier.pass()
    })
    afterEach(() => removeTemporary(join(snapshot, "..")))

    test("copies everything anew at the next start", async () => {
      await putBack()
      await restart()

      await copier.pass()

      assert.deepEqual(target.puts.filter((name) => name !== holder).sort(), [nameOf(under), nameOf(newest)])
    })

    test("copies everything anew in a process that was started after the snapshot, and takes it for no other service's", async () => {
      await putBack()

      await copier.pass()

      assert.deepEqual(target.puts.filter((name) => name !== holder).sort(), [nameOf(under), nameOf(newest)])
      assert.deepEqual(told, [])
      const later = await make("later")
      await copier.pass()
      assert.ok((await copies()).includes(nameOf(later)))
    })

    test("counts nothing as copied where it is put back meanwhile, and copies it anew", async () => {
      const later = await make("later")
      target.onPut = async (name) => {
        if (name === nameOf(later)) await putBack()
      }
      await copier.pass()
      assert.match(told.at(-1) ?? "", /was put back/)
      target.onPut = async () => {}

      await copier.pass()

      assert.deepEqual(await copies(), [marker, ...[later, under, newest].map(nameOf)].sort())
    })

    for (const name of ["keyring.json", "notes.jsonl"]) {
      for (const [what, goAway] of [
        ["", async () => {}],
        [" while it was away", () => beAway()],
      ] as const) {
        test(`copies ${name} anew where nothing else had changed since the snapshot${what}`, async () => {
          await writeFile(join(store, "notes.jsonl"), "ours")
          await writeFile(join(store, "keyring.json"), "{}")
          for (let round = 0; round < 2; round += 1) await copier.pass()
          await rm(snapshot, { recursive: true })
          await cp(place, snapshot, { recursive: true })
          await writeFile(join(store, name), "changed")
          await copier.pass()
          assert.equal(await readFile(join(place, name), "utf8"), "changed")
          await goAway()
          await putBack()

          for (let round = 0; round < 2; round += 1) await copier.pass()

          assert.equal(await readFile(join(place, name), "utf8"), "changed")
        })
      }
    }

    for (const [what, change] of [
      ["was put back", async () => {}],
      ["lost all, and got an empty mark by hand", () => emptyPlace()],
    ] as const) {
      test(`makes the files beside the blobs anew, too, where it ${what} and is away in the moment when that is found`, async () => {
        await writeFile(join(store, "keyring.json"), "{}")
        await writeFile(join(store, "notes.jsonl"), "ours")
        for (let round = 0; round < 2; round += 1) await copier.pass()
        await putBack()
        await change()
        const put = target.inner.put.bind(target.inner)
        target.inner.put = async (name, bytes) => {
          if (name === holder) throw away()
          await put(name, bytes)
        }
        await copier.pass()
        assert.deepEqual(told, ["The host of the copies is away."])
        target.inner.put = put

        for (let round = 0; round < 2; round += 1) await copier.pass()

        assert.equal(await readFile(join(place, "notes.jsonl"), "utf8"), "ours")
        assert.equal(await readFile(join(place, "keyring.json"), "utf8"), "{}")
      })
    }

    test("copies anew what is taken away later by a putting back that takes its time", async () => {
      const later = await make("later", "ffff0000-0000-7000-8000-000000000001")
      await copier.pass()
      await cp(join(snapshot, holder), join(place, holder))
      await copier.pass()
      assert.deepEqual(await copies(), [marker, ...[under, newest, later].map(nameOf)].sort())
      for (const blob of [under, later]) await rm(join(place, nameOf(blob)))

      await copier.pass()

      assert.deepEqual(await copies(), [marker, ...[under, newest, later].map(nameOf)].sort())
    })

    test("begins once, also where the place is too full to be held", async () => {
      await putBack()
      await restart()
      target.refuse = (name) => (name === holder ? new Fault("storage_full", "Full.") : null)
      target.get = (name) => target.inner.get(name)

      for (let round = 0; round < 3; round += 1) await copier.pass()

      assert.deepEqual(target.puts.sort(), [nameOf(under), nameOf(newest)])
    })

    test("copies nothing anew that was not put back, though an earlier process ended before it noted that it copied", async () => {
      await restart()
      const counted = await catalog.fact("copy_count")
      assert.ok(counted)
      await catalog.setFact("copy_count", String(Number(counted) - 1))
      target.puts = []

      await copier.pass()

      assert.deepEqual(target.puts, [holder])
    })
  })

  test("counts from the place where a flipped bit made what was counted no number, and goes on copying", async () => {
    const blob = await make("x")
    await copier.pass()
    await catalog.setFact("copy_count", "r")
    await copier.stop()
    copier = makeCopier()
    await copier.pass()
    const later = await make("y")
    await copier.pass()
    target.puts = []

    await copier.pass()

    assert.deepEqual(target.puts, [])
    assert.deepEqual(await copies(), [marker, nameOf(blob), nameOf(later)].sort())
    assert.match(await readFile(join(place, holder), "utf8"), /^[0-9a-f-]{36} \d+$/m)
  })

  test("copies all anew but once where a flipped bit made what was counted higher", async () => {
    const blob = await make("x")
    await copier.pass()
    await catalog.setFact("copy_count", "999999")
    await copier.pass()
    target.puts = []

    for (let round = 0; round < 3; round += 1) await copier.pass()

    assert.deepEqual(target.puts, [])
    assert.deepEqual(await copies(), [marker, nameOf(blob)].sort())
  })

  test("copies everything anew where the place is known and the catalog is not, as after a bad day", async () => {
    const blob = await make("x")
    await copier.pass()
    await rm(join(place, nameOf(blob)))
    await catalog.setCopyTarget(null, new Date(now).toISOString())
    await catalog.setFact("copy_marked", "")

    await copier.pass()
    const later = await make("y")
    await copier.pass()

    assert.deepEqual(await copies(), [marker, nameOf(blob), nameOf(later)].sort())
  })

  for (const [what, spoil] of [
    ["", async () => {}],
    [", whose mark was emptied", () => writeFile(join(place, marker), "")],
    [
      ", whose mark is gone",
      async () => {
        await rm(join(place, marker))
        // As where the place is named for the first time.
        await catalog.setFact("copy_marked", "")
      },
    ],
  ] as const) {
    test(`writes nothing over the copies of another store${what}, and takes no note from there`, async () => {
      await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "a".repeat(32) }))
      await writeFile(join(store, "notes.jsonl"), "theirs")
      await copier.pass()
      await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "b".repeat(32) }))
      await writeFile(join(store, "notes.jsonl"), "ours")
      await spoil()
      const before = await copies()
      await make("x")

      await makeCopier().pass()

      assert.deepEqual(await copies(), before)
      assert.equal(await readFile(join(place, "notes.jsonl"), "utf8"), "theirs")
      assert.match(told.at(-1) ?? "", /holds the copies of another store/)
      assert.deepEqual(taken, [])
    })
  }

  test("goes on at a place whose keyring was moved away and whose mark was emptied: it is this store's, which has another keyring now", async () => {
    await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "a".repeat(32) }))
    await copier.pass()
    await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "b".repeat(32) }))
    const blob = await make("x")
    await writeFile(join(place, marker), "")
    await rm(join(place, "keyring.json"))

    await makeCopier().pass()

    assert.deepEqual(await copies(), [marker, "keyring.json", nameOf(blob)].sort())
  })

  test("stops where another service with this keyring, as a clone's, has begun to copy to the place, and removes nothing", async () => {
    await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "a".repeat(32) }))
    const blob = await make("x")
    await copier.pass()
    const clone = makeCopier()
    await clone.pass()
    await catalog.removeVersions([blob.header.backup_id])

    await copier.pass()

    assert.ok((await copies()).includes(nameOf(blob)))
    assert.match(told.at(-1) ?? "", /Another service .* copies to/)
    // As it does once it is started again: then it is the other that stops.
    await makeCopier().pass()
    assert.ok(!(await copies()).includes(nameOf(blob)))
    await clone.pass()
    assert.match(told.at(-1) ?? "", /Another service .* copies to/)
    await clone.stop()
  })

  test("counts nothing as copied where another store claimed the place in the same moment", async () => {
    await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "a".repeat(32) }))
    const blob = await make("x")
    target.onPut = async (name) => {
      if (name === nameOf(blob)) await writeFile(join(place, marker), `Store ${"b".repeat(32)}\n`)
    }
    await copier.pass()

    assert.equal(await catalog.isCopied(blob.header.backup_id), false)
    assert.match(told.at(-1) ?? "", /holds the copies of another store/)
  })

  test("puts nothing over the files of another store that claimed the place in the same moment", async () => {
    await writeFile(join(store, "keyring.json"), JSON.stringify({ scryptSalt: "a".repeat(32) }))
    const theirs = JSON.stringify({ scryptSalt: "b".repeat(32) })
    target.onPut = async (name) => {
      if (name !== marker) return
      await writeFile(join(place, marker), `Store ${"b".repeat(32)}\n`)
      await writeFile(join(place, "keyring.json"), theirs)
    }

    await copier.pass()

    assert.equal(await readFile(join(place, "keyring.json"), "utf8"), theirs)
    assert.match(told.at(-1) ?? "", /holds the copies of another store/)
  })

  test("puts its files at a new place once more, in the next round: another store that lost it may have written over them", async () => {
    const keyring = JSON.stringify({ scryptSalt: "a".repeat(32) })
    await writeFile(join(store, "keyring.json"), keyring)
    await writeFile(join(store, "notes.jsonl"), "ours")
    await copier.pass()
    for (const name of ["keyring.json", "notes.jsonl"]) await writeFile(join(place, name), "theirs")

    await copier.pass()

    assert.equal(await readFile(join(place, "keyring.json"), "utf8"), keyring)
    assert.equal(await readFile(join(place, "notes.jsonl"), "utf8"), "ours")
  })

  test("goes on after a clock that was years ahead is set right", async () => {
    await copier.pass()
    const blob = await make("x")
    target.refuse = away
    now += 10 * 365 * 24 * 60 * 60_000
    await copier.pass()
    target.refuse = () => null
    now = Date.now() + 1000

    await copier.pass()

    assert.equal(await catalog.isCopied(blob.header.backup_id), true)
  })

  test("does not tell of the end of the service as a problem of the place", async () => {
    await copier.pass()
    target.refuse = () => {
      void copier.stop()
      return away()
    }

    await copier.pass()

    assert.deepEqual(told, [])
  })

  test("copies everything to a place that is named for the first time, also after copying to another", async () => {
    const blob = await make("x")
    await copier.pass()
    const other = makeTemporary("copies")
    target = new Gate(new DirectoryTarget(other))
    const next = makeCopier()

    await next.pass()

    assert.deepEqual(await readFile(join(other, nameOf(blob))), await blobs.sealed(refOf(blob)))
    await next.stop()
    await removeTemporary(other)
  })

  test("copies nothing that no loaded key opens over a copy that one does, and says what brings it home", async () => {
    const blob = aBlob("text")
    await (await open(0x11)).put([blob])
    const old = await readFile(fileOf(store, refOf(blob)))
    await (await open(0x22, 0x11)).rewrap(refOf(blob))
    const moved = await readFile(fileOf(store, refOf(blob)))
    const newer = await open(0x22)
    const pass = async (): Promise<Buffer> => {
      await enter(blob)
      copier = makeCopier({ blobs: newer })
      await copier.pass()
      return readFile(join(place, nameOf(blob)))
    }
    assert.deepEqual(await pass(), moved)

    await writeFile(fileOf(store, refOf(blob)), old)
    assert.deepEqual(await pass(), moved)
    const { detail } = await copier.health()
    assert.match(detail, new RegExp(`POST /backups/${blob.header.backup_id}/verify brings it home`))

    await writeFile(join(place, nameOf(blob)), old.subarray(1))
    assert.deepEqual(await pass(), old)
  })

  test("copies nothing that another key opens over a copy that the active one does", async () => {
    const blob = aBlob("text")
    await (await open(0x11)).put([blob])
    const old = await readFile(fileOf(store, refOf(blob)))
    const both = await open(0x22, 0x11)
    const pass = async (): Promise<Buffer> => {
      await enter(blob)
      copier = makeCopier({ blobs: both })
      await copier.pass()
      assert.equal((await catalog.copyLag()).waiting, 0)
      return readFile(join(place, nameOf(blob)))
    }
    assert.deepEqual(await pass(), old)
    await both.rewrap(refOf(blob))
    const moved = await readFile(fileOf(store, refOf(blob)))
    assert.deepEqual(await pass(), moved)

    await writeFile(fileOf(store, refOf(blob)), old)

    assert.deepEqual(await pass(), moved)
  })

  test("copies legacy backups under their names", async () => {
    const backupId = "backup_vm01_central_20260102_030405.enc"
    await writeFile(join(store, backupId), "sealed long ago, by a key that is not loaded")
    await catalog.importVersions([anImport({ backupId, format: "legacy" })])

    await copier.pass()

    assert.equal(await readFile(join(place, backupId), "utf8"), "sealed long ago, by a key that is not loaded")
  })

  test("copies no legacy backup over another one that does not open here, and tells of it", async () => {
    const file = { vmId: "vm01", type: "central", stamp: "20260102_030405" }
    const backupId = putLegacy(store, file, "{}", legacyKey)
    const enterAnew = () => catalog.importVersions([anImport({ backupId, format: "legacy" })])
    await enterAnew()
    await copier.pass()
    const good = await readFile(join(store, backupId))
    await writeFile(join(store, backupId), Buffer.alloc(good.length))

    await enterAnew()
    await copier.pass()

    assert.deepEqual(await readFile(join(place, backupId)), good)
    assert.match((await copier.health()).detail, /No loaded key opens .* it is left as it is/)

    await rm(join(place, backupId))
    putLegacy(store, file, "{}", legacyKey)
    await enterAnew()
    await copier.pass()
    assert.deepEqual(await readFile(join(place, backupId)), await readFile(join(store, backupId)))
  })

  test("copies no legacy backup over another one where its row names no digest", async () => {
    const file = { vmId: "vm01", type: "central", stamp: "20240102_030405" }
    const backupId = putLegacy(store, file, '{"A": {"deep": 9}}', legacyKey)
    await catalog.importVersions([anImport({ backupId, format: "legacy", digest: null, size: null })])
    await copier.pass()
    const copy = await readFile(join(place, backupId))
    putLegacy(store, file, '{"B": {"deep": 8}}', legacyKey)
    await catalog.setCopyTarget(null, new Date(now).toISOString())

    await copier.pass()

    assert.deepEqual(await readFile(join(place, backupId)), copy)
    assert.match((await copier.health()).detail, /is not known to be the backup that was entered/)
  })

  test("copies no legacy backup over its copy that is not the one that its row names", async () => {
    const file = { vmId: "vm01", type: "central", stamp: "20260102_030405" }
    const backupId = putLegacy(store, file, '{"port": 1}', legacyKey)
    const digest = digestOf(Buffer.from("port: 1\n"))
    await catalog.importVersions([anImport({ backupId, format: "legacy", digest })])
    await copier.pass()
    const good = await readFile(join(place, backupId))

    putLegacy(store, file, '{"port": 2}', legacyKey)
    await catalog.setCopyTarget(null, new Date(now).toISOString())
    await copier.pass()

    assert.deepEqual(await readFile(join(place, backupId)), good)
    assert.match((await copier.health()).detail, /is not the backup that was entered, .* it is left as it is/)
  })

  test("copies no legacy backup over its copy that opens and holds another one, whatever row the one here has got since", async () => {
    const file = { vmId: "vm01", type: "central", stamp: "20260102_030405" }
    const backupId = putLegacy(store, file, '{"port": 1}', legacyKey)
    const enterAs = (port: number) => {
      const digest = digestOf(Buffer.from(`port: ${port}\n`))
      return catalog.importVersions([anImport({ backupId, format: "legacy", digest })])
    }
    await enterAs(1)
    await copier.pass()
    const good = await readFile(join(place, backupId))

    putLegacy(store, file, '{"port": 2}', legacyKey)
    await enterAs(2)
    await copier.pass()

    assert.deepEqual(await readFile(join(place, backupId)), good)
    assert.match((await copier.health()).detail, /opens, too, and holds another backup: it is left as it is/)
    await rm(join(place, backupId))
    await enterAs(2)
    await copier.pass()
    assert.deepEqual(await readFile(join(place, backupId)), await readFile(join(store, backupId)))
  })

  test("keeps beside it what stands in the place of a legacy backup's copy and does not open", async () => {
    const file = { vmId: "vm01", type: "central", stamp: "20260102_030405" }
    const backupId = putLegacy(store, file, '{"port": 1}', legacyKey)
    const digest = digestOf(Buffer.from("port: 1\n"))
    await writeFile(join(place, backupId), "rotten, or sealed with another key")
    await catalog.importVersions([anImport({ backupId, format: "legacy", digest })])
    await copier.pass()

    assert.deepEqual(await readFile(join(place, backupId)), await readFile(join(store, backupId)))
    assert.equal(await readFile(join(place, `${backupId}.damaged`), "utf8"), "rotten, or sealed with another key")
    assert.deepEqual((await copier.health()).ok, true)
  })

  test("copies no legacy backup over another one where it opened only after it was entered", async () => {
    const file = { vmId: "vm01", type: "central", stamp: "20260102_030405" }
    const backupId = putLegacy(store, file, '{"port": 2}', legacyKey)
    await catalog.setFact(`legacy_sealed:${backupId}`, "")
    const digest = digestOf(Buffer.from("port: 2\n"))
    await writeFile(join(place, backupId), "sealed with a key that is not loaded yet")
    await catalog.importVersions([anImport({ backupId, format: "legacy", digest })])
    await copier.pass()

    assert.equal(await readFile(join(place, backupId), "utf8"), "sealed with a key that is not loaded yet")
    assert.match((await copier.health()).detail, /is not known to be the backup that was entered/)
  })

  test("copies anew what is entered anew", async () => {
    const blob = await make("x")
    await copier.pass()
    await writeFile(join(place, nameOf(blob)), "rotten")
    await enter(blob)

    await copier.pass()

    assert.deepEqual(await readFile(join(place, nameOf(blob))), await blobs.sealed(refOf(blob)))
  })

  test("copies once more what was to be copied anew while it was copied", async () => {
    const blob = await make("x")
    target.onPut = async (name) => {
      if (name !== nameOf(blob)) return
      target.onPut = async () => {}
      now += 1
      await catalog.queueCopy(blob.header.backup_id, new Date(now).toISOString())
    }

    await copier.pass()

    assert.deepEqual(
      target.puts.filter((name) => name === nameOf(blob)),
      [nameOf(blob), nameOf(blob)],
    )
    assert.equal(await catalog.isCopied(blob.header.backup_id), true)
  })

  test("takes up nothing more once it is stopped, and does not wait for a place that never answers", async () => {
    await copier.pass()
    await make("x")
    let release: () => void = () => {}
    const never = new Promise<void>((resolve) => {
      release = resolve
    })
    const get = target.inner.get.bind(target.inner)
    target.inner.get = async (name) => {
      await never
      return get(name)
    }
    copier.wake()

    await copier.stop(10)
    copier.wake()

    release()
    await copier.stop(2000)
    assert.deepEqual(await copies(), [marker])
  })
})
