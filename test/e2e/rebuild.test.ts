import assert from "node:assert/strict"
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after, before, suite, type TestContext, test } from "node:test"
import { assertProblem, itemsOf, type Json, type Send } from "./client.ts"
import { makeWorld, type World } from "./world.ts"

const vmId = "vm01"
const url = `/vms/${vmId}/configs/central`
const texts = ["port: 1\n", "port: 2\n# kept\n", "port: 3\n", "port: 4\n"]

/** Four versions, one pinned, one with a note. */
async function fill(world: World): Promise<void> {
  const [found = "", ...written] = texts
  await writeFile(world.file(vmId), found)
  for (const text of written) assert.equal((await world.send("PUT", url, { yaml: text })).status, 200)
  const [newest, second] = await versionsOf(world.send)
  for (const [version, change] of [
    [newest, { note: "a note" }],
    [second, { pinned: true }],
  ] as const) {
    assert.equal((await world.send("PATCH", `/backups/${String(version?.backupId)}`, { json: change })).status, 200)
  }
}

async function versionsOf(send: Send): Promise<readonly Json[]> {
  return itemsOf(await send("GET", "/backups?limit=500"))
}

const withoutTimes = (versions: readonly Json[]) => versions.map((version) => ({ ...version, verifiedAt: null }))

/** Each version opens, and a restore puts back just its bytes. */
async function assertRestores(world: World): Promise<void> {
  const versions = [...(await versionsOf(world.send))].reverse().slice(0, texts.length)
  for (const [index, { backupId }] of versions.entries()) {
    const content = await world.send("GET", `/backups/${String(backupId)}/content`, {
      headers: { accept: "application/yaml" },
    })
    assert.equal(content.text, texts[index])
    const restored = await world.send("POST", `/backups/${String(backupId)}/restore`)
    assert.equal(restored.status, 200, restored.text)
    assert.equal(await readFile(world.file(vmId), "utf8"), texts[index])
  }
}

function lose({ home }: World): void {
  for (const part of ["", "-wal", "-shm"]) rmSync(join(home.state, `catalog.db${part}`), { force: true })
}

