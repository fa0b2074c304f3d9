import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, test } from "node:test"
import { setImmediate as nextTurn } from "node:timers/promises"
import type { Catalog } from "../../src/domain/catalog.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { ImportedVersion } from "../../src/domain/version.ts"
import type { PurgeOptions } from "../../src/services/retention.ts"
import { file } from "../fakes/memory-transport.ts"
import { contentsOf, idOf, leaveSettings, putDaily, type TestClock, withClock } from "./keeping.ts"
import { edit, live, lost, makeRig, type Rig, refusal } from "./rig.ts"

const asked: PurgeOptions = { dryRun: false, force: true }
const signal = new AbortController().signal

/** Time passes with a look at the clock each day, as the daily purge takes one; nothing goes meanwhile. */
async function wait(rig: Rig, time: TestClock, days: number): Promise<void> {
  for (let day = 0; day < days; day += 1) {
    time.pass(1)
    rig.retentionClock.look()
  }
  await rig.retentionClock.now()
}

suite("A purge", () => {
  test("removes what was superseded 90 days ago, row and blob, oldest first, and keeps the newest", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 3)
      await wait(rig, time, 88)
      const [, , second = "", first = ""] = (await rig.versions()).map(({ backupId }) => backupId)

      assert.deepEqual(await rig.retention.purge({ dryRun: true, force: false }), { removed: [first, second], kept: 2 })
      assert.equal((await rig.versions()).length, 4)
      assert.deepEqual(await rig.retention.purge(asked), { removed: [first, second], kept: 2 })
      assert.deepEqual(await contentsOf(rig), ["n: 3", "n: 2"])

      await wait(rig, time, 500)
      assert.equal((await rig.retention.purge(asked)).removed.length, 1)
      assert.deepEqual(await rig.retention.purge(asked), { removed: [], kept: 1 })
      assert.deepEqual(await contentsOf(rig), ["n: 3"])
    }))

  test("keeps the newest that opens, where nobody has looked yet at the rotten and the lost that came after it", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 4)
      await wait(rig, time, 400)
      const [lostOne, rotten, newest, older, oldest] = await rig.versions()
      assert.ok(lostOne && rotten && newest && older && oldest)
      rig.blobs.damage(rotten)
      const name = `${lostOne.vmId}/${lostOne.type}/${lostOne.backupId}`
      const blob = rig.blobs.blobs.get(name)
      assert.ok(blob)
      rig.blobs.blobs.delete(name)

      assert.equal((await refusal(rig.retention.remove(newest.backupId, signal))).code, "backup_protected")
      assert.deepEqual((await rig.retention.purge(asked)).removed, [oldest.backupId, older.backupId])

      const left = (await rig.versions()).map(({ backupId, state }) => [backupId, state])
      assert.deepEqual(left, [
        [lostOne.backupId, "missing"],
        [rotten.backupId, "damaged"],
        [newest.backupId, "ok"],
      ])
      rig.blobs.damaged.clear()
      rig.blobs.blobs.set(name, blob)
    }))

  test("lets nothing go where the store cannot be asked for what came after it", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 400)
      const oldest = (await rig.versions()).at(-1)
      rig.blobs.failing.set("open", "backup_storage_unavailable")

      assert.deepEqual((await rig.retention.purge(asked)).removed, [])
      const refused = await refusal(rig.retention.remove(oldest?.backupId ?? "", signal))
      assert.equal(refused.code, "backup_storage_unavailable")

      rig.blobs.failing.clear()
      assert.equal((await rig.retention.purge(asked)).removed.length, 2)
    }))

  test("looks at one version of each config of which something goes, and at no other", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 3)
      const opened: string[] = []
      const { open } = rig.blobs
      rig.blobs.open = (each) => {
        opened.push(each.backupId)
        return open.call(rig.blobs, each)
      }
      await rig.retention.purge(asked)
      assert.deepEqual(opened, [])
      await wait(rig, time, 400)
      const [newest] = await rig.versions()

      assert.equal((await rig.retention.purge(asked)).removed.length, 3)

      assert.deepEqual(opened, [newest?.backupId])
    }))

  test("goes on where the catalog has no room for the time at which the newest was looked at", () =>
    withClock(
      async (rig, time) => {
        await putDaily(rig, time, 2)
        await wait(rig, time, 400)
        assert.equal((await rig.retention.purge(asked)).removed.length, 2)
      },
      { instead: ({ catalog }) => ({ catalog: withoutRoomToMark(catalog) }) },
    ))

  test("keeps what is pinned, and lets it go once it is not", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 3)
      const pinned = await idOf(rig, "n: 1")
      await rig.versionNotes.annotate(pinned, { pinned: true })
      await wait(rig, time, 400)
      await rig.retention.purge(asked)
      assert.deepEqual(await contentsOf(rig), ["n: 3", "n: 1"])

      await rig.versionNotes.annotate(pinned, { pinned: false })
      assert.deepEqual((await rig.retention.purge(asked)).removed, [pinned])
    }))

  test("is held back where more than half would go, says so, and goes on once it is forced", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 3)
      await wait(rig, time, 400)
      assert.equal(rig.retention.health().ok, true)

      assert.equal(await rig.retention.purgeUnasked(), null)
      const { ok, detail } = rig.retention.health()
      assert.ok(!ok)
      assert.match(detail, /would remove 3 of 4 backups, more than half; nothing was removed.*force=true/)
      const fault = await refusal(rig.retention.purge({ dryRun: false, force: false }))
      assert.deepEqual([fault.code, fault.message], ["purge_guard", detail])
      assert.equal((await rig.retention.purge({ dryRun: true, force: false })).removed.length, 3)
      assert.equal((await rig.versions()).length, 4)

      assert.equal((await rig.retention.purge(asked)).removed.length, 3)
      assert.equal(rig.retention.health().ok, true)
    }))

  test("goes on by itself once no more than half would go", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 400)
      assert.equal(await rig.retention.purgeUnasked(), null)
      await rig.put("n: 8\n")
      await rig.put("n: 9\n")
      assert.equal((await rig.retention.purgeUnasked())?.removed.length, 2)
      assert.equal(rig.retention.health().ok, true)
    }))

  test("removes nothing for a clock that is set forward by ten years", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 5)
      time.set(3650)
      assert.deepEqual((await rig.retention.purge(asked)).removed, [])
      await wait(rig, time, 60)
      assert.deepEqual((await rig.retention.purge(asked)).removed, [])
    }))

  test("takes a moment in which the clock was wrong into account, though no purge saw it", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      await wait(rig, time, 300)
      time.set(-200)
      await rig.put("n: 2\n")
      time.set(200)
      const oldest = await idOf(rig, "n: 0")
      assert.deepEqual((await rig.retention.purge(asked)).removed, [oldest])
    }))

  test("takes such a moment into account also where the clock was right again when the change ended", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      await wait(rig, time, 300)
      await rig.retention.purge(asked)
      time.set(-200)
      rig.transport.onStep("swap", () => time.set(200))
      await rig.put("n: 2\n")
      assert.deepEqual((await rig.retention.purge(asked)).removed, [])
    }))

  test("takes such a moment into account also where the process was killed in it", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      await wait(rig, time, 300)
      await rig.retention.purge(asked)
      time.set(-200)
      await rig.put("n: 2\n")
      const { clock, monotonic } = time
      const next = await makeRig({ after: rig, instead: () => ({ clock, monotonic }) })
      try {
        time.set(200)
        assert.deepEqual((await next.retention.purge(asked)).removed, [])
      } finally {
        await next.stop()
      }
    }))

  test("removes nothing of a config that left while the clock was set back", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 1)
      time.pass(200)
      await rig.retention.purge({ dryRun: false, force: true })
      time.set(-365)
      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      time.set(365)

      assert.deepEqual(await rig.retention.purge({ dryRun: false, force: true }), { removed: [], kept: 1 })
    }))

  test("after 10 000 leaves the rest for the next", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      const [newest] = await rig.versions()
      assert.ok(newest)
      const { supersededAt, note, pinned, ...like } = newest
      assert.deepEqual([supersededAt, note, pinned], [null, null, false])
      const blob = rig.blobs.blobs.get(`${newest.vmId}/${newest.type}/${newest.backupId}`)
      assert.ok(blob)
      const old = Array.from({ length: 10_150 }, (_, index): ImportedVersion => {
        const validFrom = new Date(Date.UTC(2020, 0, 1) + index * 1000).toISOString()
        return { ...like, mode: 0o640, validFrom, vmId: `vm${index % 50}`, backupId: `old-${index}` }
      })
      for (const { vmId, type, backupId } of old) rig.blobs.blobs.set(`${vmId}/${type}/${backupId}`, blob)
      for (let at = 0; at < old.length; at += 500) await rig.catalog.importVersions(old.slice(at, at + 500))
      time.pass(400)
      await rig.versionNotes.takeStock()
      await wait(rig, time, 100)
      assert.equal((await rig.retention.purge({ dryRun: true, force: false })).removed.length, 10_000)
      assert.equal((await rig.retention.purge(asked)).removed.length, 10_000)
      assert.ok((await rig.retention.purge(asked)).removed.length >= 140)
      assert.equal((await rig.retention.purge(asked)).removed.length, 0)
    }))

  test("lets go all of a config 90 days after it left the settings, and none of it once it is back", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 400)
      await rig.retention.purge(asked)
      const comeBack = leaveSettings(rig)
      assert.equal(await rig.versionNotes.takeStock(), 1)
      await wait(rig, time, 89)
      assert.deepEqual((await rig.retention.purge(asked)).removed, [])
      await comeBack()
      await wait(rig, time, 100)
      assert.deepEqual((await rig.retention.purge(asked)).removed, [])

      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      await wait(rig, time, 90)
      assert.equal((await rig.retention.purge(asked)).removed.length, 1)
      assert.deepEqual(await rig.versions(), [])
    }))

  test("protects a config that is back in the settings, though nobody has noted that yet", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      const { inventory } = rig.settings
      leaveSettings(rig)
      await rig.versionNotes.takeStock()
      await wait(rig, time, 400)
      rig.settings.inventory = inventory
      await rig.retention.purge(asked)
      assert.deepEqual(await contentsOf(rig), ["n: 1"])
      assert.deepEqual(await rig.catalog.departures(), [])
    }))

  test("removes the row of a blob that cannot be removed, and tells of it", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      const before = [...rig.blobs.blobs]
      await wait(rig, time, 400)
      rig.blobs.failing.set("remove", "backup_storage_unavailable")
      assert.equal((await rig.retention.purge(asked)).removed.length, 2)
      assert.equal((await rig.versions()).length, 1)
      assert.match(rig.problems.join(), /the files of 2 removed backups could not be removed/)
      assert.equal(rig.blobs.blobs.size, before.length)
      rig.blobs.failing.clear()
      const rows = new Set((await rig.versions()).map(({ backupId }) => backupId))
      for (const key of [...rig.blobs.blobs.keys()]) if (!rows.has(key.split("/")[2] ?? "")) rig.blobs.blobs.delete(key)
    }))

  test("removes the file of a backup of the original service as well", () =>
    withClock(async (rig, time) => {
      const backupId = "backup_vm01_app_20240102_030405.enc"
      const path = join(rig.legacyDir, backupId)
      await writeFile(path, "sealed")
      await rig.put("n: 1\n")
      const [newest] = await rig.versions()
      assert.ok(newest)
      const { supersededAt, note, pinned, ...like } = newest
      assert.deepEqual([supersededAt, note, pinned], [null, null, false])
      const legacy = {
        format: "legacy",
        mode: null,
        uid: null,
        gid: null,
        validFrom: "2024-01-02T03:04:05.000Z",
      } as const
      await rig.catalog.importVersions([{ ...like, ...legacy, backupId }])
      await wait(rig, time, 60)
      assert.deepEqual((await rig.retention.purge(asked)).removed, [])
      assert.ok(existsSync(path))
      await wait(rig, time, 40)
      assert.equal((await rig.retention.purge(asked)).removed[0], backupId)
      assert.ok(!existsSync(path))
    }))

  test("removes nothing while what is pinned cannot be known", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 400)
      const pinned = await idOf(rig, "n: 0")
      // A catalog made anew knows of no pins before the notes were read.
      await rig.notes.append([{ at: "2026-01-01T00:00:00.000Z", backupId: pinned, pinned: true }])
      rig.notes.failing = "backup_storage_unavailable"
      assert.equal((await refusal(rig.retention.purge(asked))).code, "backup_storage_unavailable")
      assert.equal((await refusal(rig.retention.remove(pinned, signal))).code, "backup_storage_unavailable")
      assert.equal((await rig.versions()).length, 3)
      rig.notes.failing = null
      await rig.retention.purge(asked)
      assert.deepEqual(await contentsOf(rig), ["n: 2", "n: 0"])
    }))

  test("asked for twice at once removes each version once", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 4)
      await wait(rig, time, 400)
      const reports = await Promise.all([rig.retention.purge(asked), rig.retention.purge(asked)])
      assert.deepEqual(
        reports.map(({ removed, kept }) => [removed.length, kept]),
        [
          [4, 1],
          [0, 1],
        ],
      )
    }))

  test("does not remove what lost its place while it was under way, by a clock that was set back", () =>
    withClock(async (rig, time) => {
      for (let n = 1; n <= 105; n += 1) await rig.put(`n: ${n}\n`)
      await wait(rig, time, 100)
      const remove = rig.blobs.remove.bind(rig.blobs)
      rig.blobs.remove = async (each) => {
        rig.blobs.remove = remove
        await remove(each)
        time.set(-400)
        await rig.put("n: 106\n")
        time.set(400)
      }
      await rig.retention.purge(asked)
      assert.deepEqual((await contentsOf(rig)).slice(0, 2), ["n: 106", "n: 105"])
    }))

  test("ends before another one begins", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 400)
      const { promise: held, resolve: goOn } = Promise.withResolvers<void>()
      const { promise: removing, resolve: isRemoving } = Promise.withResolvers<void>()
      const remove = rig.blobs.remove.bind(rig.blobs)
      rig.blobs.remove = async (blob) => {
        isRemoving()
        await held
        return remove(blob)
      }
      const ended: string[] = []
      const first = rig.retention.purge(asked).then(() => ended.push("first"))
      await removing
      const second = rig.retention.purge(asked).then(() => ended.push("second"))
      for (let turn = 0; turn < 20; turn += 1) await nextTurn()
      goOn()
      await Promise.all([first, second])
      assert.deepEqual(ended, ["first", "second"])
    }))

  test("counts what would go once, however many batches it takes", () => {
    const asked: unknown[] = []
    const watched = (catalog: Catalog): Catalog =>
      new Proxy(catalog, {
        get: (target, name) => {
          if (name !== "expiredVersions") return bound(target, name)
          return (...given: Parameters<Catalog["expiredVersions"]>) => {
            asked.push(given[2] ?? "counted")
            return target.expiredVersions(...given)
          }
        },
      })
    return withClock(
      async (rig, time) => {
        await putDaily(rig, time, 3)
        await wait(rig, time, 400)
        await rig.retention.purge({ dryRun: false, force: true })
        // The first finds what is to be looked at before anything goes.
        assert.deepEqual(asked, ["counted", "uncounted", "uncounted", "uncounted"])
      },
      { instead: ({ catalog }) => ({ catalog: watched(catalog) }) },
    )
  })

  test("does not take what is pinned between its look and its deed", () => {
    let between: () => Promise<void> = async () => undefined
    const watched = (catalog: Catalog): Catalog =>
      new Proxy(catalog, {
        get: (target, name) => {
          if (name !== "expiredVersions") return bound(target, name)
          return async (cutoff: string, limit: number) => {
            const found = await target.expiredVersions(cutoff, limit)
            // The first look counts only; each deed looks for itself.
            if (limit > 1) await between()
            return found
          }
        },
      })
    return withClock(
      async (rig, time) => {
        await putDaily(rig, time, 3)
        await wait(rig, time, 400)
        const id = await idOf(rig, "n: 2")
        const pinned: Promise<boolean>[] = []
        between = async () => {
          const pinning = rig.versionNotes.annotate(id, { pinned: true })
          pinned.push(
            pinning.then(
              () => true,
              () => false,
            ),
          )
          for (let turn = 0; turn < 20; turn += 1) await nextTurn()
        }
        await rig.retention.purge(asked)
        const isPinned = (await Promise.all(pinned)).includes(true)
        assert.equal((await rig.catalog.getVersion(id)) !== null, isPinned)
      },
      { instead: ({ catalog }) => ({ catalog: watched(catalog) }) },
    )
  })
})

