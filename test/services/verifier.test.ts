import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { DiskLegacyStore } from "../../src/blobs/legacy.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { LegacyStore } from "../../src/domain/legacy-store.ts"
import type { Version } from "../../src/domain/version.ts"
import { Scrubber } from "../../src/services/scrubber.ts"
import { type Copies, Verifier } from "../../src/services/verifier.ts"
import { VersionReader } from "../../src/services/version-reader.ts"
import { typeOfVersion } from "../../src/services/version-type.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { aBlob, fileOf, keyringOf, type NewBlob, refOf } from "../blobs/blobs.ts"
import { keysOf } from "../blobs/legacy-files.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { anImport } from "../sqlite/records.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

const inventory = new Inventory([], [], new Map())
const type = typeOfVersion(inventory, "central")
const noLegacy = {} as LegacyStore
const asideReturn = { round: async () => {} }
const day = 24 * 60 * 60_000

suite("Versions that are looked at", () => {
  let dir: string
  let place: string
  let store: string
  let catalog: SqliteCatalog
  let blobs: DiskBlobStore
  let target: DirectoryTarget
  let healed: string[]
  let now: number

  beforeEach(async () => {
    dir = makeTemporary("verifier")
    place = makeTemporary("copies")
    store = makeTemporary("store")
    catalog = SqliteCatalog.open({ path: join(dir, "catalog.db"), migrationsDir })
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x11) })
    target = new DirectoryTarget(place)
    healed = []
    now = Date.now()
    await catalog.setCopyTarget(place, new Date(now).toISOString())
  })
  afterEach(async () => {
    catalog.close()
    for (const each of [dir, place, store]) await removeTemporary(each)
  })

  function makeVerifier(
    withCopies = true,
    over: { stopping?: AbortSignal; copyWaitMs?: number; legacy?: LegacyStore } = {},
  ): Verifier {
    const copies: Copies = { catalog, target, files: new DiskStoreFiles(store) }
    return new Verifier({
      reader: new VersionReader(blobs, over.legacy ?? noLegacy, catalog),
      blobs,
      catalog,
      clock: () => new Date(now),
      monotonic: () => now,
      copies: withCopies ? copies : null,
      onHealed: ({ backupId }) => void healed.push(backupId),
      stopping: new AbortController().signal,
      ...over,
    })
  }

  async function make(text: string): Promise<NewBlob> {
    const blob = aBlob(text)
    await blobs.put([blob])
    const size = blob.bytes.length
    const { keyId } = blobs
    await catalog.importVersions([anImport({ ...refOf(blob), size, digest: digestOf(blob.bytes), keyId })])
    return blob
  }

  async function copy(blob: NewBlob): Promise<void> {
    await target.put(`vm01/central/${blob.header.backup_id}.cmb`, await blobs.sealed(refOf(blob)))
    await catalog.noteCopy(
      { backupId: blob.header.backup_id, work: "queued" },
      { kind: "copied", at: new Date(now).toISOString() },
    )
  }

  async function flip(path: string, at = -40): Promise<void> {
    const bytes = await readFile(path)
    const place = at < 0 ? bytes.length + at : at
    bytes.writeUInt8(bytes.readUInt8(place) ^ 1, place)
    await writeFile(path, bytes)
  }

  async function rowOf(blob: NewBlob): Promise<Version> {
    const version = await catalog.getVersion(blob.header.backup_id)
    assert.ok(version)
    return version
  }

  const verify = async (blob: NewBlob, withCopies = true) => makeVerifier(withCopies).verify(await rowOf(blob), type)
  const localOf = (blob: NewBlob) => fileOf(store, refOf(blob))
  const copyOf = (blob: NewBlob) => fileOf(place, refOf(blob))

  test("are well when they open and are what their rows say, and the day is kept", async () => {
    const blob = await make("text")

    const { ok, checks } = await verify(blob)

    assert.equal(ok, true)
    assert.deepEqual(
      checks.map(({ name }) => name),
      ["open", "size", "digest", "parse"],
    )
    const { state, verifiedAt } = await rowOf(blob)
    assert.deepEqual([state, verifiedAt], ["ok", new Date(now).toISOString()])
  })

  test("are damaged where there is no copy, which is told and does not count as looked at with success", async () => {
    const blob = await make("text")
    await flip(localOf(blob))

    assert.equal((await verify(blob)).ok, false)

    const { state, verifiedAt } = await rowOf(blob)
    assert.deepEqual([state, verifiedAt], ["damaged", null])
    assert.deepEqual((await catalog.totals()).damaged, 1)
  })

  test("come back from their copy when they are damaged, and what was damaged is put aside", async () => {
    const blob = await make("text")
    await copy(blob)
    await flip(localOf(blob))
    const broken = await readFile(localOf(blob))

    const { ok, checks } = await verify(blob)

    assert.equal(ok, true)
    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
    assert.equal((await rowOf(blob)).state, "ok")
    assert.deepEqual(healed, [blob.header.backup_id])
    const told = /kept as (.*)\.$/.exec(checks.at(-1)?.detail ?? "")?.[1]
    assert.ok(told)
    assert.deepEqual(await readFile(told), broken)
  })

  test("come back from their copy also when somebody has made the checksum fit", async () => {
    const blob = await make("text")
    await copy(blob)
    await flip(localOf(blob))
    const body = (await readFile(localOf(blob))).subarray(0, -32)
    const forged = Buffer.concat([body, createHash("sha256").update(body).digest()])
    await writeFile(localOf(blob), forged)

    const { ok, checks } = await verify(blob)

    assert.equal(ok, true)
    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
    const told = /kept as (.*)\.$/.exec(checks.at(-1)?.detail ?? "")?.[1]
    assert.ok(told)
    assert.deepEqual(await readFile(told), forged)

    await writeFile(localOf(blob), forged)
    await writeFile(copyOf(blob), forged)
    const second = await verify(blob)
    assert.deepEqual([second.ok, (await rowOf(blob)).state], [false, "damaged"])
    assert.match(second.checks.at(-1)?.detail ?? "", /is what stands here/)
  })

  test("come back from their copy when no loaded key opens them and one opens the copy", async () => {
    const blob = await make("text")
    const before = await readFile(localOf(blob))
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22, 0x11) })
    await blobs.rewrap(refOf(blob))
    await copy(blob)
    await writeFile(localOf(blob), before)
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22) })

    const { ok, checks } = await verify(blob)

    assert.equal(ok, true)
    assert.equal((await rowOf(blob)).state, "ok")
    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
    const told = /kept as (.*)\.$/.exec(checks.at(-1)?.detail ?? "")?.[1]
    assert.deepEqual(await readFile(told ?? ""), before)

    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x33) })
    await writeFile(copyOf(blob), before)
    const locked = await verify(blob)
    assert.deepEqual([locked.ok, (await rowOf(blob)).state], [false, "locked"])
    assert.match(locked.checks.at(-1)?.detail ?? "", /^No loaded key opens the copy at .* either\.$/)
  })

  test("stand under the active key once they came back from a copy of the old one, and that is made anew", async () => {
    const blob = await make("text")
    await copy(blob)
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22, 0x11) })
    await blobs.rewrap(refOf(blob))
    assert.equal((await verify(blob)).ok, true)
    assert.deepEqual([(await rowOf(blob)).keyId, (await catalog.copyLag()).waiting], [blobs.keyId, 1])
    await catalog.noteCopy(
      { backupId: blob.header.backup_id, work: "queued" },
      { kind: "copied", at: new Date(now).toISOString() },
    )
    await flip(localOf(blob))

    assert.equal((await verify(blob)).ok, true)

    assert.equal((await catalog.copyLag()).waiting, 1)
    blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22) })
    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
    assert.equal((await rowOf(blob)).keyId, blobs.keyId)
  })

  suite("of before a rewrap that were put back after it", () => {
    const keyIdOf = async (blob: NewBlob) => (await blobs.open(refOf(blob))).keyId
    let blob: NewBlob

    beforeEach(async () => {
      blob = await make("text")
      const before = await readFile(localOf(blob))
      blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(0x22, 0x11) })
      await blobs.rewrap(refOf(blob))
      await catalog.importVersions([{ ...(await rowOf(blob)), keyId: blobs.keyId }])
      await copy(blob)
      await writeFile(localOf(blob), before)
    })

    test("are sealed for the active key again, as their rows say, and their copies are made anew", async () => {
      assert.equal((await verify(blob)).ok, true)

      assert.deepEqual([await keyIdOf(blob), (await rowOf(blob)).keyId], [blobs.keyId, blobs.keyId])
      assert.equal((await catalog.copyLag()).waiting, 1)
    })

    test("keep their copies where they cannot be sealed anew, and are well", async () => {
      blobs.rewrap = async () => {
        throw new Fault("storage_full", "Full.")
      }

      assert.equal((await verify(blob)).ok, true)

      assert.deepEqual([(await rowOf(blob)).keyId, (await catalog.copyLag()).waiting], [blobs.keyId, 0])
    })

    test("do not stand there again where they were removed meanwhile", async () => {
      const version = await rowOf(blob)
      const rewrap = blobs.rewrap.bind(blobs)
      blobs.rewrap = async (ref) => {
        await catalog.removeVersions([ref.backupId])
        return rewrap(ref)
      }

      await makeVerifier().verify(version, type)

      await assert.rejects(blobs.open(refOf(blob)), { code: "backup_missing" })
    })

    test("stay as they are where no rewrap was: their rows name the old key", async () => {
      await catalog.importVersions([{ ...(await rowOf(blob)), keyId: await keyIdOf(blob) }])
      const before = await readFile(localOf(blob))

      assert.equal((await verify(blob)).ok, true)

      assert.deepEqual(await readFile(localOf(blob)), before)
    })
  })

  test("come back from their copy when they are missing", async () => {
    const blob = await make("text")
    await copy(blob)
    await blobs.remove(refOf(blob))

    assert.equal((await verify(blob)).ok, true)

    assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
  })

  test("stay what they are where the copy is damaged too, or another's, and nothing is moved", async () => {
    const [blob, other] = [await make("text"), await make("other")]
    await copy(blob)
    await copy(other)
    await flip(localOf(blob))
    const broken = await readFile(localOf(blob))
    await flip(copyOf(blob))
    assert.equal((await verify(blob)).ok, false)

    await writeFile(copyOf(blob), await readFile(copyOf(other)))
    assert.equal((await verify(blob)).ok, false)

    assert.deepEqual(await readFile(localOf(blob)), broken)
    assert.equal((await rowOf(blob)).state, "damaged")
    assert.deepEqual(healed, [])
  })

  test("stay in their place where their row is what is damaged, and their copy too", async () => {
    const blob = await make("text")
    await copy(blob)
    await flip(copyOf(blob))
    await catalog.importVersions([anImport({ ...refOf(blob), size: 4, digest: digestOf(Buffer.from("TEXT")) })])

    assert.equal((await verify(blob)).ok, false)
    assert.equal((await blobs.open(refOf(blob))).bytes.toString(), "text")
  })

  test("come back also from a copy whose making was not noted any more", async () => {
    const blob = await make("text")
    await target.put(`vm01/central/${blob.header.backup_id}.cmb`, await blobs.sealed(refOf(blob)))
    await flip(localOf(blob))

    assert.equal((await verify(blob)).ok, true)
  })

  test("do not come back where there is no place for copies", async () => {
    const blob = await make("text")
    await copy(blob)
    await flip(localOf(blob))

    assert.equal((await verify(blob, false)).ok, false)
  })

  test("have their copy made anew where it differs", async () => {
    const blob = await make("text")
    await copy(blob)
    const verifier = makeVerifier()
    assert.equal(await verifier.compareCopy(await rowOf(blob)), true)

    await flip(copyOf(blob))
    assert.equal(await verifier.compareCopy(await rowOf(blob)), false)

    assert.equal(await catalog.isCopied(blob.header.backup_id), false)
    assert.equal((await catalog.copyLag()).waiting, 1)
  })

  test("tell why no copy could take their place", async () => {
    const blob = await make("text")
    await flip(localOf(blob))

    const { ok, checks } = await verify(blob)

    assert.equal(ok, false)
    assert.deepEqual(
      checks.map((check) => [check.name, check.ok]),
      [
        ["open", false],
        ["copy", false],
      ],
    )
    assert.match(checks.at(-1)?.detail ?? "", /has no copy of it/)
  })

  test("do not come back that were removed meanwhile", async () => {
    const blob = await make("text")
    await copy(blob)
    const version = await rowOf(blob)
    await catalog.removeVersions([version.backupId])
    await blobs.remove(refOf(blob))

    const { ok } = await makeVerifier().verify(version, type)

    assert.equal(ok, false)
    await assert.rejects(blobs.sealed(refOf(blob)), { code: "backup_missing" })
    assert.deepEqual(healed, [])
  })

  test("of the original service do not come back either that were removed meanwhile", async () => {
    const backupId = "backup_vm01_central_20260102_030405.enc"
    await catalog.importVersions([anImport({ backupId, format: "legacy" })])
    const version = (await catalog.getVersion(backupId)) ?? assert.fail("it is not listed")
    await target.put(backupId, Buffer.from("sealed long ago"))
    await catalog.removeVersions([backupId])
    const legacy = await DiskLegacyStore.open({ location: store, keys: keysOf([]) })

    const { ok, checks } = await makeVerifier(true, { legacy }).verify(version, type)

    assert.deepEqual([ok, checks.at(-1)?.detail], [false, "It was removed meanwhile."])
    assert.equal(await new DiskStoreFiles(store).read(backupId), null)
  })

  suite("at a place that never answers", { timeout: 10_000 }, () => {
    let asked: number
    let answer: () => void
    beforeEach(() => {
      asked = 0
      const released = new Promise<void>((resolve) => {
        answer = resolve
      })
      const get = target.get.bind(target)
      target.get = async (name) => {
        asked += 1
        await released
        return get(name)
      }
    })
    afterEach(() => answer())

    test("are waited for in vain for a limited time, and no more than one call is out there", async () => {
      const [one, other] = [await make("one"), await make("other")]
      await flip(localOf(one))
      await flip(localOf(other))
      const verifier = makeVerifier(true, { copyWaitMs: 20 })

      const reports = await Promise.all([one, other].map(async (blob) => verifier.verify(await rowOf(blob), type)))

      for (const { checks } of reports) assert.match(checks.at(-1)?.detail ?? "", /does not answer/)
      assert.equal(asked, 1)
    })

    suite("and are looked at in turn", () => {
      const minute = 60_000
      let verifier: Verifier
      beforeEach(async () => {
        for (const text of ["one", "other", "third"]) await flip(localOf(await make(text)))
        verifier = makeVerifier(true, { copyWaitMs: 20 })
      })
      const scrub = () =>
        new Scrubber({ catalog, verifier, asideReturn, inventory: () => inventory, clock: () => new Date(now) }).round(
          new AbortController().signal,
        )
      const askedIn = async (work: () => Promise<unknown>): Promise<number> => {
        const before = asked
        await work()
        return asked - before
      }
      /** What is out there ends, without an answer that is of use. */
      const fail = (): void => {
        target.get = async () => {
          asked += 1
          now += 5000
          throw new Fault("vm_timeout", "It did not answer.")
        }
        answer()
      }

      test("cost the time of one, and then nothing for a time that grows", async () => {
        now += 2 * day
        assert.equal(await askedIn(scrub), 1)
        assert.equal(await askedIn(scrub), 0)
        fail()
        for (const pause of [1, 2, 4, 8, 16, 32, 60, 60]) {
          now += pause * minute - 1
          assert.equal(await askedIn(scrub), 0, `asked before ${pause} minutes were over`)
          now += 1
          assert.equal(await askedIn(scrub), 1, `not asked after ${pause} minutes`)
        }
      })

      test("are asked for all the same where somebody waits for one, and all of them once it is there", async () => {
        const [blob] = (await catalog.lostVersions(1)).concat(
          await catalog.oldestVerified(new Date(now).toISOString(), 1),
        )
        assert.ok(blob)
        now += 2 * day
        await scrub()
        target.get = async () => {
          asked += 1
          return null
        }
        answer()

        assert.equal(await askedIn(() => verifier.verify(blob, type)), 1)

        assert.ok((await askedIn(scrub)) > 1)
      })

      test("are all asked for where the place refuses one at once", async () => {
        answer()
        target.get = async () => {
          asked += 1
          throw new Fault("backup_storage_unavailable", "The disk reports errors.")
        }
        now += 2 * day
        for (const version of await catalog.oldestVerified(new Date(now).toISOString(), 9)) {
          await verifier.verify(version, type)
        }

        assert.equal(await askedIn(scrub), 3)
      })
    })

    test("are not waited for once the service stops", async () => {
      const blob = await make("one")
      await flip(localOf(blob))
      const stopping = new AbortController()
      const verifying = makeVerifier(true, { stopping: stopping.signal }).verify(await rowOf(blob), type)

      stopping.abort()

      assert.equal((await verifying).ok, false)
    })

    test("keep their copies: nobody knows that they differ", async () => {
      const blob = await make("one")
      await catalog.noteCopy({ backupId: blob.header.backup_id, work: "queued" }, { kind: "copied", at: "2026" })

      await assert.rejects(makeVerifier(true, { copyWaitMs: 20 }).compareCopy(await rowOf(blob)), /does not answer/)

      assert.equal(await catalog.isCopied(blob.header.backup_id), true)
    })
  })

  suite("in turn", () => {
    const scrub = (signal = new AbortController().signal) => {
      const parts = {
        catalog,
        asideReturn,
        verifier: makeVerifier(),
        inventory: () => inventory,
        clock: () => new Date(now),
      }
      return new Scrubber(parts).round(signal)
    }

    test("those first that were not looked at for longest, and each only once a day", async () => {
      const blobs = [await make("a"), await make("b")]
      now += 2 * day

      assert.deepEqual(await scrub(), { looked: 1, bad: 0, copiesQueued: 0 })
      assert.deepEqual(await scrub(), { looked: 1, bad: 0, copiesQueued: 0 })
      assert.deepEqual(await scrub(), { looked: 0, bad: 0, copiesQueued: 0 })

      for (const blob of blobs) assert.notEqual((await rowOf(blob)).verifiedAt, null)
    })

    test("those too that were looked at in the future, under a clock that was wrong", async () => {
      const blob = await make("a")
      now += 3650 * day
      assert.equal((await scrub()).looked, 1)
      now = Date.now()

      assert.equal((await scrub()).looked, 1)
      assert.equal((await rowOf(blob)).verifiedAt, new Date(now).toISOString())
    })

    test("tell what is bad, look at that every time, and bring it back once there is a copy", async () => {
      const [bad, good] = [await make("bad"), await make("good")]
      const sealed = await blobs.sealed(refOf(bad))
      await flip(localOf(bad))
      await catalog.markVersion(bad.header.backup_id, { state: "damaged", verifiedAt: null })
      now += 2 * day

      assert.deepEqual(await scrub(), { looked: 2, bad: 1, copiesQueued: 0 })
      assert.notEqual((await rowOf(good)).verifiedAt, null)
      assert.deepEqual(await scrub(), { looked: 1, bad: 1, copiesQueued: 0 })

      await target.put(`vm01/central/${bad.header.backup_id}.cmb`, sealed)
      await catalog.noteCopy({ backupId: bad.header.backup_id, work: "queued" }, { kind: "copied", at: "2026" })
      assert.deepEqual(await scrub(), { looked: 1, bad: 0, copiesQueued: 0 })
      assert.equal((await rowOf(bad)).state, "ok")
    })

    suite("where no loaded key opens them", () => {
      const storeWith = async (...keys: readonly [number, ...number[]]) => {
        blobs = await DiskBlobStore.open({ location: store, keyring: keyringOf(...keys) })
      }
      /** As one of before a rewrap that was put back, its copy made after it; or before it as well. */
      async function makeLocked(text: string, isMoved: boolean): Promise<NewBlob> {
        await storeWith(0x11)
        const blob = await make(text)
        const before = await readFile(localOf(blob))
        if (isMoved) {
          await storeWith(0x22, 0x11)
          await blobs.rewrap(refOf(blob))
        }
        await copy(blob)
        await writeFile(localOf(blob), before)
        await catalog.markVersion(blob.header.backup_id, { state: "locked", verifiedAt: null })
        await storeWith(0x22)
        return blob
      }

      test("come home where one opens their copy, all of them", async () => {
        const moved: NewBlob[] = []
        for (let n = 1; n <= 15; n += 1) moved.push(await makeLocked(`moved ${n}`, true))

        assert.deepEqual(await scrub(), { looked: 15, bad: 0, copiesQueued: 0 })

        for (const blob of moved) {
          assert.deepEqual((await blobs.open(refOf(blob))).bytes, blob.bytes)
          assert.equal((await rowOf(blob)).state, "ok")
        }
        assert.deepEqual(await scrub(), { looked: 0, bad: 0, copiesQueued: 0 })
      })

      test("stay where none opens their copy either, and after a few the place is left in peace until the next round", async () => {
        for (let n = 1; n <= 15; n += 1) await makeLocked(`old ${n}`, false)
        const moved = await makeLocked("moved", true)
        let asked = 0
        const get = target.get.bind(target)
        target.get = async (name) => {
          asked += 1
          return get(name)
        }

        let rounds = 0
        while ((await rowOf(moved)).state !== "ok") {
          const before = asked
          const { looked, bad } = await scrub()
          assert.deepEqual([looked <= 1, bad, asked - before <= 11], [true, 0, true])
          rounds += 1
          assert.ok(rounds < 100, "it never had its turn")
        }

        assert.equal((await catalog.totals()).locked, 15)
      })
    })

    test("find copies that have rotted", async () => {
      const blob = await make("a")
      await copy(blob)
      await flip(copyOf(blob))
      now += 2 * day

      assert.deepEqual(await scrub(), { looked: 1, bad: 0, copiesQueued: 1 })
    })

    test("are left for later when the service stops", async () => {
      await make("a")
      now += 2 * day

      assert.deepEqual(await scrub(AbortSignal.abort()), { looked: 0, bad: 0, copiesQueued: 0 })
    })
  })
})