suite("A service whose catalog", { concurrency: 1 }, () => {
  let world: World
  let listed: readonly Json[]
  before(async () => {
    world = await makeWorld()
    await fill(world)
  })
  after(() => world.close())

  /** Stops or kills the service, spoils its catalog, and starts it again. */
  async function between(spoil: () => void, end: () => Promise<unknown> = () => world.service().stop()): Promise<void> {
    listed = await versionsOf(world.send)
    await end()
    spoil()
    await world.restart()
  }

  const catalog = (): string => join(world.home.state, "catalog.db")
  const spoils: Readonly<Record<string, () => void>> = {
    "was deleted": () => lose(world),
    "is empty": () => writeFileSync(catalog(), ""),
    "was zeroed": () => writeFileSync(catalog(), Buffer.alloc(readFileSync(catalog()).length)),
    "was overwritten": () => writeFileSync(catalog(), "x".repeat(20_000)),
    "was cut": () => writeFileSync(catalog(), readFileSync(catalog()).subarray(0, 20_000)),
  }
  for (const [what, spoil] of Object.entries(spoils)) {
    test(`${what} lists what it listed, pins and notes included`, async () => {
      await between(spoil)

      assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(listed))
      assert.equal((await world.send("GET", "/readyz")).body.degraded, false)
      const told = await world.service().logged(({ msg }) => /is now$/.test(String(msg)))
      assert.equal(told.imported, listed.length)
    })
  }

  test("was deleted gives back each of its versions", async () => {
    await between(() => lose(world))
    await assertRestores(world)
  })

  test("was replaced by an old copy lists what was made since as well", async () => {
    listed = await versionsOf(world.send)
    await world.service().stop()
    const copy = readFileSync(catalog())
    await world.restart()
    assert.equal((await world.send("PUT", url, { yaml: "port: 5\n" })).status, 200)

    await between(() => writeFileSync(catalog(), copy))

    assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(listed))
  })

  test("is as it was says nothing, and is as it was", async () => {
    await between(() => {})

    assert.deepEqual(await versionsOf(world.send), listed)
    const told = world.service().lines.filter(({ level, msg }) => Number(level) >= 40 || /catalog/.test(String(msg)))
    assert.deepEqual(told, [])
  })

  test("is removed while it runs writes nothing and says so, and comes back with the next start", async () => {
    listed = await versionsOf(world.send)
    const before = await readFile(world.file(vmId), "utf8")
    renameSync(catalog(), `${catalog()}.gone`)

    const refused = await world.send("PUT", url, { yaml: "port: 6\n" })
    assertProblem(refused, 503, "backup_storage_unavailable")
    for (const { backupId, pinned } of listed) {
      const unpinned = await world.send("PATCH", `/backups/${String(backupId)}`, {
        json: { pinned: pinned !== true, note: "refused" },
      })
      assertProblem(unpinned, 503, "backup_storage_unavailable")
    }
    assert.equal((await world.send("GET", "/readyz")).status, 503)
    assert.equal(await readFile(world.file(vmId), "utf8"), before)
    await world.service().kill()
    await world.restart()

    assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(listed))
    rmSync(`${catalog()}.gone`)
  })

  test("and one blob are damaged lists the others, and keeps the blob's file aside", async () => {
    const directory = join(world.home.backups, vmId, "central")
    const [name = ""] = readdirSync(directory).sort()
    await between(() => {
      lose(world)
      const blob = readFileSync(join(directory, name))
      blob[200] = (blob[200] ?? 0) ^ 1
      writeFileSync(join(directory, name), blob)
    })

    const gone = listed.filter(({ backupId }) => `${String(backupId)}.cmb` === name)
    assert.equal(gone.length, 1)
    const left = listed.filter((version) => !gone.includes(version))
    assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(left))
    assert.deepEqual(readdirSync(join(world.home.backups, ".unreadable", vmId, "central")), [name])
    const { msg } = await world.service().logged(({ msg }) => /does not open with any key/.test(String(msg)))
    assert.match(String(msg), /\.unreadable/)
  })
})

suite("A service whose catalog and keyring.json are gone", { concurrency: 2 }, () => {
  const keys: Readonly<Record<string, Parameters<typeof makeWorld>[0]>> = {
    "a key file": {},
    "a passphrase": {
      settings: () => ({ config_management: { encryption_key_path: "" } }),
      environment: { CONFIG_MANAGER_BACKUP_PASSPHRASE: "correct horse battery staple" },
    },
  }
  /** Stopped, with nothing left but its versions and their notes. */
  async function makeLost(context: TestContext, plan?: Parameters<typeof makeWorld>[0]) {
    const world = await makeWorld(plan)
    context.after(() => world.close())
    await fill(world)
    const listed = await versionsOf(world.send)
    await world.service().stop()
    lose(world)
    rmSync(join(world.home.backups, "keyring.json"))
    return { world, listed }
  }

  for (const [what, plan] of Object.entries(keys)) {
    test(`lists, opens and restores everything with ${what}`, async (context) => {
      const { world, listed } = await makeLost(context, plan)

      await world.restart()

      assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(listed))
      await assertRestores(world)
    })
  }

  test("starts with no key that opens nothing, as check says, and with the right one as ever", async (context) => {
    const { world, listed } = await makeLost(context)
    const key = readFileSync(world.home.keyFile)
    writeFileSync(world.home.keyFile, Buffer.alloc(32, 7))

    for (const command of ["check", "serve", "reindex", "rewrap"]) {
      const { code, stderr } = await world.home.run([command])
      assert.equal(code, 78, stderr)
      assert.match(stderr, /^None of 4 .* opens .*--new-key/m)
    }

    writeFileSync(world.home.keyFile, key)
    await world.restart()
    assert.deepEqual(withoutTimes(await versionsOf(world.send)), withoutTimes(listed))
    await assertRestores(world)
  })
})
