import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import { readdir, rm, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, test } from "node:test"
import { v7 as uuidv7 } from "uuid"
import { loadKeys } from "../../src/blobs/keyring.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { VersionKeeper } from "../../src/services/version-keeper.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { assertProblem, itemsOf, type Json } from "./client.ts"
import { eventually, makeWorld, vmIds, type World } from "./world.ts"

const dayMs = 24 * 60 * 60 * 1000

/** Puts a file in place on every VM, and runs the test over it. */
async function inWorld(work: (world: World) => Promise<void>): Promise<void> {
  const world = await makeWorld()
  try {
    for (const vmId of vmIds) await writeFile(world.file(vmId), `name: ${vmId}\nport: 1\n`)
    await work(world)
  } finally {
    await world.close()
  }
}

/**
 * Gives a config a past, which no call can: versions of so many days ago, through the parts that the service is made of.
 * @returns their ids in the same order
 */
async function seed(world: World, vmId: string, daysAgo: readonly number[]): Promise<readonly string[]> {
  assert.equal(await world.service().stop(), 0)
  const { backups, state, keyFile } = world.home
  const sources = { keyPath: keyFile, passphrase: null, oldKeyPaths: [], backupLocation: backups, newKey: false }
  const blobs = await DiskBlobStore.open({ location: backups, keyring: await loadKeys(sources) })
  const catalog = SqliteCatalog.open({ path: join(state, "catalog.db"), migrationsDir })
  const keeper = new VersionKeeper(blobs, catalog, () => new Date())
  const ref = { vmId, type: "central" }
  const origin = { ref, path: world.file(vmId), operationId: uuidv7(), actor: "anonymous", reason: null }
  const ids: string[] = []
  for (const days of daysAgo) {
    const bytes = Buffer.from(`port: ${days}\n`)
    const at = new Date(Date.now() - days * dayMs).toISOString()
    const standing = { bytes, digest: digestOf(bytes), mode: 0o640, uid: 0, gid: 0 }
    const planned = keeper.plan(origin, "found", standing, { at, provisional: false })
    await keeper.put([planned])
    const { provisional, ...version } = planned.row
    assert.equal(provisional, false)
    await catalog.importVersions([{ ...version, verifiedAt: null, state: "ok" }])
    ids.push(version.backupId)
  }
  await catalog.orderVersions()
  catalog.close()
  await world.restart()
  return ids
}

function blobOf(world: World, vmId: string, backupId: string): string {
  return join(world.home.backups, vmId, "central", `${backupId}.cmb`)
}

async function backup(world: World, vmId: string): Promise<string> {
  const { status, body, text } = await world.send("POST", "/backups", { json: { vmId, type: "central" } })
  assert.ok(status === 200 || status === 201, text)
  return String(body.backupId)
}

suite("Versions that are old", () => {
  test("are removed one by one and by a purge, but for those that are protected, and are gone from the disk", () =>
    inWorld(async (world) => {
      const { send } = world
      const newest = await backup(world, "vm01")
      const [first = "", second = "", third = ""] = await seed(world, "vm01", [300, 200, 100])

      assertProblem(await send("DELETE", `/backups/${newest}`), 409, "backup_protected")
      assertProblem(await send("DELETE", `/backups/${third}`), 409, "backup_protected")
      assertProblem(await send("DELETE", "/backups/none"), 404, "backup_not_found")
      const gone = await send("DELETE", `/backups/${first}`)
      assert.deepEqual([gone.status, gone.text], [204, ""])
      assertProblem(await send("GET", `/backups/${first}`), 404, "backup_not_found")
      assert.ok(!existsSync(blobOf(world, "vm01", first)))

      const pinned = await send("PATCH", `/backups/${second}`, { json: { pinned: true, note: "before the move" } })
      assert.deepEqual([pinned.status, pinned.body.pinned, pinned.body.note], [200, true, "before the move"])
      assertProblem(await send("DELETE", `/backups/${second}`), 409, "backup_protected")
      assert.deepEqual((await send("POST", "/backups/purge")).body, { removed: [], kept: 3 })

      assert.equal((await send("PATCH", `/backups/${second}`, { json: { pinned: false } })).status, 200)
      const dry = await send("POST", "/backups/purge?dryRun=true")
      assert.deepEqual(dry.body, { removed: [second], kept: 2 })
      assert.ok(existsSync(blobOf(world, "vm01", second)))
      assert.deepEqual((await send("POST", "/backups/purge")).body, dry.body)
      assert.ok(!existsSync(blobOf(world, "vm01", second)))
      assert.deepEqual(
        itemsOf(await send("GET", "/backups")).map(({ backupId }) => backupId),
        [newest, third],
      )
      assert.deepEqual((await readdir(join(world.home.backups, "vm01", "central"))).length, 2)
    }))

  test("that are more than half of all stay until it is forced, and readiness says so", () =>
    inWorld(async (world) => {
      const { send } = world
      await backup(world, "vm02")
      const ids = await seed(world, "vm02", [400, 350, 300, 250, 200])
      const problem = assertProblem(await send("POST", "/backups/purge"), 409, "purge_guard")
      assert.match(String(problem.detail), /would remove 4 of 6 backups/)
      const ready = await send("GET", "/readyz")
      assert.deepEqual([ready.status, ready.body.degraded], [200, true])
      const check = (ready.body.checks as readonly Json[]).find(({ name }) => name === "purge")
      assert.equal(check?.ok, false)
      assert.equal(itemsOf(await send("GET", "/backups")).length, 6)

      const forced = await send("POST", "/backups/purge?force=true")
      assert.deepEqual(forced.body, { removed: ids.slice(0, 4), kept: 2 })
      assert.equal((await send("GET", "/readyz")).body.degraded, false)
    }))

  test("go by themselves soon after a version was made", () =>
    inWorld(async (world) => {
      await backup(world, "vm01")
      await backup(world, "vm02")
      const [first = ""] = await seed(world, "vm01", [300, 200])
      await writeFile(world.file("vm02"), "port: 7\n")
      await backup(world, "vm02")
      const line = await world.service().logged(({ msg }) => msg === "purge")
      assert.deepEqual([line.removed, line.kept], [1, 4])
      assert.ok(!existsSync(blobOf(world, "vm01", first)))
    }))
})

