import assert from "node:assert/strict"
import { copyFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { mock, suite, test } from "node:test"
import Database from "better-sqlite3"
import { digestOf } from "../../src/domain/digest.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { Journal, Operation } from "../../src/domain/operation.ts"
import type { Version } from "../../src/domain/version.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { putLegacy } from "../blobs/legacy-files.ts"
import { MemoryBlobStore } from "../fakes/memory-blob-store.ts"
import { file } from "../fakes/memory-transport.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { aJournal, anOperation } from "../sqlite/records.ts"
import { leaveSettings } from "./keeping.ts"
import { audit, edit, live, makeRig, path, type Rig, type RigOptions, ref, tidied } from "./rig.ts"

const nothing = {
  imported: 0,
  missing: 0,
  locked: 0,
  damaged: 0,
  putAside: 0,
  unread: 0,
  misplaced: 0,
  rowsRemoved: 0,
  blobsRemoved: 0,
  outdated: 0,
  corrected: 0,
  unmatched: 0,
}
const stands: RigOptions = { files: { [live]: file("port: 1\n") } }

/** Works in one process, does something between two, and reconciles in the next, which is audited. */
async function between(
  first: (rig: Rig) => Promise<void>,
  spoil: (rig: Rig) => void | Promise<void>,
  second: (rig: Rig, before: readonly Version[]) => Promise<void>,
  options: RigOptions = stands,
): Promise<void> {
  const rig = await makeRig(options)
  let next: Rig | null = null
  try {
    await first(rig)
    const before = await rig.versions()
    await rig.stop()
    await spoil(rig)
    next = await makeRig({ ...options, after: rig })
    await second(next, before)
    next.blobs.failing.clear()
    next.blobs.damaged.clear()
  } finally {
    await next?.stop()
    await rig.remove()
  }
}

const puts = (...texts: readonly string[]) => {
  return async (rig: Rig): Promise<void> => {
    for (const text of texts) await rig.put(text)
  }
}
const lose = ({ dir }: Rig): void => {
  for (const part of ["", "-wal", "-shm"]) rmSync(join(dir, `catalog.db${part}`), { force: true })
}
const change =
  (sql: string) =>
  ({ dir }: Rig): void => {
    const db = new Database(join(dir, "catalog.db"))
    db.exec(sql)
    db.close()
  }
const withoutTimes = (versions: readonly Version[]) => versions.map((version) => ({ ...version, verifiedAt: null }))
const keyOf = ({ vmId, type, backupId }: Version): string => `${vmId}/${type}/${backupId}`
const first = <T>(list: readonly T[]): T => list[0] ?? assert.fail("the list is empty")

suite("Reconciliation", () => {
  test("finds nothing where nothing is wrong, and opens no blob", async () => {
    await between(
      puts("port: 2\n", "port: 3\n"),
      ({ blobs }) => void blobs.failing.set("open", "backup_storage_unavailable"),
      async (rig, before) => {
        assert.deepEqual(await rig.reconcile(), { found: nothing, findings: [] })
        assert.deepEqual(await rig.versions(), before)
      },
    )
  })

  test("brings a lost catalog back from the blobs: every row, pins and notes", async () => {
    await between(
      async (rig) => {
        await puts("port: 2\n", "port: 3\n", "port: 4\n")(rig)
        const [newest, , third] = await rig.versions()
        assert.ok(newest && third)
        await rig.versionNotes.annotate(newest.backupId, { note: "a note" })
        await rig.versionNotes.annotate(third.backupId, { pinned: true })
      },
      lose,
      async (rig, before) => {
        const { found, findings } = await rig.reconcile()

        assert.deepEqual([found.imported, findings], [before.length, []])
        assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
        assert.ok((await rig.versions()).every(({ verifiedAt }) => verifiedAt !== null))
        const bytes = before.reduce((sum, { size }) => sum + (size ?? 0), 0)
        assert.deepEqual(await rig.catalog.totals(), {
          versions: before.length,
          bytes,
          damaged: 0,
          missing: 0,
          locked: 0,
        })
        assert.deepEqual((await rig.reconcile()).found, nothing)
      },
    )
  })

  const rows: Readonly<Record<string, string>> = {
    "another digest": `digest = '${"0".repeat(64)}'`,
    "another id": "backup_id = 'another'",
    "another VM": "vm_id = 'vm02'",
    "another time": "valid_from = '2020-01-01T00:00:00.000Z', superseded_at = NULL",
    "another path": "path = '/etc/passwd'",
    "a state that is none": "state = 'oj'",
    "a time of verification that is none": "verified_at = '2026'",
    "another mode": "mode = 0",
    "another key": "key_id = NULL",
    "another format": "format = 'legacx'",
  }
  for (const [what, assignment] of Object.entries(rows)) {
    test(`reads a version again whose row has ${what}`, async () => {
      await between(
        puts("port: 2\n", "port: 3\n"),
        change(`UPDATE versions SET ${assignment} WHERE seq = 2`),
        async (rig, before) => {
          const { found } = await rig.reconcile()

          assert.equal(found.imported, 1)
          assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
          assert.deepEqual((await rig.reconcile()).found, nothing)
          await audit(rig)
        },
      )
    })
  }

  const corrections: Readonly<Record<string, string>> = {
    "when a version was superseded": "UPDATE versions SET superseded_at = '2099-01-01T00:00:00.000Z' WHERE seq = 1",
    "the order of the list": "UPDATE versions SET seq = seq + 10 WHERE seq = 1",
    "a pin that nobody set, and a note": "UPDATE versions SET pinned = 0, note = 'not this' WHERE seq = 1",
    "how many versions there are": "UPDATE totals SET versions = 77, bytes = 1",
  }
  for (const [what, sql] of Object.entries(corrections)) {
    test(`puts right ${what}`, async () => {
      await between(
        async (rig) => {
          await puts("port: 2\n", "port: 3\n")(rig)
          const oldest = (await rig.versions()).at(-1)
          await rig.versionNotes.annotate(oldest?.backupId ?? "", { pinned: true, note: "a note" })
        },
        change(sql),
        async (rig, before) => {
          await rig.reconcile()

          assert.deepEqual(await rig.versions(), before)
          assert.equal((await rig.catalog.totals()).versions, before.length)
        },
      )
    })
  }

  test("keeps pins and notes of a catalog that was replaced where their own file is gone as well", async () => {
    await between(
      async (rig) => {
        await puts("port: 2\n", "port: 3\n")(rig)
        const [, second, third] = await rig.versions()
        await rig.versionNotes.annotate(second?.backupId ?? "", { pinned: true })
        await rig.versionNotes.annotate(third?.backupId ?? "", { note: "a note" })
      },
      ({ dir, notes }) => {
        notes.notes = []
        SqliteCatalog.remake({ path: join(dir, "catalog.db"), migrationsDir }).close()
      },
      async (rig, before) => {
        await rig.reconcile()
        assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
        assert.equal(rig.notes.notes.length, 2)
        assert.equal((await rig.reconcile()).found.corrected, 0)
      },
    )
  })

  test("lists a version as missing whose blob is gone, and as ok when it is there again", async () => {
    const kept = new Map<string, NonNullable<ReturnType<Rig["blobs"]["blobs"]["get"]>>>()
    await between(
      puts("port: 2\n"),
      ({ blobs }) => {
        const [key, blob] = first([...blobs.blobs])
        kept.set(key, blob)
        blobs.blobs.delete(key)
      },
      async (rig, before) => {
        const { found, findings } = await rig.reconcile()
        assert.deepEqual([found, findings], [{ ...nothing, missing: 1 }, []])
        const gone = (await rig.versions()).filter(({ state }) => state === "missing")
        assert.deepEqual(gone.map(keyOf), [...kept.keys()])

        for (const [key, blob] of kept) rig.blobs.blobs.set(key, blob)
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1 })
        assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
      },
    )
  })

  test("lists no version any more whose row is damaged and whose blob is gone, and says so", async () => {
    await between(
      puts("port: 2\n"),
      (rig) => {
        change("UPDATE versions SET actor = 'another' WHERE seq = 1")(rig)
        const oldest = [...rig.blobs.blobs].find(([, { header }]) => header.trigger === "found")
        rig.blobs.blobs.delete(oldest?.[0] ?? "")
      },
      async (rig, before) => {
        const { found, findings } = await rig.reconcile()

        assert.deepEqual(found, { ...nothing, rowsRemoved: 1 })
        assert.match(first(findings), new RegExp(`row of version ${before.at(-1)?.backupId} is damaged`))
        assert.deepEqual((await rig.versions()).length, before.length - 1)
        await audit(rig)
      },
    )
  })

  test("puts a blob aside that does not open and has no row it could be, and never removes it", async () => {
    await between(
      puts("port: 2\n"),
      (rig) => {
        lose(rig)
        rig.blobs.damaged.add(first([...rig.blobs.blobs.keys()]))
      },
      async (rig, before) => {
        const { found, findings } = await rig.reconcile()

        assert.deepEqual(found, { ...nothing, imported: before.length - 1, putAside: 1 })
        assert.match(first(findings), /does not open with any key; it stands in aside\//)
        assert.equal(rig.blobs.aside.size, 1)
        await audit(rig)
      },
    )
  })

  test("leaves a blob where it is that has no row and may not be read, tells of it, and takes it in once it may be", async () => {
    await between(
      puts("port: 2\n"),
      (rig) => {
        lose(rig)
        rig.blobs.damaged.add(first([...rig.blobs.blobs.keys()]))
      },
      async (rig, before) => {
        const putAside = mock.method(rig.blobs, "putAside", async () => null)
        const { found, findings } = await rig.reconcile()

        assert.deepEqual(found, { ...nothing, imported: before.length - 1, unread: 1 })
        assert.match(
          first(findings),
          /^The service's user may not read the file of version .*, in vm01\/app: it stays there/,
        )
        putAside.mock.restore()
        rig.blobs.damaged.clear()
        assert.equal((await rig.reconcile()).found.imported, 1)
        await audit(rig)
      },
    )
  })

  test("goes on where a file that was listed is gone when it is looked at", async () => {
    await between(
      puts("port: 2\n"),
      (rig) => {
        change("UPDATE versions SET actor = 'another' WHERE seq = 1; DELETE FROM versions WHERE seq = 2")(rig)
        const { open } = rig.blobs
        rig.blobs.open = (given) => {
          rig.blobs.blobs.delete(`${given.vmId}/${given.type}/${given.backupId}`)
          return open.call(rig.blobs, given)
        }
      },
      async (rig) => {
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, rowsRemoved: 1 })
        assert.deepEqual(await rig.versions(), [])
      },
    )
  })

  test("leaves a damaged blob where it is as long as its row can be relied on", async () => {
    await between(
      puts("port: 2\n"),
      (rig) => {
        change("UPDATE versions SET state = 'missing' WHERE seq = 1")(rig)
        for (const key of rig.blobs.blobs.keys()) rig.blobs.damaged.add(key)
      },
      async (rig) => {
        const { found } = await rig.reconcile()

        assert.deepEqual(found, { ...nothing, damaged: 1 })
        assert.deepEqual(
          (await rig.versions()).map(({ state }) => state),
          ["ok", "damaged"],
        )
        assert.equal(rig.blobs.aside.size, 0)
      },
    )
  })

  test("lists versions as locked that no loaded key opens, and reads them when one does", async () => {
    await between(
      puts("port: 2\n"),
      (rig) => {
        lose(rig)
        rig.blobs.failing.set("open", "backup_key_unavailable")
      },
      async (rig, before) => {
        const { found } = await rig.reconcile()
        assert.deepEqual(found, { ...nothing, imported: 2, locked: 2 })
        const unknown = { digest: null, verifiedAt: null, state: "locked" }
        assert.deepEqual(
          await rig.versions(),
          before.map((version) => ({ ...version, ...unknown })),
        )
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, locked: 2 })

        rig.blobs.failing.clear()
        assert.equal((await rig.reconcile()).found.imported, 2)
        assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
      },
    )
  })

  test("puts right rows that name another key than opens their versions: an older catalog was put back after a rewrap", async () => {
    const keyId = "ff".repeat(16)
    await between(
      puts("port: 2\n", "port: 3\n"),
      ({ blobs }) => void Object.assign(blobs, { keyId }),
      async (rig, before) => {
        const { found } = await rig.reconcile()

        assert.deepEqual(found, { ...nothing, imported: 3 })
        assert.deepEqual(
          withoutTimes(await rig.versions()),
          withoutTimes(before).map((version) => ({ ...version, keyId })),
        )
        assert.deepEqual((await rig.reconcile()).found, nothing)
        await audit(rig)
      },
    )
  })

  test("opens one version of a config whose rows name an older key, and finds nothing where that opens it", async () => {
    let opened = 0
    await between(
      puts("port: 2\n", "port: 3\n"),
      ({ blobs }) => {
        const { keyId } = blobs
        const open = async (asked: Parameters<typeof blobs.open>[0]) => {
          opened += 1
          return { ...(await MemoryBlobStore.prototype.open.call(blobs, asked)), keyId }
        }
        Object.assign(blobs, { keyId: "ff".repeat(16), open })
      },
      async (rig, before) => {
        assert.deepEqual(await rig.reconcile(), { found: nothing, findings: [] })
        assert.equal(opened, 1)
        assert.deepEqual(await rig.versions(), before)
      },
    )
  })

  test("gives up where the store cannot be read, and changes nothing", async () => {
    await between(
      puts("port: 2\n"),
      ({ blobs }) => void blobs.failing.set("list", "backup_storage_unavailable"),
      async (rig, before) => {
        await assert.rejects(rig.reconcile(), { code: "backup_storage_unavailable" })
        assert.deepEqual(await rig.versions(), before)
      },
    )
  })

  test("takes in what was made after the copy of the catalog that was put back", async () => {
    await between(
      async (rig) => {
        await puts("port: 2\n", "port: 3\n")(rig)
        await rig.catalog.health()
        new Database(join(rig.dir, "catalog.db")).exec(`VACUUM INTO '${join(rig.dir, "copy.db")}'`)
        await puts("port: 4\n", "port: 5\n")(rig)
      },
      (rig) => {
        lose(rig)
        copyFileSync(join(rig.dir, "copy.db"), join(rig.dir, "catalog.db"))
      },
      async (rig, before) => {
        assert.equal((await rig.reconcile()).found.imported, 2)
        assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
        await audit(rig)
      },
    )
  })
})