/** As a full disk does, where nothing has given it room yet. */
function withoutRoomToMark(catalog: Catalog): Catalog {
  const full = () => Promise.reject(new Fault("storage_full", "full"))
  return new Proxy(catalog, { get: (target, name) => (name === "markVersion" ? full : bound(target, name)) })
}

function bound(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name)
  return typeof value === "function" ? value.bind(target) : value
}

suite("Removing one backup", () => {
  const refused = async (rig: Rig, id: string, why: RegExp): Promise<void> => {
    const fault = await refusal(rig.retention.remove(id, signal))
    assert.equal(fault.code, "backup_protected")
    assert.match(fault.message, why)
    assert.ok(await rig.catalog.getVersion(id))
  }

  test("takes row and blob of one that was superseded 90 days ago", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 90)
      await rig.retention.remove(await idOf(rig, "n: 0"), signal)
      assert.deepEqual(await contentsOf(rig), ["n: 2", "n: 1"])
    }))

  test("tells that it is in no list and its file still stands, where that cannot be removed", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 90)
      const id = await idOf(rig, "n: 0")
      rig.blobs.failing.set("remove", "backup_storage_unavailable")
      const fault = await refusal(rig.retention.remove(id, signal))
      assert.equal(fault.code, "backup_storage_unavailable")
      assert.match(
        fault.message,
        new RegExp(`^Backup ${id} is in no list any more.* at the next start it is listed again`),
      )
      assert.deepEqual(rig.problems, [])
      assert.deepEqual(await contentsOf(rig), ["n: 2", "n: 1"])
      rig.blobs.failing.clear()
      for (const key of [...rig.blobs.blobs.keys()]) if (key.endsWith(id)) rig.blobs.blobs.delete(key)
    }))

  test("is refused for an id that is unknown, or gone already", () =>
    withClock(async (rig) => {
      assert.equal((await refusal(rig.retention.remove("none", signal))).code, "backup_not_found")
    }))

  test("is refused for a pinned one, which says how to unpin it", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      const id = await idOf(rig, "n: 0")
      await rig.versionNotes.annotate(id, { pinned: true })
      await wait(rig, time, 400)
      await refused(rig, id, /it is pinned\. Unpin it first/)
    }))

  test("is refused for the newest of a config in the settings, however old", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      await wait(rig, time, 4000)
      await refused(rig, await idOf(rig, "n: 1"), /the newest of vm01\/app/)
    }))

  test("is refused for one superseded less than 90 days ago, which says until when", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      await wait(rig, time, 89.9)
      const until = /other bytes took its place less than 90 days ago\. It is kept until 2026-04-01T00:00:00\.\d{3}Z\.$/
      await refused(rig, await idOf(rig, "n: 0"), until)
    }))

  test("goes by the 90 days alone, whatever longer time is set for the purge", () =>
    withClock(
      async (rig, time) => {
        await rig.put("n: 1\n")
        await wait(rig, time, 91)
        assert.deepEqual((await rig.retention.purge(asked)).removed, [])
        await rig.retention.remove(await idOf(rig, "n: 0"), signal)
      },
      { instead: () => ({ retentionDays: () => 365 }) },
    ))

  test("is refused by a clock that was set forward, which says for how long", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      time.set(200)
      await refused(
        rig,
        await idOf(rig, "n: 0"),
        /in the time that retention goes by, which is 200 days behind this machine's clock/,
      )
    }))

  test("is refused for the newest of a config that left less than 90 days ago, or just now", () =>
    withClock(async (rig, time) => {
      await rig.put("n: 1\n")
      await wait(rig, time, 400)
      leaveSettings(rig)
      const id = await idOf(rig, "n: 1")
      await refused(rig, id, /its config left the settings less than 90 days ago/)
      await rig.versionNotes.takeStock()
      await wait(rig, time, 89)
      await refused(rig, id, /its config left the settings less than 90 days ago/)
      await wait(rig, time, 1)
      await rig.retention.remove(id, signal)
    }))

  test("waits for a change of the config that is under way", () =>
    withClock(async (rig, time) => {
      await putDaily(rig, time, 2)
      await wait(rig, time, 100)
      const id = await idOf(rig, "n: 0")
      const steps: string[] = []
      rig.transport.onStep("swap", () => void steps.push("swap"), "after")
      const put = rig.put("n: 9\n").then(() => steps.push("put"))
      await Promise.all([put, rig.retention.remove(id, signal).then(() => steps.push("removed"))])
      assert.deepEqual(steps, ["swap", "put", "removed"])
    }))

  test("is refused while the outcome of a change of the config is open", () =>
    withClock(
      async (rig, time) => {
        await putDaily(rig, time, 2)
        await wait(rig, time, 100)
        const id = await idOf(rig, "n: 0")
        // Two editors at once, of whom the first one's bytes cannot be kept: the change stays open for so long.
        rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
        rig.transport.onStep("swap", () => void rig.transport.files.set(live, file("by: editor two\n")), "after")
        rig.transport.onStep("swap", () => void rig.blobs.failing.set("put", "storage_full"), "after")
        rig.transport.failNext("swap", lost(), { applied: true })
        const { operationId = "" } = (await refusal(rig.put("n: 9\n"))).details

        assert.equal((await refusal(rig.retention.remove(id, signal))).code, "operation_in_doubt")

        rig.blobs.failing.clear()
        await rig.end((operation) => operation.operationId === operationId)
        await rig.retention.remove(id, signal)
      },
      { timeoutMs: 300 },
    ))
})
