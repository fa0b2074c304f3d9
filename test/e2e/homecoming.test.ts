import assert from "node:assert/strict"
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { after, afterEach, before, beforeEach, suite, test } from "node:test"
import { countCalls, runKilledAt } from "../support/killed.ts"
import { startSshd } from "../support/sshd.ts"
import type { Json } from "./client.ts"
import {
  allCopied,
  burnDown,
  copiesCheck,
  copyTo,
  filesBelow,
  keep,
  makeFarPlace,
  makePlace,
  versionsOf,
} from "./copies-world.ts"
import { eventually, makeWorld, type World, type WorldPlan } from "./world.ts"

const texts = ["port: 1\n# kept\n", "port: 2\n", "port: 3\n"]
const passphrase = { CONFIG_MANAGER_BACKUP_PASSPHRASE: "a horse, a battery" }
const withPassphrase: WorldPlan = {
  environment: passphrase,
  settings: () => ({ config_management: { encryption_key_path: "" } }),
}

/** Versions on two VMs, one of them pinned, one with a note, all of them copied to `place`. @returns what is listed */
async function fill(world: World, place: string): Promise<readonly Json[]> {
  const { send } = world
  await world.service().stop()
  await copyTo(world, place)
  await world.restart()
  await keep(world, "vm01", ...(texts as [string, ...string[]]))
  const [newest, second] = await versionsOf(send)
  await send("PATCH", `/backups/${String(newest?.backupId)}`, { json: { note: "a note" } })
  await send("PATCH", `/backups/${String(second?.backupId)}`, { json: { pinned: true } })
  await keep(world, "vm02", "port: 9\n")
  await allCopied(send)
  const listed = await versionsOf(send)
  await world.service().stop()
  return listed
}

const withoutTimes = (versions: readonly Json[]) => versions.map((version) => ({ ...version, verifiedAt: null }))

/** The list is the lost one, and each version is put back byte for byte. */
async function assertHome(world: World, listed: readonly Json[]): Promise<void> {
  await world.restart()
  assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(listed))
  const ofOne = listed.filter(({ vmId }) => vmId === "vm01").toReversed()
  for (const [index, { backupId }] of ofOne.entries()) {
    const restored = await world.send("POST", `/backups/${String(backupId)}/restore`)
    assert.equal(restored.status, 200, restored.text)
    assert.equal(await readFile(world.file("vm01"), "utf8"), texts[index])
  }
}

suite("config-manager restore-catalog on an empty machine", { timeout: 180_000 }, () => {
  for (const [with_, plan] of [
    ["a key file", {}],
    ["a passphrase", withPassphrase],
  ] as const) {
    test(`brings everything home from a directory, with ${with_}: the list, pins and notes, every byte`, async (t) => {
      const place = makePlace()
      const world = await makeWorld(plan)
      t.after(async () => {
        await world.close()
        await place.remove()
      })
      const listed = await fill(world, place.path)
      burnDown(world)

      const { code, stdout, stderr } = await world.home.run(["restore-catalog"])

      assert.deepEqual([code, stderr], [0, ""])
      assert.match(stdout, /^ +4 versions brought home, 0 stood here already\n +4 versions in /)
      await assertHome(world, listed)
    })

    test(`says how copying goes on where a service was started there too early, with ${with_}`, async (t) => {
      const place = makePlace()
      const world = await makeWorld(plan)
      t.after(async () => {
        await world.close()
        await place.remove()
      })
      await fill(world, place.path)
      burnDown(world)
      await world.restart()
      await keep(world, "vm01", "port: 8\n")
      const refused = await eventually(
        () => copiesCheck(world.send),
        ({ ok }) => !ok,
      )
      assert.match(
        refused.detail,
        /holds the copies of another store.* stop the service, move keyring\.json here away and call/,
      )
      const early = await versionsOf(world.send)
      await world.service().stop()

      const first = await world.home.run(["restore-catalog"])
      const keyring = join(world.home.backups, "keyring.json")
      renameSync(keyring, `${keyring}.early`)
      const second = await world.home.run(["restore-catalog"])
      await world.restart()

      assert.equal(first.code, 0)
      assert.match(
        first.stderr,
        /^keyring\.json stands here already .* nothing is copied to .* move it away and call this again/,
      )
      assert.deepEqual([second.code, second.stderr], [0, ""])
      await allCopied(world.send)
      for (const { backupId } of early) {
        assert.equal((await world.send("GET", `/backups/${String(backupId)}/content`)).status, 200)
      }
      assert.equal((await versionsOf(world.send)).length, 5)
    })
  }

  test("brings everything home over SSH, named on the command line alone, and may be called again", async (t) => {
    const far = await startSshd()
    const world = await makeWorld()
    t.after(async () => {
      await world.close()
      await far.stop()
    })
    const place = await makeFarPlace(world, far)
    const listed = await fill(world, place.url)
    burnDown(world)
    await copyTo(world, "")

    assert.equal((await world.home.run(["restore-catalog", "--from", place.url])).code, 0)
    const again = await world.home.run(["restore-catalog", "--from", `sftp://nobody@127.0.0.1:1${place.path}`])
    assert.deepEqual([again.code, again.stdout], [1, ""])
    assert.match(again.stderr, /call it again to go on/)
    const third = await world.home.run(["restore-catalog", "--from", place.url])

    assert.equal(third.code, 0)
    assert.match(third.stdout, /^ +0 versions brought home, 4 stood here already\n/)
    await assertHome(world, listed)
  })
})