suite("Backups of the original service", () => {
  const legacyKey = Buffer.alloc(32, 5)
  const put = (rig: Rig, stamp: string, key = legacyKey): string => {
    return putLegacy(rig.legacyDir, { ...ref, stamp }, '{"port": 1}', key)
  }

  test("are listed once they are found, come back with a lost catalog, and are missing once they are gone", async () => {
    let name = ""
    await between(
      async (rig) => {
        name = put(rig, "20250101_000000")
        put(rig, "20250102_000000")
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 2 })
        assert.deepEqual((await rig.reconcile()).found, nothing)
      },
      lose,
      async (rig, before) => {
        assert.equal((await rig.reconcile()).found.imported, 2)
        assert.deepEqual(await rig.versions(), before)

        rmSync(join(rig.legacyDir, name))
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, missing: 1 })
        assert.equal((await rig.catalog.getVersion(name))?.state, "missing")

        put(rig, "20250101_000000")
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1 })
        assert.deepEqual(await rig.versions(), before)
      },
      { legacyKey },
    )
  })

  test("are tried again while they are locked, and read again when their row is damaged", async () => {
    await between(
      async (rig) => {
        put(rig, "20250101_000000", Buffer.alloc(32, 6))
        put(rig, "20250102_000000")
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 2, locked: 1 })
      },
      change("UPDATE versions SET digest = NULL WHERE state = 'ok'"),
      async (rig) => {
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1, locked: 1 })
        put(rig, "20250101_000000")
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1 })
        assert.ok((await rig.versions()).every(({ state, digest }) => state === "ok" && digest !== null))
      },
      { legacyKey },
    )
  })

  test("are listed no more where the row is damaged and the file is gone", async () => {
    await between(
      async (rig) => {
        const name = put(rig, "20250101_000000")
        await rig.reconcile()
        rmSync(join(rig.legacyDir, name))
      },
      change("UPDATE versions SET digest = NULL"),
      async (rig) => {
        const { found, findings } = await rig.reconcile()
        assert.deepEqual(found, { ...nothing, rowsRemoved: 1 })
        assert.match(first(findings), /its file is gone/)
        assert.deepEqual(await rig.versions(), [])
      },
      { legacyKey },
    )
  })

  test("come back with a lost catalog also where they are all that is left of a config that left", async () => {
    let name = ""
    await between(
      async (rig) => {
        name = put(rig, "20250101_000000")
        await rig.reconcile()
        leaveSettings(rig)
        await rig.versionNotes.annotate(name, { pinned: true })
        await rig.versionNotes.takeStock()
      },
      lose,
      async (rig, before) => {
        leaveSettings(rig)
        const { found } = await rig.reconcile()
        assert.deepEqual([found.imported, found.unmatched], [1, 0])
        // Where its file stood is not known any more.
        assert.deepEqual(
          await rig.versions(),
          before.map((version) => ({ ...version, path: "" })),
        )
        assert.equal((await rig.catalog.getVersion(name))?.pinned, true)
      },
      { legacyKey },
    )
  })

  test("that are later than the version of a push which is open do not keep it from ending", async () => {
    await between(
      async (rig) => {
        await rig.put("port: 2\n")
        put(rig, "20990101_000000")
      },
      change(
        `UPDATE operations SET phase = 'swapping', state = 'running', finished_at = NULL, file_state = NULL, version_id = NULL;
         DELETE FROM versions`,
      ),
      async (rig) => {
        await rig.reconcile()
        await rig.resolver.takeUp()
        const { state } = await rig.end(({ finishedAt }) => finishedAt !== null)

        assert.equal(state, "succeeded")
        assert.deepEqual((await rig.versions()).map(({ trigger }) => trigger).sort(), ["found", "imported", "written"])
      },
      { ...stands, legacyKey },
    )
  })

  suite("whose names fit two configs", () => {
    const [one, two] = [
      { vmId: "a", type: "b_c" },
      { vmId: "a_b", type: "c" },
    ]
    /** Each VM has files of both types, as the settings of a fleet say: `a_b` + `b_c` is nobody's name but its own. */
    const fleet = (rig: Rig, ...vmIds: readonly string[]): void => {
      const [vm = assert.fail(), type = assert.fail()] = [
        rig.settings.inventory.vms[0],
        rig.settings.inventory.types[0],
      ]
      rig.settings.inventory = new Inventory(
        vmIds.map((vmId) => ({ ...vm, vmId })),
        ["b_c", "c"].map((name) => ({ ...type, type: name })),
        new Map(["b_c", "c"].map((name) => [name, { default: path }])),
      )
    }
    const put = (rig: Rig, day: number) =>
      putLegacy(rig.legacyDir, { ...two, stamp: `2025010${day}_000000` }, `{"day": ${day}}`, legacyKey)
    const owners = async (rig: Rig) =>
      (await rig.versions()).map(({ vmId, type, state, backupId }) => `${vmId}/${type} ${state} ${backupId}`)

    for (const [first, second, ref] of [
      ["a", "a_b", one],
      ["a_b", "a", two],
    ] as const) {
      test(`stay with ${first} when ${second} joins the settings, and those that come then are told and nobody's`, async () => {
        await between(
          async (rig) => {
            fleet(rig, first)
            put(rig, 1)
            await rig.reconcile()
          },
          () => {},
          async (rig, before) => {
            fleet(rig, first, second)
            put(rig, 2)
            for (const _ of [1, 2]) {
              const { found, findings } = await rig.reconcile()
              assert.deepEqual(found, { ...nothing, unmatched: 1 })
              assert.equal(findings.length, 1)
              assert.match(findings[0] ?? "", /backup_a_b_c_.* of a(_b)?\/(b_)?c or a(_b)?\/(b_)?c/)
            }
            assert.deepEqual(await rig.versions(), before)
            // That one leaves does not make the other's what may be its.
            fleet(rig, second)
            assert.equal((await rig.reconcile()).found.unmatched, 1)
            assert.deepEqual(await owners(rig), [`${ref.vmId}/${ref.type} ok backup_a_b_c_20250101_000000.enc`])
          },
          { legacyKey },
        )
      })
    }

    test("are nobody's after one of the two has left, also in a catalog that was made anew", async () => {
      await between(
        async (rig) => {
          fleet(rig, "a", "a_b")
          put(rig, 1)
          await rig.reconcile()
          fleet(rig, "a")
          assert.equal((await rig.reconcile()).found.unmatched, 1)
        },
        ({ dir }) => SqliteCatalog.remake({ path: join(dir, "catalog.db"), migrationsDir }).close(),
        async (rig) => {
          fleet(rig, "a")
          assert.equal((await rig.reconcile()).found.unmatched, 1)
          assert.deepEqual(await owners(rig), [])
        },
        { legacyKey },
      )
    })

    test("stay whose they were in a catalog that was made anew, also where two fit from then on", async () => {
      await between(
        async (rig) => {
          fleet(rig, "a")
          put(rig, 1)
          await rig.reconcile()
        },
        ({ dir }) => SqliteCatalog.remake({ path: join(dir, "catalog.db"), migrationsDir }).close(),
        async (rig, before) => {
          fleet(rig, "a", "a_b")
          put(rig, 2)
          for (const imported of [1, 0]) {
            const { found, findings } = await rig.reconcile()
            assert.deepEqual(found, { ...nothing, imported, unmatched: 1 })
            assert.match(first(findings), /a\/b_c or a_b\/c, and nothing says of which/)
          }
          assert.deepEqual(await owners(rig), [`a/b_c ok ${before[0]?.backupId}`])
        },
        { legacyKey },
      )
    })

    test("are told truly, and in no list, where a lost catalog alone knew whose they were", async () => {
      await between(
        async (rig) => {
          fleet(rig, "a")
          put(rig, 1)
          await rig.reconcile()
        },
        lose,
        async (rig) => {
          fleet(rig, "a", "a_b")
          const { found, findings } = await rig.reconcile()
          assert.deepEqual(found, { ...nothing, unmatched: 1 })
          assert.match(first(findings), /backup_a_b_c_TIME\.enc .* nothing says of which: they are in no list\./)
        },
        { legacyKey },
      )
    })

    test("are had back under their row where it is damaged", async () => {
      await between(
        async (rig) => {
          fleet(rig, "a")
          put(rig, 1)
          await rig.reconcile()
        },
        change("UPDATE versions SET size = 99"),
        async (rig, before) => {
          fleet(rig, "a", "a_b")
          assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1 })
          assert.deepEqual(await owners(rig), [`a/b_c ok ${before[0]?.backupId}`])
        },
        { legacyKey },
      )
    })
  })

  test("of no known config are counted, and those of a config that left are still known", async () => {
    await between(
      async (rig) => {
        putLegacy(rig.legacyDir, { vmId: "vm99", type: "app", stamp: "20250101_000000" }, "{}", legacyKey)
        put(rig, "20250101_000000")
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1, unmatched: 1 })
      },
      () => {},
      async (rig) => {
        rig.settings.inventory = new Inventory([], [], new Map())
        put(rig, "20250102_000000")
        assert.deepEqual((await rig.reconcile()).found, { ...nothing, imported: 1, unmatched: 1 })
      },
      { legacyKey },
    )
  })
})

