import assert from "node:assert/strict"
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { masterKey } from "../../src/blobs/cipher.ts"
import { itemsOf, type Json, pagesOf } from "../e2e/client.ts"
import { eventually, makeWorld, type World } from "../e2e/world.ts"
import { audit } from "./auditor.ts"
import { faultRun } from "./frame.ts"
import type { Random } from "./random.ts"

const vmIds = ["vm01", "vm02"]
const parts = ["", "-wal", "-shm"]

/** What was acknowledged so far: the text of each version, and the text that stands on each VM. */
interface Told {
  readonly versions: Map<string, string>
  readonly live: Map<string, string>
}

faultRun(
  { id: "R27", name: "the catalog deleted, zeroed, cut, overwritten, flipped, an old copy", ci: 50, nightly: 600 },
  async (run) => {
    const world = await makeWorld()
    const kinds = new Map<string, number>()
    try {
      const told: Told = { versions: new Map(), live: new Map() }
      for (const vmId of vmIds) {
        await writeFile(world.file(vmId), `port: 1 # ${vmId}\n`)
        await put(world, told, vmId, `port: 2 # ${vmId}\n`)
      }
      await world.service().stop()
      const copies = [readFileSync(catalogOf(world))]
      await world.restart()

      await run.rounds(async ({ index, random }) => {
        for (const vmId of vmIds)
          await put(world, told, vmId, `port: ${index + 3} # ${vmId} ${random.int(1_000_000)}\n`)
        if (random.int(2) === 0) await world.service().kill()
        else assert.equal(await world.service().stop(), 0)
        const kind = random.pick(Object.keys(spoils))
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
        spoils[kind]?.(world, random, copies)
        await world.restart()

        await assertSame(world, told)
        await restoreOne(world, told, random)
        if (index % 10 === 0) {
          await world.service().stop()
          copies.push(readFileSync(catalogOf(world)))
          await world.restart()
        }
      })

      const keys = [masterKey(readFileSync(world.home.keyFile))]
      const files = Object.fromEntries(vmIds.map((vmId) => [world.file(vmId), [told.live.get(vmId) ?? ""]]))
      const acknowledged = [...told.versions.values()]
      audit(run, { files, state: world.home.state, backups: world.home.backups, keys, acknowledged })
      run.note([...kinds].map(([kind, count]) => `${count} ${kind}`).join(", "))
    } finally {
      await world.close()
    }
  },
)

/** A push, and the names of what it kept. */
async function put(world: World, told: Told, vmId: string, yaml: string): Promise<void> {
  const before = await readFile(world.file(vmId), "utf8")
  const answer = await world.send("PUT", `/vms/${vmId}/configs/central`, { yaml })
  assert.equal(answer.status, 200, answer.text)
  told.versions.set(String(answer.body.backupId), before)
  told.versions.set(String(answer.body.versionId), yaml)
  told.live.set(vmId, yaml)
}

async function versionsOf({ send }: World): Promise<readonly Json[]> {
  const lists = await Promise.all(vmIds.map((vmId) => pagesOf(send, `/backups?vmId=${vmId}&type=central&limit=500`)))
  return lists.flat(2)
}

/** The list is the directory, all that was acknowledged is in it, and nothing is open. */
async function assertSame(world: World, told: Told): Promise<void> {
  const open = async (): Promise<readonly Json[]> => {
    const states = await Promise.all(
      ["running", "in_doubt"].map((state) => world.send("GET", `/operations?state=${state}`)),
    )
    return states.flatMap(itemsOf)
  }
  await eventually(open, (operations) => operations.length === 0)
  const ready = await world.send("GET", "/readyz")
  assert.equal(ready.status, 200, ready.text)
  const versions = await versionsOf(world)
  assert.deepEqual(
    versions.filter(({ state }) => state !== "ok"),
    [],
  )
  const listed = versions.map(({ vmId, backupId }) => `${String(vmId)}/${String(backupId)}.cmb`).sort()
  const standing = vmIds.flatMap((vmId) => {
    return readdirSync(join(world.home.backups, vmId, "central")).map((name) => `${vmId}/${name}`)
  })
  assert.deepEqual(listed, standing.sort())
  assert.deepEqual(versions.map(({ backupId }) => String(backupId)).sort(), [...told.versions.keys()].sort())
}

/** What is restored is what was acknowledged under that id, and the VM has it. */
async function restoreOne(world: World, told: Told, random: Random): Promise<void> {
  const { vmId, backupId } = random.pick(await versionsOf(world))
  const answer = await world.send("POST", `/backups/${String(backupId)}/restore`)
  assert.equal(answer.status, 200, answer.text)
  const text = told.versions.get(String(backupId)) ?? ""
  assert.equal(await readFile(world.file(String(vmId)), "utf8"), text)
  if (answer.body.versionId !== null) told.versions.set(String(answer.body.versionId), text)
  told.live.set(String(vmId), text)
}

/** What is done to the catalog of a service that is not running. */
const spoils: Readonly<Record<string, (world: World, random: Random, copies: readonly Buffer[]) => void>> = {
  deleted: remove,
  zeroed: (world) => writeFileSync(catalogOf(world), Buffer.alloc(readFileSync(catalogOf(world)).length)),
  cut: (world, random) => truncateSync(catalogOf(world), random.int(readFileSync(catalogOf(world)).length)),
  overwritten: (world, random) => {
    const file = readFileSync(catalogOf(world))
    random.bytes(1 + random.int(4096)).copy(file, random.int(file.length))
    writeFileSync(catalogOf(world), file)
  },
  "one bit flipped": flip(1),
  "a bit flipped here and there": flip(3),
  "many bits flipped": flip(40),
  "a bit flipped in its log": (world, random) =>
    flip(1, existsSync(`${catalogOf(world)}-wal`) ? "-wal" : "")(world, random),
  "an old copy": (world, random, copies) => {
    remove(world)
    writeFileSync(catalogOf(world), random.pick(copies), { mode: 0o600 })
  },
}

function flip(times: number, part = ""): (world: World, random: Random) => void {
  return (world, random) => {
    const path = `${catalogOf(world)}${part}`
    const file = readFileSync(path)
    for (let time = 0; time < times && file.length > 0; time += 1) {
      const at = random.int(file.length)
      file[at] = (file[at] ?? 0) ^ (1 << random.int(8))
    }
    writeFileSync(path, file)
  }
}

function remove(world: World): void {
  for (const part of parts) rmSync(`${catalogOf(world)}${part}`, { force: true })
}

function catalogOf({ home }: World): string {
  return join(home.state, "catalog.db")
}
