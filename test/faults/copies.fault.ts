import assert from "node:assert/strict"
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { appendFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import { loadKeys } from "../../src/blobs/keyring.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { DiskStoreFiles } from "../../src/blobs/store-files.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { LegacyStore } from "../../src/domain/legacy-store.ts"
import { Scrubber } from "../../src/services/scrubber.ts"
import { Verifier } from "../../src/services/verifier.ts"
import { VersionReader } from "../../src/services/version-reader.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import type { Json } from "../e2e/client.ts"
import { copiesCheck, copiesOf, copyTo, filesBelow, isMark, keep, versionsOf } from "../e2e/copies-world.ts"
import { makeWorld, type World } from "../e2e/world.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Sshd, startSshd } from "../support/sshd.ts"
import { auditHome } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import type { Random } from "./random.ts"
import { mountSmallDisk, type SmallDisk } from "./small-disk.ts"

const url = "/vms/vm01/configs/central"
/** A place that is well again is used again within this time: the pause of a back-off, and the calls under way before it. */
const patienceMs = 60_000
const changes = 4

/** The shipped service, and a place for its copies on another host: a real SSH server over a small disk, behind a network with faults. */
interface Scene {
  readonly world: World
  readonly network: FaultyNetwork
  readonly far: Sshd
  readonly place: string
  readonly disk: SmallDisk
}

/** Something that is done to the place; `mend` undoes it. Copies are behind in between. */
interface Kind {
  readonly name: string
  readonly spoil: (scene: Scene) => void
  readonly mend: (scene: Scene) => void
}

const away = ({ place }: Scene): string => `${place}-away`

const kinds: readonly Kind[] = [
  {
    name: "unreachable",
    spoil: ({ network }) => {
      network.moveTo({ host: "127.0.0.1", port: 1 })
      network.reset()
    },
    mend: ({ network, far }) => network.moveTo(far),
  },
  { name: "black hole", spoil: ({ network }) => network.blackhole(), mend: ({ network }) => network.release() },
  { name: "frozen", spoil: ({ network }) => network.hold(), mend: ({ network }) => network.release() },
  { name: "full", spoil: ({ disk }) => disk.fill(), mend: ({ disk }) => disk.empty() },
  {
    name: "swapped for an empty one",
    spoil: (scene) => {
      renameSync(scene.place, away(scene))
      // With all directories, so that nothing but the missing mark keeps copies from going there.
      mkdirSync(join(scene.place, "vm01", "central"), { recursive: true })
    },
    mend: (scene) => {
      rmSync(scene.place, { recursive: true })
      renameSync(away(scene), scene.place)
    },
  },
]

faultRun({ id: "R31", name: "off-host copies: the place fails", ci: 10, nightly: 30, needsRoot: true }, async (run) => {
  const scene = await makeScene()
  try {
    const usualMs = await medianOfChanges(run, scene, "usual")
    run.note(`a change takes ${usualMs.toFixed(0)} ms`)
    const during: number[] = []
    await run.rounds(async ({ index }) => {
      const kind = kinds[index % kinds.length] ?? assert.fail()
      kind.spoil(scene)
      const medianMs = await medianOfChanges(run, scene, `${kind.name} ${index}`)
      during.push(medianMs)
      // One that waited for the place would take a second at least.
      if (medianMs > 3 * usualMs + 200)
        run.found("wrong outcomes", `${kind.name}: a change took ${medianMs.toFixed(0)} ms`)
      await assertTold(run, scene, kind)
      kind.mend(scene)
      await assertCopied(run, scene, kind.name)
    })
    run.note(`${Math.max(...during).toFixed(0)} ms at most while the place fails`)
    await finish(run, scene)
  } finally {
    await close(scene)
  }
})

faultRun(
  { id: "R31", name: "off-host copies: corrupted afterwards", ci: 10, nightly: 30, needsRoot: true },
  async (run) => {
    const scene = await makeScene()
    const { world, place } = scene
    try {
      await medianOfChanges(run, scene, "versions")
      await run.rounds(async ({ random, index }) => {
        await assertCopied(run, scene, `before ${index}`)
        assert.equal(await world.service().stop(), 0)
        const names = filesBelow(place).filter((name) => name.endsWith(".cmb"))
        const spoiled = new Set(Array.from({ length: 3 }, () => spoilOne(join(place, random.pick(names)), random)))
        const found = await scrubAll(scene)
        if (found !== spoiled.size) run.found("wrong outcomes", `${spoiled.size} copies were spoiled, ${found} found`)
        await world.restart()
        await assertCopied(run, scene, `after ${index}`)
      })
      await finish(run, scene)
    } finally {
      await close(scene)
    }
  },
)

async function makeScene(): Promise<Scene> {
  const world = await makeWorld({
    settings: () => ({
      // One session over all VMs: a place that took it would be noticed.
      remote_execution: { default_timeout: 1, default_retry: 0, connection_pool_size: 1 },
      ssh: { connect_timeout: 1 },
    }),
  })
  const far = await startSshd()
  const network = await startProxy(far)
  const disk = mountSmallDisk([join(far.root, "disk")])
  const place = join(far.root, "disk", "copies")
  mkdirSync(place)
  await appendFile(world.sshd.knownHostsPath, `[127.0.0.1]:${network.port} ${far.hostKeys[0]?.publicKey}\n`)
  await keep(world, "vm01", "port: 0\n")
  await world.service().stop()
  await copyTo(world, `sftp://${far.user}@127.0.0.1:${network.port}${place}`)
  await world.restart()
  return { world, network, far, place, disk }
}

async function close({ world, network, far, disk }: Scene): Promise<void> {
  await world.close()
  await network.close()
  disk.close()
  await far.stop()
}

/** Changes a config and restores it, some times: all succeed at once, whatever the place does. @returns the median of their times, ms */
async function medianOfChanges(run: FaultRun, { world }: Scene, what: string): Promise<number> {
  const [before] = await versionsOf(world.send)
  const times: number[] = []
  for (let change = 0; change < changes; change++) {
    const begin = performance.now()
    const put = await world.send("PUT", url, { yaml: `name: ${what} ${change}\n` })
    const restore = await world.send("POST", `/backups/${String(before?.backupId)}/restore`)
    times.push((performance.now() - begin) / 2)
    for (const { status, text } of [put, restore]) if (status !== 200) run.found("wrong outcomes", `${what}: ${text}`)
  }
  return times.toSorted((a, b) => a - b)[changes / 2] ?? 0
}

/** Readiness says that copies are behind, and stays ready. */
async function assertTold(run: FaultRun, { world }: Scene, { name }: Kind): Promise<void> {
  const { all } = await eventually(
    () => copiesCheck(world.send),
    ({ ok }) => !ok,
    () => run.found("hangs", `${name}: nobody tells that copies are behind`),
  )
  if (all.ready !== true || all.degraded !== true) run.found("wrong outcomes", `${name}: ${JSON.stringify(all)}`)
}

/** The copies catch up: each is there, whole, and nothing else is. */
async function assertCopied(run: FaultRun, { world, place }: Scene, what: string): Promise<void> {
  await eventually(
    () => copiesCheck(world.send),
    ({ ok, detail }) => ok && detail.endsWith("has a copy of every version."),
    ({ detail }) => run.found("hangs", `${what}: the copies do not catch up: ${detail}`),
  )
  // Once more, where what counts the copies is just being written.
  const { stands } = await eventually(
    async () => {
      const versions = await versionsOf(world.send)
      return { wanted: copiesOf(versions), stands: filesBelow(place).filter((name) => name !== "notes.jsonl") }
    },
    ({ wanted, stands }) => stands.join() === wanted.join(),
    ({ stands }) => run.found("lost", `${what}: at the place stand ${stands.join(" ")}`),
  )
  for (const name of stands.filter((each) => !isMark(each))) {
    const local = join(world.home.backups, name)
    if (!existsSync(local) || !readFileSync(local).equals(readFileSync(join(place, name))))
      run.found("lost", `${what}: the copy ${name} is not what stands here`)
  }
}

async function eventually<T>(
  ask: () => Promise<T>,
  fits: (answer: T) => boolean,
  late: (answer: T) => void,
): Promise<T> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    const answer = await ask()
    if (fits(answer)) return answer
    if (performance.now() > deadline) {
      late(answer)
      return answer
    }
    await pause(20)
  }
}