suite("A catalog that says less than was done", () => {
  for (const phase of ["prepared", "kept"]) {
    test(`of a push that it has at ${phase}: the file tells, and what was acknowledged stays`, async () => {
      await between(
        puts("port: 2\n"),
        change(
          `UPDATE operations SET phase = '${phase}', state = 'running', finished_at = NULL, file_state = NULL, version_id = NULL;
           DELETE FROM versions`,
        ),
        async (rig, before) => {
          await rig.reconcile()
          await rig.resolver.takeUp()
          const operation = await rig.end(({ finishedAt }) => finishedAt !== null)

          assert.deepEqual([operation.state, operation.fileState], ["succeeded", "written"])
          assert.equal(rig.text(), "port: 2\n")
          assert.deepEqual(withoutTimes(await rig.versions()), withoutTimes(before))
          await audit(rig)
        },
      )
    })
  }
})

/** What an operation says of a blob that has no row. */
interface Case {
  readonly operation: Partial<Operation>
  readonly journal: Partial<Journal> | null
  readonly trigger: "written" | "found"
  readonly fate: "import" | "remove" | "wait"
}

suite("A blob without a row", () => {
  const open = { state: "in_doubt", fileState: "unknown", finishedAt: null } as const
  const ended = { finishedAt: "2026-01-01T00:00:00.000Z" } as const
  const failed = { state: "failed", fileState: "unchanged", ...ended } as const
  const cases: Readonly<Record<string, Case>> = {
    "was written by a push that failed": { operation: failed, journal: null, trigger: "written", fate: "remove" },
    "was written by a push that was taken back": {
      operation: { ...failed, state: "rolled_back", fileState: "rolled_back" },
      journal: null,
      trigger: "written",
      fate: "remove",
    },
    "was written by a push that succeeded": {
      operation: { state: "succeeded", fileState: "written", ...ended },
      journal: null,
      trigger: "written",
      fate: "import",
    },
    "was found by a push that failed": { operation: failed, journal: null, trigger: "found", fate: "import" },
    "is being written by a push that is open": {
      operation: open,
      journal: { phase: "swapping" },
      trigger: "written",
      fate: "wait",
    },
    "was made by a push that had not got as far as its row": {
      operation: { ...open, state: "running" },
      journal: { phase: "prepared" },
      trigger: "written",
      fate: "wait",
    },
    "was found by a push that had not got as far as its row": {
      operation: { ...open, state: "running" },
      journal: { phase: "prepared" },
      trigger: "found",
      fate: "import",
    },
    "was found by an open push that is to keep nothing": {
      operation: open,
      journal: { phase: "swapping", keepVersions: false },
      trigger: "found",
      fate: "wait",
    },
    "was found by a push that kept nothing": {
      operation: { state: "succeeded", fileState: "written", ...ended },
      journal: { phase: "tidying", keepVersions: false },
      trigger: "found",
      fate: "remove",
    },
    "was found in the last moment by a push that kept nothing": {
      operation: { ...failed, fileState: "unchanged" },
      journal: { phase: "tidying", keepVersions: false, madeFoundId: null },
      trigger: "found",
      fate: "import",
    },
    "was found by a push of unknown end that was to keep nothing": {
      operation: { ...failed, fileState: "unknown" },
      journal: { phase: "tidying", keepVersions: false },
      trigger: "found",
      fate: "import",
    },
  }
  for (const [what, { operation: members, journal, trigger, fate }] of Object.entries(cases)) {
    test(`that ${what}: ${fate}`, async () => {
      const rig = await makeRig()
      try {
        const operation = anOperation({ ...ref, ...members })
        const { operationId } = operation
        const blob = blobOf({ operationId, trigger, at: "2026-02-01T00:00:00.000Z" })
        const { backup_id: backupId } = blob.header
        const made = trigger === "written" ? { madeWrittenId: backupId } : { madeFoundId: backupId }
        await rig.blobs.put([blob])
        await rig.catalog.addOperation(operation, journal && aJournal({ ...made, ...journal }))

        const { found } = await rig.reconcile()

        assert.deepEqual(
          [found.imported, found.blobsRemoved, rig.blobs.blobs.size],
          [fate === "import" ? 1 : 0, fate === "remove" ? 1 : 0, fate === "remove" ? 0 : 1],
        )
        assert.equal((await rig.catalog.getVersion(backupId)) !== null, fate === "import")
        const provisional = await rig.catalog.provisionalVersions()
        const isProvisional = fate === "wait"
        assert.deepEqual(
          provisional.map((version) => version.backupId),
          isProvisional ? [backupId] : [],
        )
        assert.equal(
          provisional.every(({ digest }) => digest === digestOf(blob.bytes)),
          true,
        )
      } finally {
        await rig.stop()
        await rig.remove()
      }
    })
  }

  test("is put aside where nobody knows the end of its push, and that could not be done before", async () => {
    const operation = anOperation({ ...ref, ...failed, fileState: "unknown" })
    const blob = blobOf({ operationId: operation.operationId, trigger: "written", at: "2026-02-01T00:00:00.000Z" })
    const rig = await makeRig()
    try {
      await rig.blobs.put([blob])
      await rig.catalog.addOperation(operation, aJournal({ phase: "tidying", madeWrittenId: blob.header.backup_id }))

      const { found, findings } = await rig.reconcile()

      assert.deepEqual([found.putAside, found.blobsRemoved, findings.length], [1, 0, 1])
      assert.deepEqual([...rig.blobs.aside.values()], [blob.bytes])
    } finally {
      await rig.stop()
      await rig.remove()
    }
  })

  test("is removed where the staging file of its push stands: it was never put in place", async () => {
    let operationId: string | null = null
    await between(
      async (rig) => {
        await rig.put("port: 2\n")
        operationId = first(await rig.versions()).operationId
      },
      (rig) => {
        change(
          `UPDATE operations SET phase = 'swapping', state = 'running', finished_at = NULL, file_state = NULL, version_id = NULL;
           DELETE FROM versions`,
        )(rig)
        edit(rig, "port: 1\n")
        rig.transport.files.set(`${live}.${operationId}.new`, file("port: 2\n"))
      },
      async (rig) => {
        await rig.reconcile()
        await rig.resolver.takeUp()
        await rig.end(({ finishedAt }) => finishedAt !== null)
        await audit(rig)

        assert.equal(rig.blobs.aside.size, 0)
      },
    )
  })

  for (const phase of ["prepared", "kept", "swapping"]) {
    for (const [what, text] of [
      ["something else stands", "port: 3\n"],
      ["what stood there before was put back by hand", "port: 1\n"],
    ] as const) {
      test(`stays in the store where ${what} on the VM and its push is open at ${phase}: nobody knows what was told`, async () => {
        await between(
          (rig) => rig.put("port: 2\n").then(() => {}),
          (rig) => {
            change(
              `UPDATE operations SET phase = '${phase}', state = 'running', finished_at = NULL, file_state = NULL, version_id = NULL;
               DELETE FROM versions`,
            )(rig)
            edit(rig, text)
          },
          async (rig) => {
            await rig.reconcile()
            await rig.resolver.takeUp()
            await rig.end(({ finishedAt }) => finishedAt !== null)
            await tidied(rig)

            assert.deepEqual([...rig.blobs.aside.values()].map(String), ["port: 2\n"])
          },
        )
      })
    }
  }

  test("is put aside again where somebody has moved it back: that its push failed was a guess", async () => {
    await between(
      (rig) => rig.put("port: 2\n").then(() => {}),
      (rig) => {
        change(
          `UPDATE operations SET phase = 'swapping', state = 'running', finished_at = NULL, file_state = NULL, version_id = NULL;
           DELETE FROM versions`,
        )(rig)
        edit(rig, "port: 1\n")
      },
      async (rig) => {
        await rig.reconcile()
        const all = [...rig.blobs.blobs]
        await rig.resolver.takeUp()
        const { state, fileState } = await rig.end(({ finishedAt }) => finishedAt !== null)
        assert.deepEqual([state, fileState], ["failed", "unchanged"])
        await tidied(rig)
        rig.blobs.aside.clear()
        for (const [key, blob] of all) rig.blobs.blobs.set(key, blob)

        const { found } = await rig.reconcile()

        assert.deepEqual([found.blobsRemoved, found.putAside], [0, 1])
        assert.deepEqual([...rig.blobs.aside.values()].map(String), ["port: 2\n"])
      },
    )
  })

  test("belongs to a provisional row that is damaged: what its blob says counts", async () => {
    const rig = await makeRig()
    try {
      const operation = anOperation({ ...ref, ...open })
      const blob = blobOf({ operationId: operation.operationId, trigger: "written", at: "2026-02-01T00:00:00.000Z" })
      const { backup_id: madeWrittenId } = blob.header
      await rig.blobs.put([blob])
      await rig.catalog.addOperation(operation, aJournal({ phase: "swapping", madeWrittenId }))
      await rig.reconcile()
      change("UPDATE provisional_versions SET version = json_set(version, '$.digest', 'another')")(rig)

      await rig.reconcile()

      assert.deepEqual(
        (await rig.catalog.provisionalVersions()).map(({ digest }) => digest),
        [digestOf(blob.bytes)],
      )
    } finally {
      await rig.stop()
      await rig.remove()
    }
  })

  test("is judged by its operation where a provisional row is left that no journal names", async () => {
    const rig = await makeRig()
    try {
      const operation = anOperation({ ...ref, ...failed })
      const blob = blobOf({ operationId: operation.operationId, trigger: "written", at: "2026-02-01T00:00:00.000Z" })
      await rig.blobs.put([blob])
      await rig.catalog.addOperation(operation, null)
      change(`INSERT INTO provisional_versions VALUES ('${blob.header.backup_id}', '{}')`)(rig)

      assert.deepEqual((await rig.reconcile()).found, { ...nothing, blobsRemoved: 1 })

      assert.deepEqual(await rig.catalog.provisionalVersions(), [])
      assert.equal(rig.blobs.blobs.size, 0)
    } finally {
      await rig.stop()
      await rig.remove()
    }
  })

  for (const [what, stillStands, end] of [
    ["whose version stands", true, { state: "succeeded", fileState: "written" }],
    ["whose version is gone", false, { state: "failed", fileState: "unknown" }],
  ] as const) {
    test(`by a later operation closes one ${what} that is open in an old copy of the catalog; nothing is removed`, async () => {
      const rig = await makeRig()
      try {
        const operation = anOperation({ ...ref, ...open, startedAt: "2026-01-01T00:00:00.000Z" })
        const { operationId } = operation
        const own = blobOf({ operationId, trigger: "written", at: "2026-01-01T00:00:00.100Z" })
        const later = blobOf({ operationId: "unknown-to-it", trigger: "written", at: "2026-01-02T00:00:00.000Z" })
        await rig.blobs.put(stillStands ? [own, later] : [later])
        const { backup_id: madeWrittenId } = own.header
        const names = { path, stagingPath: `${path}.${operationId}.new`, oldPath: `${path}.${operationId}.old` }
        await rig.catalog.addOperation(operation, aJournal({ ...names, phase: "swapping", madeWrittenId }))

        const { found, findings } = await rig.reconcile()

        const count = stillStands ? 2 : 1
        assert.deepEqual(found, { ...nothing, imported: count, outdated: 1 })
        assert.match(first(findings), /an older copy: operation/)
        assert.equal(rig.blobs.blobs.size, count)
        const closed = await rig.catalog.getOperation(operationId)
        assert.deepEqual({ state: closed?.state, fileState: closed?.fileState }, end)
        assert.ok(closed?.finishedAt)
        await audit(rig)
      } finally {
        await rig.stop()
        await rig.remove()
      }
    })
  }

  test("by a later operation that the catalog knows closes nothing: a clock was set back", async () => {
    const rig = await makeRig()
    try {
      const known = anOperation({ ...ref, ...failed })
      const operation = anOperation({ ...ref, ...open, startedAt: "2026-01-01T00:00:00.000Z" })
      await rig.blobs.put([
        blobOf({ operationId: known.operationId, trigger: "found", at: "2026-01-02T00:00:00.000Z" }),
      ])
      await rig.catalog.addOperation(known, null)
      await rig.catalog.addOperation(operation, aJournal({ phase: "swapping" }))

      assert.equal((await rig.reconcile()).found.outdated, 0)
      assert.equal((await rig.catalog.openOperations()).length, 1)
    } finally {
      await rig.stop()
      await rig.remove()
    }
  })
})

function blobOf({ operationId, trigger, at }: { operationId: string; trigger: "written" | "found"; at: string }) {
  const bytes = Buffer.from(`port: ${at}\n`)
  const ids = {
    backup_id: `v-${at.replaceAll(/[^0-9]/g, "")}`,
    vm_id: ref.vmId,
    type: ref.type,
    operation_id: operationId,
  }
  const attributes = { path, mode: 0o640, uid: 0, gid: 0, plain_len: bytes.length }
  return { bytes, header: { ...ids, ...attributes, created_at: at, trigger, reason: null, actor: "anonymous" } }
}
