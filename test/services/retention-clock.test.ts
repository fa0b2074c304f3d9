import assert from "node:assert/strict"
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, suite, test } from "node:test"
import type { StoreFiles } from "../../src/domain/copies.ts"
import { Fault } from "../../src/domain/fault.ts"
import { clockText, unknownClock } from "../../src/domain/retention-clock.ts"
import { blobVersion } from "../../src/services/blob-versions.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { putLegacy } from "../blobs/legacy-files.ts"
import { file } from "../fakes/memory-transport.ts"
import { contentsOf, putDaily, TestClock, withClock } from "./keeping.ts"
import { live, makeRig, migrationsDir, type Rig, type RigOptions, ref } from "./rig.ts"

const factName = "retention_clock"
const day = (n: number): Date => new Date(Date.UTC(2026, 0, 1 + n))

/** Rigs over the same VM and store, one process after the other. */
class Lives {
  readonly time = new TestClock()
  #rig: Rig | null = null

  async begin(instead: RigOptions["instead"] = () => ({})): Promise<Rig> {
    const { clock, monotonic } = this.time
    const given: RigOptions = {
      files: { [live]: file("n: 0\n") },
      instead: (parts) => ({ clock, monotonic, ...instead({ ...parts, clock, monotonic }) }),
    }
    const rig: Rig = await makeRig(this.#rig ? { ...given, after: this.#rig } : given)
    this.#rig = rig
    await rig.reconcile()
    await rig.retentionClock.now()
    return rig
  }

  async end(): Promise<void> {
    await this.#rig?.retentionClock.persist()
    await this.#rig?.files.written()
    await this.#rig?.stop()
  }

  /** What an operator, or a disk, does between two processes. */
  lose(name: "catalog.db" | "legacy/clock.json"): void {
    if (!this.#rig) throw new Error("nothing is there yet")
    for (const part of ["", "-wal", "-shm"]) rmSync(join(this.#rig.dir, name + part), { force: true })
  }

  /** An operator takes copies of catalog and clock.json, between two processes. */
  copy(): void {
    copyFileSync(this.catalogPath, `${this.catalogPath}.older`)
    copyFileSync(this.clockPath, `${this.clockPath}.older`)
  }

  /** And puts them back; a clock.json that is not is lost. */
  putBack(withClockFile: boolean): void {
    this.lose("catalog.db")
    this.lose("legacy/clock.json")
    copyFileSync(`${this.catalogPath}.older`, this.catalogPath)
    if (withClockFile) copyFileSync(`${this.clockPath}.older`, this.clockPath)
  }

  /** Puts content in place while the clock is wrong by 400 days; the content before it is stamped so, too. */
  async putWithWrongClock(rig: Rig, text: string): Promise<void> {
    this.time.set(-400)
    await rig.put(text)
    this.time.set(400)
  }

  get catalogPath(): string {
    return join(this.#rig?.dir ?? "", "catalog.db")
  }

  get clockPath(): string {
    return join(this.#rig?.dir ?? "", "legacy/clock.json")
  }

  async remove(): Promise<void> {
    await this.#rig?.remove()
  }
}

suite("The time that retention goes by, over restarts", () => {
  let lives: Lives
  afterEach(() => lives.remove())

  test("goes on where it was, and does not take time without the service for time with it", async () => {
    lives = new Lives()
    await lives.begin()
    lives.time.pass(3)
    await lives.end()
    lives.time.set(20)
    const second = await lives.begin()
    assert.deepEqual(await second.retentionClock.now(), day(3))
    assert.equal(second.retentionClock.lagMs(), 20 * 86_400_000)
    await lives.end()
  })

  test("goes on beside the blobs where the catalog was lost, so that what a wrong clock stamped is kept all the same", async () => {
    lives = new Lives()
    const first = await lives.begin()
    lives.time.pass(300)
    lives.time.set(-200)
    await first.put("n: 1\n")
    lives.time.set(200)
    lives.time.pass(10)
    await lives.end()
    lives.lose("catalog.db")
    const second = await lives.begin()
    assert.deepEqual(await second.retentionClock.now(), day(110))
    // By the stamps n: 0 lost its place 210 days ago; in truth it was 10.
    assert.deepEqual((await second.retention.purge({ dryRun: false, force: true })).removed, [])
    assert.deepEqual(await contentsOf(second), ["n: 1", "n: 0"])
    lives.time.pass(91)
    assert.equal((await second.retention.purge({ dryRun: false, force: true })).removed.length, 1)
    await lives.end()
  })

  test("believes no version's time for 90 days of running where both were lost", async () => {
    lives = new Lives()
    const first = await lives.begin()
    lives.time.pass(300)
    lives.time.set(-200)
    await first.put("n: 1\n")
    lives.time.set(200)
    await lives.end()
    lives.lose("catalog.db")
    lives.lose("legacy/clock.json")
    const second = await lives.begin()
    assert.deepEqual((await second.retention.purge({ dryRun: false, force: true })).removed, [])
    lives.time.pass(91)
    assert.equal((await second.retention.purge({ dryRun: false, force: true })).removed.length, 1)
    await lives.end()
  })

  test("is not taken back by an older catalog", async () => {
    lives = new Lives()
    const first = await lives.begin()
    await first.retentionClock.persist()
    const older = (await first.catalog.fact(factName)) ?? ""
    lives.time.pass(100)
    lives.time.set(-50)
    await first.put("n: 1\n")
    await first.retentionClock.persist()
    await first.files.written()
    await first.catalog.setFact(factName, older)
    await first.stop()
    lives.time.set(50)
    const second = await lives.begin()
    assert.deepEqual(await second.retentionClock.now(), day(50))
    await lives.end()
  })

  test("goes on in the catalog where the file is none of ours", async () => {
    for (const text of ["", "{", '{"ranMs":-1,"leads":[]}', "null"]) {
      lives = new Lives()
      const first = await lives.begin()
      lives.time.pass(3)
      await lives.end()
      await first.files.write("clock.json", Buffer.from(text))
      const second = await lives.begin()
      assert.deepEqual(await second.retentionClock.now(), day(3))
      await lives.end()
      await lives.remove()
    }
  })
})

/** Another store with three versions, the last two stamped by a clock that was wrong. */
async function anothersStore(): Promise<Rig> {
  const others = new Lives()
  const theirs = await others.begin()
  others.time.pass(10)
  await others.putWithWrongClock(theirs, "n: 1\n")
  await others.putWithWrongClock(theirs, "n: 2\n")
  await others.end()
  await others.remove()
  return theirs
}

suite("Versions that a wrong clock stamped as very old go neither", () => {
  let lives: Lives
  afterEach(() => lives.remove())
  const asked = { dryRun: false, force: true }

  /** Ends with two versions that seem to be 400 days old and are a day old. */
  async function history(): Promise<Rig> {
    lives = new Lives()
    const rig = await lives.begin()
    lives.time.pass(160)
    await lives.putWithWrongClock(rig, "n: 1\n")
    lives.time.pass(1)
    await lives.end()
    return rig
  }

  async function goneIn(rig: Rig): Promise<readonly string[]> {
    return (await rig.retention.purge(asked)).removed
  }

  test("where a digit of clock.json rotted, by which the service has run for years", async () => {
    await history()
    const text = readFileSync(lives.clockPath, "utf8")
    assert.match(text, /"ranMs":1/)
    writeFileSync(lives.clockPath, text.replace('"ranMs":1', '"ranMs":9'))
    assert.deepEqual(await goneIn(await lives.begin()), [])
    await lives.end()
  })

  test("where clock.json is another store's", async () => {
    lives = new Lives()
    await lives.begin()
    lives.time.pass(1000)
    await lives.end()
    const others = readFileSync(lives.clockPath)
    await lives.remove()
    await history()
    writeFileSync(lives.clockPath, others)
    assert.deepEqual(await goneIn(await lives.begin()), [])
    await lives.end()
  })

  test("where clock.json could not be read while the clock was wrong, which is told", async () => {
    lives = new Lives()
    await lives.begin()
    lives.time.pass(30)
    await lives.end()
    const second = await lives.begin(({ files }) => ({
      files: {
        read: () => Promise.reject(new Fault("backup_storage_unavailable", "EACCES")),
        write: (name, bytes) => files.write(name, bytes),
      },
    }))
    await lives.putWithWrongClock(second, "n: 1\n")
    assert.deepEqual(second.problems, ["clock.json cannot be read, so that it does not count"])
    await lives.end()
    assert.deepEqual(await goneIn(await lives.begin()), [])
    await lives.end()
  })

  test("where they came to a service that had run for long, from elsewhere and with an unknown time", async () => {
    await history()
    writeFileSync(lives.clockPath, clockText(unknownClock("elsewhere")))
    const second = await lives.begin()
    assert.deepEqual(await goneIn(second), [])
    lives.time.pass(91)
    assert.equal((await goneIn(second)).length, 1)
    await lives.end()
  })

  test("where nothing else is known than that their time is not: the earliest of them counts", async () => {
    await history()
    lives.lose("catalog.db")
    writeFileSync(lives.clockPath, clockText(unknownClock("elsewhere")))
    const second = await lives.begin()
    const [earliest] = (await second.versions()).map(({ validFrom }) => validFrom).sort()
    assert.equal((await second.retentionClock.now()).toISOString(), earliest)
    assert.deepEqual(await goneIn(second), [])
    await lives.end()
  })

  /** Ends with versions as `history` does, and with a copy of the catalog beside it that is older than the wrong clock. */
  async function historyOfOlderCatalog(): Promise<void> {
    lives = new Lives()
    const first = await lives.begin()
    await first.put("n: 0.5\n")
    lives.time.pass(160)
    await lives.end()
    lives.copy()
    const second = await lives.begin()
    await lives.putWithWrongClock(second, "n: 1\n")
    await lives.putWithWrongClock(second, "n: 2\n")
    lives.time.pass(1)
    await lives.end()
  }

  test("where an older catalog was put back and clock.json is lost: who stamped what it does not know is not known", async () => {
    await historyOfOlderCatalog()
    lives.putBack(false)
    const third = await lives.begin()
    assert.deepEqual(await goneIn(third), [])
    await lives.end()
    const fourth = await lives.begin()
    lives.time.pass(89)
    assert.deepEqual(await goneIn(fourth), [])
    lives.time.pass(2)
    assert.notDeepEqual(await goneIn(fourth), [])
    await lives.end()
  })

  test("where an older clock.json was put back with the catalog", async () => {
    await historyOfOlderCatalog()
    lives.putBack(true)
    assert.deepEqual(await goneIn(await lives.begin()), [])
    await lives.end()
  })

  test("where the catalog was lost and an older clock.json was put back: the store has versions that it has not seen made", async () => {
    await historyOfOlderCatalog()
    const third = await lives.begin()
    await third.put("n: 3\n")
    await lives.end()
    lives.putBack(true)
    lives.lose("catalog.db")
    assert.deepEqual(await goneIn(await lives.begin()), [])
    await lives.end()
  })

  test("where an older catalog was put back without clock.json, and made anew from the store", async () => {
    await historyOfOlderCatalog()
    lives.putBack(false)
    SqliteCatalog.remake({ path: lives.catalogPath, migrationsDir }).close()
    assert.deepEqual(await goneIn(await lives.begin()), [])
    await lives.end()
  })

  test("but a catalog that is made anew, or older than clock.json, holds nothing back that is known", async () => {
    const spoils: readonly ((path: string) => void)[] = [
      () => lives.lose("catalog.db"),
      (path) => SqliteCatalog.remake({ path, migrationsDir }).close(),
      (path) => copyFileSync(`${path}.older`, path),
    ]
    for (const spoil of spoils) {
      lives = new Lives()
      const first = await lives.begin()
      await first.put("n: 1\n")
      lives.time.pass(10)
      await lives.end()
      lives.copy()
      const second = await lives.begin()
      await second.put("n: 2\n")
      lives.time.pass(100)
      await lives.end()
      spoil(lives.catalogPath)
      const third = await lives.begin()
      assert.equal((await goneIn(third)).length, 2)
      await lives.end()
      await lives.remove()
    }
  })

  test("where they are another store's, and came to one that had none yet", async () => {
    const theirs = await anothersStore()
    lives = new Lives()
    const first = await lives.begin()
    lives.time.pass(10)
    await lives.end()
    for (const [key, blob] of theirs.blobs.blobs) first.blobs.blobs.set(key, blob)
    const second = await lives.begin()
    assert.equal((await second.versions()).length, 3)
    assert.deepEqual(await goneIn(second), [])
    lives.time.pass(91)
    assert.notDeepEqual(await goneIn(second), [])
    await lives.end()
  })

  for (const [what, meanwhile] of [
    ["", () => {}],
    [", whose catalog was then made anew", (path: string) => SqliteCatalog.remake({ path, migrationsDir }).close()],
  ] as const) {
    test(`where they are another store's, and came to one that has run for long${what}`, async () => {
      const theirs = await anothersStore()
      lives = new Lives()
      const first = await lives.begin()
      await first.put("n: 5\n")
      lives.time.pass(160)
      await lives.end()
      for (const [key, blob] of theirs.blobs.blobs) first.blobs.blobs.set(key, blob)
      meanwhile(lives.catalogPath)
      const second = await lives.begin()
      assert.equal((await second.versions()).length, 5)
      assert.deepEqual(await goneIn(second), [])
      lives.time.pass(91)
      assert.notDeepEqual(await goneIn(second), [])
      await lives.end()
    })
  }

  test("where nothing was known any more, and they came to light only afterwards", async () => {
    const first = await history()
    const away = new Map(first.blobs.blobs)
    lives.lose("catalog.db")
    lives.lose("legacy/clock.json")
    first.blobs.blobs.clear()
    const second = await lives.begin()
    lives.time.pass(30)
    for (const [key, blob] of away) second.blobs.blobs.set(key, blob)
    const refs = [...away.values()].map(({ header }) => ({ ...ref, backupId: header.backup_id }))
    const versions = await Promise.all(refs.map((each) => blobVersion(each, second.blobs, lives.time.clock)))
    await second.versionNotes.enter(versions)
    assert.deepEqual(await goneIn(second), [])
    lives.time.pass(59)
    assert.deepEqual(await goneIn(second), [])
    lives.time.pass(32)
    assert.equal((await goneIn(second)).length, 1)
    await lives.end()
  })
})

suite("Backups of the original service that come to a service which runs already", () => {
  test("are not taken for as old as their names say", async () => {
    const legacyKey = Buffer.alloc(32, 0x11)
    await withClock(
      async (rig, time) => {
        await putDaily(rig, time, 8)
        for (const stamp of ["20240101_000000", "20240102_000000"])
          putLegacy(rig.legacyDir, { ...ref, stamp }, `{"port": ${stamp.slice(0, 8)}}`, legacyKey)
        await rig.reconcile()
        const expired = async () => (await rig.retention.purge({ dryRun: true, force: false })).removed
        assert.deepEqual(await expired(), [])
        time.pass(83)
        assert.deepEqual(await expired(), [])
        time.pass(8)
        assert.match((await expired())[0] ?? "", /20240101/)
      },
      { legacyKey },
    )
  })
})

suite("Keeping the time of retention", () => {
  test("forgets nothing by a time in the catalog that rotted", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 5)
      await rig.catalog.setFact("earliest_found", "2026-81-01T00:00:00.000Z")
      time.set(3650)
      assert.deepEqual((await rig.retention.purge({ dryRun: true, force: false })).removed, [])
    }))

  test("happens once a minute at most", () =>
    withClock(async (rig, time) => {
      const kept = () => rig.catalog.fact(factName)
      const before = await kept()
      time.pass(30 / 86_400)
      await rig.retentionClock.now()
      assert.equal(await kept(), before)
      time.pass(31 / 86_400)
      await rig.retentionClock.now()
      assert.notEqual(await kept(), before)
    }))

  test("beside the blobs waits for no store that hangs, and begins nothing more there", async () => {
    let writes = 0
    const write = (): Promise<void> => {
      writes += 1
      return new Promise(() => {})
    }
    const files: StoreFiles = { read: async () => null, write }
    await withClock(
      async (rig, time) => {
        await putDaily(rig, time, 3)
        await rig.retentionClock.persist()
        assert.equal(writes, 1)
      },
      { instead: () => ({ files }) },
    )
  })

  test("beside the blobs is waited for by the end of the process, which would cut it off", async () => {
    const begun = Promise.withResolvers<void>()
    const held = Promise.withResolvers<void>()
    const write = (): Promise<void> => {
      begun.resolve()
      return held.promise
    }
    await withClock(
      async (rig) => {
        await rig.retentionClock.persist()
        await begun.promise
        let isOver = false
        const ending = rig.retentionClock.written().then(() => {
          isOver = true
        })
        await new Promise(setImmediate)
        assert.equal(isOver, false)
        held.resolve()
        await ending
      },
      { instead: () => ({ files: { read: async () => null, write } }) },
    )
  })

  test("beside the blobs may fail: that is told, and tried again with the next", async () => {
    let writes = 0
    const write = async (): Promise<void> => {
      writes += 1
      throw new Fault("storage_full", "There is no room left.")
    }
    await withClock(
      async (rig, time) => {
        time.pass(1)
        await rig.retentionClock.now()
        assert.equal(writes, 2)
        assert.deepEqual(new Set(rig.problems), new Set(["the time of retention was not kept in clock.json"]))
      },
      { instead: () => ({ files: { read: async () => null, write } }) },
    )
  })
})