/** Flips a bit, cuts it short, empties it, or takes it away. @returns its name */
function spoilOne(path: string, random: Random): string {
  if (!existsSync(path)) return path
  const bytes = readFileSync(path)
  const at = random.int(bytes.length || 1)
  const how = random.int(4)
  if (how === 3) rmSync(path)
  else if (how === 0 && bytes.length > 0) {
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random.int(8)), at)
    writeFileSync(path, bytes)
  } else writeFileSync(path, bytes.subarray(0, how === 1 ? at : 0))
  return path
}

/** What a month of hourly rounds does, with the shipped parts. @returns how many copies it found to differ */
async function scrubAll({ world, place }: Scene): Promise<number> {
  const { backups: location, state, keyFile: keyPath } = world.home
  const sources = { keyPath, passphrase: null, oldKeyPaths: [], backupLocation: location, newKey: false }
  const blobs = await DiskBlobStore.open({ location, keyring: await loadKeys(sources) })
  const catalog = SqliteCatalog.open({ path: join(state, "catalog.db"), migrationsDir })
  const start = Date.now()
  let days = 0
  const clock = (): Date => new Date(start + days * 24 * 60 * 60_000)
  const verifier = new Verifier({
    monotonic: () => performance.now(),
    ...{ blobs, catalog, clock, stopping: new AbortController().signal, onHealed: () => {} },
    reader: new VersionReader(blobs, {} as LegacyStore, catalog),
    copies: { catalog, target: new DirectoryTarget(place), files: new DiskStoreFiles(location) },
  })
  const inventory = (): Inventory => new Inventory([], [], new Map())
  const scrubber = new Scrubber({ catalog, verifier, inventory, clock, asideReturn: { round: async () => {} } })
  const { versions } = await catalog.totals()
  let found = 0
  for (days = 2; days < 3 + 2 * versions; days += 1)
    found += (await scrubber.round(new AbortController().signal)).copiesQueued
  catalog.close()
  return found
}

async function finish(run: FaultRun, { world }: Scene): Promise<void> {
  assert.equal(await world.service().stop(), 0)
  const file = world.file("vm01")
  const log = world.service().lines as readonly Json[]
  auditHome(run, world.home, { files: { [file]: [readFileSync(file)] }, log })
}
