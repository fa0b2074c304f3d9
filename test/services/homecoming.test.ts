import assert from "node:assert/strict"
import { readFile, rm, symlink, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { DiskLegacyStore } from "../../src/blobs/legacy.ts"
import { parseNotes } from "../../src/blobs/notes.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { stateOf } from "../../src/domain/notes.ts"
import { parseClockRecord } from "../../src/domain/retention-clock.ts"
import {
  bringKeyringHome,
  bringNotesHome,
  bringVersionsHome,
  type Homecoming,
  requireVersions,
} from "../../src/services/homecoming.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { aBlob, fileOf, keyringOf, type NewBlob, refOf } from "../blobs/blobs.ts"
import { keysOf, legacyFile } from "../blobs/legacy-files.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

const legacyKey = Buffer.alloc(32, 0x11)

class Killed extends Error {}

/** Of a process that is killed after so many writes of backups of the original service. */
class KilledFiles extends DiskStoreFiles {
  #left: number

  constructor(location: string, left: number) {
    super(location)
    this.#left = left
  }

  override async write(name: string, bytes: Buffer): Promise<void> {
    if (name.startsWith("backup_")) this.#left -= 1
    if (this.#left < 0) throw new Killed()
    await super.write(name, bytes)
  }
}

suite("What comes home from the copies", () => {
  let place: string
  let store: string
  let state: string
  let catalog: SqliteCatalog
  let target: DirectoryTarget
  let files: DiskStoreFiles
  let blobs: DiskBlobStore
  let legacy: DiskLegacyStore
  let findings: string[]
  const onFinding = (sentence: string) => void findings.push(sentence)

  beforeEach(async () => {
    place = makeTemporary("copies")
    store = makeTemporary("store")
    state = makeTemporary("state")
    catalog = SqliteCatalog.open({ path: join(state, "catalog.db"), migrationsDir })
    target = new DirectoryTarget(place)
    files = new DiskStoreFiles(store)
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x11) })
    legacy = await DiskLegacyStore.open({ location: store, keys: keysOf([legacyKey]) })
    findings = []
  })
  afterEach(async () => {
    catalog.close()
    for (const each of [place, store, state]) await removeTemporary(each)
  })

  const bringVersions = (known: SqliteCatalog | null = catalog): Promise<Homecoming> =>
    bringVersionsHome({ target, files, blobs, legacy, catalog: known, onFinding })
  const bringFiles = async (): Promise<void> => {
    await bringKeyringHome({ target, files, onFinding })
    await bringNotesHome({ target, files, parse: parseNotes, clock: () => new Date() })
  }
  const nameOf = (blob: NewBlob) => `vm01/central/${blob.header.backup_id}.cmb`

  /** A version that is copied and stands here no more. */
  async function copied(text: string): Promise<NewBlob> {
    const blob = aBlob(text)
    await blobs.put([blob])
    await target.put(nameOf(blob), await blobs.sealed(refOf(blob)))
    await blobs.remove(refOf(blob))
    return blob
  }

  test("is no backup of the original service that stands in a directory of its own there", async () => {
    await copied("a")
    await target.put("backup_2024/backup_vm01_central_20240101_000000.enc", Buffer.from("of the year before"))

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 0 })
  })

  test("is every version that does not stand here, once, however often it is asked for", async () => {
    const all = [await copied("a"), await copied("b"), await copied("c")]

    assert.deepEqual(await bringVersions(), { brought: 3, here: 0, damaged: 0 })
    assert.deepEqual(await bringVersions(), { brought: 0, here: 3, damaged: 0 })

    for (const blob of all) assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
  })

  test("is a version whose copy opens, in place of what no loaded key opens here, which is put aside", async () => {
    const blob = await copied("a")
    const old = await readFile(join(place, nameOf(blob)))
    await blobs.putSealed(refOf(blob), old)
    const newer = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22, 0x11) })
    await newer.rewrap(refOf(blob))
    await target.put(nameOf(blob), await newer.sealed(refOf(blob)))
    await writeFile(fileOf(store, refOf(blob)), old)
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22) })

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 0 })

    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
    assert.deepEqual(await readFile(join(store, ".unreadable", nameOf(blob))), old)
    await target.put(nameOf(blob), old)
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x33) })
    assert.deepEqual(await bringVersions(), { brought: 0, here: 1, damaged: 0 })
  })

  test("brings with its first version that what stamped it is not known, and only then", async () => {
    const blob = await copied("a")
    await blobs.put([blob])
    await bringVersions()
    assert.equal(await files.read("clock.json"), null)
    await blobs.remove(refOf(blob))
    await bringVersions()
    assert.equal(parseClockRecord(String(await files.read("clock.json")))?.ranMs, 0)
  })

  test("is the copy of a version that is damaged here; what was damaged is put aside", async () => {
    const blob = await copied("a")
    await bringVersions()
    await writeFile(fileOf(store, refOf(blob)), "rotten")

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 0 })

    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
    assert.equal(await readFile(fileOf(join(store, ".unreadable"), refOf(blob)), "utf8"), "rotten")
  })

  test("is no copy that is damaged, cut short, or another version's; the others come all the same", async () => {
    const [rotten, short, other, good] = [await copied("a"), await copied("b"), await copied("c"), await copied("d")]
    const sealed = await readFile(join(place, nameOf(good)))
    await writeFile(join(place, nameOf(rotten)), "rotten")
    await writeFile(join(place, nameOf(short)), (await readFile(join(place, nameOf(short)))).subarray(0, -1))
    await writeFile(join(place, nameOf(other)), sealed)

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 3 })

    assert.equal(findings.length, 3)
    for (const blob of [rotten, short, other]) {
      await assert.rejects(blobs.sealed(refOf(blob)), { code: "backup_missing" })
      assert.ok(findings.some((finding) => finding.includes(nameOf(blob))))
    }
  })

  test("are legacy backups under their names, and nothing that merely lies there", async () => {
    const legacy = "backup_vm01_central_20260102_030405.enc"
    await copied("a")
    for (const name of [legacy, "readme.txt", "vm01/central/notes.txt"]) await target.put(name, Buffer.from(name))

    assert.deepEqual(await bringVersions(), { brought: 2, here: 0, damaged: 0 })

    assert.equal(String(await files.read(legacy)), legacy)
    assert.equal(await files.read("readme.txt"), null)
  })

  test("is the copy of a backup of the original service that does not open here; what stood here is kept beside it", async () => {
    const sealed = legacyFile('{"port": 80}', legacyKey)
    await copied("a")
    const damages: readonly [string, Buffer][] = [
      ["backup_vm01_central_20260102_030405.enc", Buffer.concat([Buffer.of(1), sealed])],
      ["backup_vm01_central_20260103_030405.enc", Buffer.alloc(0)],
    ]
    for (const [name, damaged] of damages) {
      await target.put(name, sealed)
      await files.write(name, damaged)
    }

    assert.deepEqual(await bringVersions(), { brought: 3, here: 0, damaged: 0 })
    assert.deepEqual(await bringVersions(), { brought: 0, here: 3, damaged: 0 })

    for (const [name, damaged] of damages) {
      assert.deepEqual(await files.read(name), sealed)
      assert.deepEqual(await files.read(`${name}.damaged`), damaged)
    }
  })

  test("is no copy of a backup of the original service that no loaded key opens: what stands here stays, and it is told", async () => {
    const name = "backup_vm01_central_20260102_030405.enc"
    const [ours, theirs] = [1, 2].map((key) => legacyFile("{}", Buffer.alloc(32, key)))
    await copied("a")
    await target.put(name, theirs ?? Buffer.alloc(0))
    await files.write(name, ours ?? Buffer.alloc(0))

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 1 })

    assert.deepEqual(await files.read(name), ours)
    assert.match(findings.join(), new RegExp(`${name} .* no loaded key opens`))
    await files.write(name, theirs ?? Buffer.alloc(0))
    assert.deepEqual(await bringVersions(), { brought: 0, here: 2, damaged: 0 })
  })

  test("is the copy of a backup of the original service where both open and nothing proves the one here; that is kept, and told", async () => {
    const name = "backup_vm01_central_20260102_030405.enc"
    const [ours, theirs] = [legacyFile('{"of": "vm02"}', legacyKey), legacyFile('{"of": "vm01"}', legacyKey)]
    await copied("a")
    await target.put(name, theirs)
    await files.write(name, ours)
    await catalog.setFact(`legacy_sealed:${name}`, digestOf(Buffer.from('{"of": "vm01"}')))

    assert.deepEqual(await bringVersions(), { brought: 2, here: 0, damaged: 0 })
    assert.deepEqual(await bringVersions(), { brought: 0, here: 2, damaged: 0 })

    assert.deepEqual([await files.read(name), await files.read(`${name}.damaged`)], [theirs, ours])
    assert.match(findings.join(), /another backup than its copy, .* is kept as backup_.*\.damaged\.$/)

    await files.write(name, ours)
    assert.deepEqual(await bringVersions(null), { brought: 1, here: 1, damaged: 0 })
    assert.deepEqual(await files.read(name), theirs)
    await files.write(name, legacyFile('{"of": "vm01"}', legacyKey))
    assert.deepEqual(await bringVersions(null), { brought: 0, here: 2, damaged: 0 })
  })

  test("is no copy of a backup of the original service where the one here is proved by the catalog: the difference is told", async () => {
    const name = "backup_vm01_central_20260102_030405.enc"
    const ours = legacyFile('{"of": "vm01"}', legacyKey)
    await copied("a")
    await target.put(name, legacyFile('{"of": "vm02"}', legacyKey))
    await files.write(name, ours)
    await catalog.setFact(`legacy_sealed:${name}`, digestOf(Buffer.from('{"of": "vm01"}')))

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 1 })

    assert.deepEqual(await files.read(name), ours)
    assert.match(findings.join(), /stays, and differs from its copy: it is the backup that was entered\.$/)
    await target.put(name, Buffer.from("rotten"))
    assert.deepEqual(await bringVersions(), { brought: 0, here: 2, damaged: 0 })
  })

  test("is no copy of a backup of the original service that does not open while the one here does, and is not proved: it is told", async () => {
    const name = "backup_vm01_central_20260102_030405.enc"
    const ours = legacyFile('{"of": "vm02"}', legacyKey)
    await copied("a")
    await target.put(name, legacyFile('{"of": "vm01"}', Buffer.alloc(32, 1)))
    await files.write(name, ours)
    await catalog.setFact(`legacy_sealed:${name}`, "")

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 1 })

    assert.deepEqual(await files.read(name), ours)
    assert.match(findings.join(), /stays, and differs from its copy: no loaded key opens that\.$/)
  })

  test("is no copy of a backup of the original service that no loaded key opens: a kill at any write leaves what stood here", async () => {
    const name = "backup_vm01_central_20260102_030405.enc"
    const [ours = assert.fail(), theirs = assert.fail()] = [1, 2].map((key) => legacyFile("{}", Buffer.alloc(32, key)))
    await copied("a")
    await bringVersions()
    await target.put(name, theirs)
    await files.write(name, ours)
    for (const left of [0, 1, 2]) {
      files = new KilledFiles(store, left)
      await bringVersions().catch((error: unknown) => assert.ok(error instanceof Killed, String(error)))

      assert.deepEqual(await files.read(name), ours, `killed after ${left} writes`)
    }
  })

  test("is the copy of a backup of the original service that opens, whatever write a kill has come after", async () => {
    const [sealed, damaged] = [legacyFile("{}", legacyKey), Buffer.from("rotten")]
    await copied("a")
    await bringVersions()
    for (const left of [0, 1, 2]) {
      const name = `backup_vm01_central_20260102_03040${left}.enc`
      await target.put(name, sealed)
      await new DiskStoreFiles(store).write(name, damaged)
      files = new KilledFiles(store, left)
      await bringVersions().catch((error: unknown) => assert.ok(error instanceof Killed, String(error)))
      assert.deepEqual(await files.read(name), left < 2 ? damaged : sealed)

      files = new DiskStoreFiles(store)
      await bringVersions()

      assert.deepEqual([await files.read(name), await files.read(`${name}.damaged`)], [sealed, damaged])
      assert.equal(await files.read(`${name}.2.damaged`), null)
    }
  })

  test("are not kept from coming by what others have left at the place", async () => {
    const blob = await copied("a")
    const conflict = `vm01/central/${blob.header.backup_id}.sync-conflict-20260101-120000-ABCDEFG.cmb`
    await target.put(conflict, Buffer.from("x"))
    await symlink(join(place, "nowhere"), join(place, "latest"))

    assert.deepEqual(await bringVersions(), { brought: 1, here: 0, damaged: 0 })
    assert.deepEqual(findings, [])
  })

  test("is told to be nothing where the place holds no version", async () => {
    await writeFile(join(place, "keyring.json"), "{}")

    await assert.rejects(requireVersions(target), {
      code: "backup_missing",
      message: /see whether it is the right place/,
    })
  })

  test("is nothing from a place that is away", async () => {
    await rm(place, { recursive: true })

    await assert.rejects(requireVersions(target), { code: "backup_storage_unavailable" })
    await assert.rejects(bringVersions(), { code: "backup_storage_unavailable" })
  })

  test("are the files beside the blobs, but for a keyring that stands here: the difference is told", async () => {
    await target.put("keyring.json", Buffer.from("theirs"))
    await target.put("notes.jsonl", Buffer.from("theirs\n"))
    await files.write("keyring.json", Buffer.from("ours"))

    await bringFiles()

    assert.equal(String(await files.read("keyring.json")), "ours")
    assert.equal(String(await files.read("notes.jsonl")), "theirs\n")
    assert.match(findings.join(), /keyring\.json stands here already and differs/)
  })

  test("are notes in the order in which they were made, also where the copy was cleared of void ones", async () => {
    const [pin, unpin, again] = [1, 2, 3].map((n) => `{"at":"2026-01-0${n}","backupId":"a","pinned":${n !== 2}}\n`)
    await target.put("notes.jsonl", Buffer.from(`${again}`))
    await files.write("notes.jsonl", Buffer.from(`${pin}${unpin}cut o\n`))

    await bringFiles()

    assert.equal(String(await files.read("notes.jsonl")), `${pin}${unpin}${again}cut o\n`)
  })

  test("are notes that unpin nothing which is pinned here, and let no config have left earlier: they may be a clone's", async () => {
    const pin = '{"at":"2026-01-02T00:00:00.000Z","backupId":"a","pinned":true}\n'
    const unpin = '{"at":"2026-01-03T00:00:00.000Z","backupId":"a","pinned":false}\n'
    const left = (day: number) => `{"at":"2026-01-0${day}T00:00:00.000Z","vmId":"vm01","type":"central","left":true}\n`
    await target.put("notes.jsonl", Buffer.from(`${pin}${unpin}${left(4)}`))
    await files.write("notes.jsonl", Buffer.from(`${pin}${left(5)}`))

    await bringFiles()
    const once = await files.read("notes.jsonl")
    await bringFiles()

    const bytes = (await files.read("notes.jsonl")) ?? assert.fail()
    assert.deepEqual(bytes, once)
    const { notes, unread } = parseNotes(bytes)
    const { versions, departures } = stateOf(notes)
    assert.deepEqual([versions.get("a")?.pinned, unread], [true, 0])
    assert.equal(departures.get("vm01/central")?.at, "2026-01-05T00:00:00.000Z")
  })

  test("are all notes, where a service that was started too early has made some of its own", async () => {
    await target.put("notes.jsonl", Buffer.from('{"a":1}\n{"b":2}\n'))
    await files.write("notes.jsonl", Buffer.from('{"b":2}\n{"c":3}\n'))

    await bringFiles()
    await bringFiles()

    assert.equal(String(await files.read("notes.jsonl")), '{"a":1}\n{"b":2}\n{"c":3}\n')
    assert.deepEqual(findings, [])
  })
})