suite("config-manager restore-catalog", { timeout: 180_000 }, () => {
  let world: World
  let place: ReturnType<typeof makePlace>
  let listed: readonly Json[]
  before(async () => {
    place = makePlace()
    world = await makeWorld()
    listed = await fill(world, place.path)
    // What the tests do on the machine that came home is not to stand among the copies.
    await copyTo(world, "")
  })
  beforeEach(() => burnDown(world))
  afterEach(async () => {
    await world.service().stop()
  })
  after(async () => {
    await world.close()
    await place.remove()
  })

  const restore = (from = place.path) => world.home.run(["restore-catalog", "--from", from])

  test("goes on where it was killed", async () => {
    const command = ["restore-catalog", "--from", place.path]
    const calls = await countCalls(world.home, command)
    assert.ok(calls > 20)
    for (const share of [0.2, 0.5, 0.8]) {
      burnDown(world)
      assert.equal(await runKilledAt(world.home, command, Math.floor(calls * share)), true)

      assert.equal((await restore()).code, 0)

      assert.deepEqual(
        filesBelow(world.home.backups).filter((name) => name.endsWith(".tmp")),
        [],
      )
      await assertHome(world, listed)
      await world.service().stop()
    }
  })

  test("tells of a copy that is damaged, brings the others, and ends with 1", async () => {
    const id = String(listed.find(({ vmId }) => vmId === "vm02")?.backupId)
    const file = join(place.path, "vm02", "central", `${id}.cmb`)
    const whole = readFileSync(file)
    writeFileSync(file, whole.subarray(0, -1))

    const { code, stdout, stderr } = await restore()

    writeFileSync(file, whole)
    assert.equal(code, 1)
    assert.match(stdout, /^ +3 versions brought home, 0 stood here already\n +1 copies are damaged\n/)
    assert.match(stderr, new RegExp(`^The copy vm02/central/${id}\\.cmb was left where it is\\. `))
    await assertHome(
      world,
      listed.filter(({ backupId }) => backupId !== id),
    )
  })

  test("brings home what a store that is there lacks: a version whose file is lost, and its row with the catalog", async () => {
    assert.equal((await restore()).code, 0)
    const id = String(listed.find(({ pinned }) => pinned)?.backupId)
    rmSync(join(world.home.backups, "vm01", "central", `${id}.cmb`))
    assert.match((await world.home.run(["reindex"])).stdout, /^ +3 versions in /)

    const { code, stdout } = await restore()

    assert.equal(code, 0)
    assert.match(stdout, /^ +1 versions brought home, 3 stood here already\n +4 versions in /)
    await assertHome(world, listed)
  })

  test("is refused while the service runs", async () => {
    await world.restart()

    const { code, stdout, stderr } = await restore()

    assert.deepEqual([code, stdout], [78, ""])
    assert.match(stderr, /nother process/)
  })

  test("is refused with another key than the copies were sealed with, and goes on with the right one", async () => {
    const right = readFileSync(world.home.keyFile)
    writeFileSync(world.home.keyFile, Buffer.alloc(32, 5))

    const { code, stderr } = await restore()

    writeFileSync(world.home.keyFile, right)
    assert.equal(code, 78)
    assert.match(stderr, /is not the one that sealed in/)
    assert.equal((await restore()).code, 0)
    await assertHome(world, listed)
  })

  test("says so where the place holds nothing, is none, or none is named", async () => {
    const empty = makePlace()
    const nothing = await restore(empty.path)
    await empty.remove()
    assert.deepEqual([nothing.code, nothing.stdout], [1, ""])
    assert.match(nothing.stderr, /holds no version: see whether it is the right place, and mounted\./)

    assert.deepEqual((await restore(empty.path)).code, 1)
    const odd = await restore("nearby")
    assert.deepEqual([odd.code, odd.stderr.slice(0, 12)], [78, "--from takes"])
    const none = await world.home.run(["restore-catalog"])
    assert.equal(none.code, 78)
    assert.match(none.stderr, /^There is no place to bring copies home from\. /)
  })

  test("leaves nothing of a wrong place, or of one that is not mounted, in the way of the right one", async () => {
    const wrong = makePlace()
    const id = String(listed.find(({ vmId }) => vmId === "vm01")?.backupId)
    mkdirSync(join(wrong.path, "vm01", "central"), { recursive: true })
    copyFileSync(join(place.path, "vm01", "central", `${id}.cmb`), join(wrong.path, "vm01", "central", `${id}.cmb`))
    const otherKey = { version: 1, activeKeyId: "0".repeat(32), scryptSalt: "1".repeat(32) }
    writeFileSync(join(wrong.path, "keyring.json"), JSON.stringify(otherKey))
    writeFileSync(join(wrong.path, "notes.jsonl"), `{"at":"2020-01-01T00:00:00.000Z","backupId":"${id}","note":"no"}\n`)
    const unmounted = makePlace()
    assert.equal((await restore(unmounted.path)).code, 1)
    assert.equal((await restore(wrong.path)).code, 78)
    for (const each of [wrong, unmounted]) await each.remove()

    const { code, stderr } = await restore()

    assert.deepEqual([code, stderr], [0, ""])
    assert.deepEqual(
      await readFile(join(world.home.backups, "keyring.json")),
      await readFile(join(place.path, "keyring.json")),
    )
    await assertHome(world, listed)
  })

  test("keeps the pins and notes of before where a service was started too early on the new machine", async () => {
    await world.restart()
    await world.service().stop()

    const { code, stderr } = await restore()

    assert.equal(code, 0)
    assert.match(
      stderr,
      /^keyring\.json stands here already and differs from the copy; it stays as it is: it is another store's, .*\n$/,
    )
    await assertHome(world, listed)
  })
})