suite("Pins, notes and departures", () => {
  test("outlive the catalog", () =>
    inWorld(async (world) => {
      const { send } = world
      const backupId = await backup(world, "vm01")
      await backup(world, "vm03")
      assert.equal((await send("PATCH", `/backups/${backupId}`, { json: { pinned: true, note: "ü" } })).status, 200)
      const { msg } = await world.edit(({ vms, ...settings }) => {
        const { vm03: _, ...others } = vms as Readonly<Record<string, Json>>
        return { ...settings, vms: others }
      })
      assert.equal(msg, "settings taken in")
      const lines = readFileSync(join(world.home.backups, "notes.jsonl"), "utf8").trimEnd().split("\n")
      const notes = lines.map((line) => JSON.parse(line) as Json)
      assert.deepEqual(
        notes.map(({ at: _, ...note }) => note),
        [
          { backupId, pinned: true, note: "ü" },
          { vmId: "vm03", type: "central", left: true },
        ],
      )

      assert.equal(await world.service().stop(), 0)
      for (const name of await readdir(world.home.state)) {
        if (name.startsWith("catalog.db")) await rm(join(world.home.state, name))
      }
      await world.restart()
      const { body } = await send("GET", `/backups/${backupId}`)
      assert.deepEqual([body.pinned, body.note], [true, "ü"])
      assert.equal(await world.service().stop(), 0)
      const catalog = SqliteCatalog.open({ path: join(world.home.state, "catalog.db"), migrationsDir })
      assert.deepEqual(await catalog.departures(), [{ vmId: "vm03", type: "central", leftAt: notes[1]?.at }])
      catalog.close()
      await world.restart()
    }))
})

suite("A run of backups", () => {
  test("reads the fleet, counts, and names what failed", () =>
    inWorld(async (world) => {
      const { send } = world
      await rm(world.file("vm02"))
      const answer = await send("POST", "/backups", {
        json: { select: { all: true }, types: ["central"], reason: "ü" },
      })
      assert.equal(answer.status, 202, answer.text)
      const location = answer.headers.get("location") ?? ""
      assert.match(location, /^\/backups\/runs\/[0-9a-f-]{36}$/)
      const run = await eventually(
        async () => (await send("GET", location)).body,
        ({ state }) => state === "finished",
      )
      assert.deepEqual(run.counts, { total: 4, made: 3, unchanged: 0, failed: 1, unreachable: 0 })
      const [failure] = run.failures as readonly { readonly vmId: string; readonly problem: Json }[]
      assert.deepEqual([failure?.vmId, failure?.problem.code], ["vm02", "config_not_found"])
      const versions = itemsOf(await send("GET", "/backups"))
      assert.ok(versions.every(({ reason, trigger }) => reason === "ü" && trigger === "manual"))

      await world.service().kill()
      await world.restart()
      assert.deepEqual((await send("GET", location)).body, run)
    }))

  test("is refused for VMs that the settings do not name, and for nothing", () =>
    inWorld(async ({ send }) => {
      const wrong = [{ select: { vmIds: ["vm01", "vm99"] } }, { select: { labels: { role: "none" } } }, {}]
      for (const json of wrong) assertProblem(await send("POST", "/backups", { json }), 400, "invalid_body")
      assert.deepEqual(itemsOf(await send("GET", "/backups")), [])
      assertProblem(await send("GET", "/backups/runs/none"), 404, "run_not_found")
    }))
})
