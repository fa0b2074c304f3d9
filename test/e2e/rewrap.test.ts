import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, suite, type TestContext, test } from "node:test"
import { masterKey, sealBlob } from "../../src/blobs/cipher.ts"
import { aBlob, fileOf, refOf } from "../blobs/blobs.ts"
import { putLegacy } from "../blobs/legacy-files.ts"
import type { Json } from "./client.ts"
import { allCopied, copyTo, keep, makePlace, versionsOf } from "./copies-world.ts"
import { makeWorld, type World } from "./world.ts"

const idOf = (key: Buffer): string => masterKey(key).keyId.toString("hex")

suite("config-manager rewrap", { timeout: 180_000 }, () => {
  let world: World
  let newKeyFile: string
  let newKey: Buffer
  beforeEach(async () => {
    world = await makeWorld()
    await keep(world, "vm01", "port: 1\n", "port: 2\n")
    newKey = randomBytes(32)
    newKeyFile = join(world.home.dir, "new.key")
    writeFileSync(newKeyFile, newKey, { mode: 0o600 })
  })
  afterEach(() => world.close())

  /** What the settings say of keys from now on. */
  const useKeys = (keyPath: string, ...oldPaths: readonly string[]): Promise<void> =>
    world.rewrite((settings) => ({
      ...settings,
      config_management: {
        ...(settings.config_management as Json),
        ...{ encryption_key_path: keyPath, encryption_old_key_paths: oldPaths },
      },
    }))
  const rewrap = () => world.home.run(["rewrap"])

  async function assertOpens(): Promise<void> {
    const versions = await versionsOf(world.send)
    assert.deepEqual(
      versions.map(({ keyId, state }) => [keyId, state]),
      versions.map(() => [idOf(newKey), "ok"]),
    )
    for (const [index, { backupId }] of versions.toReversed().entries()) {
      const verified = await world.send("POST", `/backups/${String(backupId)}/verify`)
      assert.equal(verified.body.ok, true, verified.text)
      const content = await world.send("GET", `/backups/${String(backupId)}/content`, {
        headers: { accept: "application/yaml" },
      })
      assert.equal(content.text, `port: ${index + 1}\n`)
    }
  }

  /** The service runs, and all its versions have a copy there. */
  async function copied(t: TestContext) {
    const place = makePlace()
    t.after(place.remove)
    await world.service().stop()
    await copyTo(world, place.path)
    await world.restart()
    await allCopied(world.send)
    return place
  }

  test("moves every version to the new key: the old one is not needed any more, nor is --new-key, and copies are made anew", async (t) => {
    const place = await copied(t)
    await world.service().stop()
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout, stderr } = await rewrap()
    assert.deepEqual([code, stderr], [0, ""])
    assert.equal(stdout, `2 versions moved to the key ${idOf(newKey)}, 0 had it already\n`)
    assert.equal((await rewrap()).stdout, `0 versions moved to the key ${idOf(newKey)}, 2 had it already\n`)

    await useKeys(newKeyFile)
    rmSync(world.home.keyFile)
    await world.restart()
    await assertOpens()
    await allCopied(world.send)
    for (const { backupId } of await versionsOf(world.send)) {
      const name = join("vm01", "central", `${String(backupId)}.cmb`)
      assert.deepEqual(readFileSync(join(place.path, name)), readFileSync(join(world.home.backups, name)))
    }
  })

  test("moves a version that stands under the old key though its row says the new one, and has its copy made anew", async (t) => {
    const place = await copied(t)
    const [newest] = await versionsOf(world.send)
    await world.service().stop()
    const name = join("vm01", "central", `${String(newest?.backupId)}.cmb`)
    const old = readFileSync(join(place.path, name))
    await useKeys(newKeyFile, world.home.keyFile)
    await rewrap()
    await world.restart()
    await allCopied(world.send)
    await world.service().stop()
    for (const directory of [place.path, world.home.backups]) writeFileSync(join(directory, name), old)

    assert.match((await rewrap()).stdout, /^1 versions moved /)

    await world.restart()
    await allCopied(world.send)
    assert.deepEqual(readFileSync(join(place.path, name)), readFileSync(join(world.home.backups, name)))
    assert.notDeepEqual(readFileSync(join(place.path, name)), old)
  })

  test("is made good by the start where an older file was put in the place of a damaged one after it", async () => {
    const [newest] = await versionsOf(world.send)
    const path = join(world.home.backups, "vm01", "central", `${String(newest?.backupId)}.cmb`)
    const old = readFileSync(path)
    await world.service().stop()
    await useKeys(newKeyFile, world.home.keyFile)
    assert.equal((await rewrap()).code, 0)
    writeFileSync(path, readFileSync(path).subarray(1))
    await world.restart()
    assert.equal((await world.send("POST", `/backups/${String(newest?.backupId)}/verify`)).body.ok, false)
    await world.service().stop()
    writeFileSync(path, old)
    await world.restart()
    await world.service().stop()

    await useKeys(newKeyFile)
    await world.restart()

    await assertOpens()
  })

  test("leaves what no loaded key opens, tells of it, and ends with 1", async () => {
    await world.service().stop()
    const foreign = aBlob("port: 3\n", { vm_id: "vm02" })
    const path = fileOf(world.home.backups, refOf(foreign))
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const sealed = sealBlob(foreign.header, foreign.bytes, masterKey(randomBytes(32)))
    writeFileSync(path, sealed, { mode: 0o600 })
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout, stderr } = await rewrap()

    assert.equal(code, 1)
    assert.match(stdout, /^2 versions moved .*\n1 left as they are, for no loaded key opens them; 0 are damaged\n$/)
    assert.match(stderr, new RegExp(`^Version ${foreign.header.backup_id} is sealed with a key that is not loaded`))
    assert.deepEqual(readFileSync(path), sealed)
  })

  test("leaves what is damaged, tells of it, and ends with 1", async () => {
    const [newest] = await versionsOf(world.send)
    await world.service().stop()
    const path = join(world.home.backups, "vm01", "central", `${String(newest?.backupId)}.cmb`)
    const broken = readFileSync(path).subarray(0, -1)
    writeFileSync(path, broken)
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout } = await rewrap()

    assert.equal(code, 1)
    assert.match(stdout, /^1 versions moved .*\n0 left as they are, .*; 1 are damaged\n$/)
    assert.deepEqual(readFileSync(path), broken)
  })

  test("tells of a version that is missing here, whose copies go on needing the old key, and ends with 1", async () => {
    const [newest] = await versionsOf(world.send)
    await world.service().stop()
    rmSync(join(world.home.backups, "vm01"), { recursive: true })
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout, stderr } = await rewrap()

    assert.equal(code, 1)
    assert.match(
      stdout,
      /^0 versions moved .*\n2 have no file here; copies .* go on needing the key they were sealed with\n$/,
    )
    assert.match(stderr, new RegExp(`The file of version ${String(newest?.backupId)} is gone`))
  })

  test("names what was put aside, which goes on needing the old key, as does a copy of it, and ends with 1", async () => {
    const [newest] = await versionsOf(world.send)
    await world.service().stop()
    writeFileSync(join(world.home.backups, "vm01", "central", `${String(newest?.backupId)}.cmb`), "rotten")
    for (const part of ["", "-wal", "-shm"]) rmSync(join(world.home.state, `catalog.db${part}`), { force: true })
    await world.restart()
    await world.service().stop()
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout, stderr } = await rewrap()

    assert.equal(code, 1)
    assert.match(
      stdout,
      /^1 versions moved .*\n1 were put aside and are in no list; they, .* the key they were sealed with\n$/,
    )
    const named = new RegExp(`^Version ${String(newest?.backupId)} of vm01/central was put aside`, "m")
    assert.match(stderr, named)
  })

  test("tells of backups of the original service: they go on needing their key", async () => {
    await world.service().stop()
    const stamp = "20250101_120000"
    putLegacy(
      world.home.backups,
      { vmId: "vm03", type: "central", stamp },
      '{"port": 3}',
      readFileSync(world.home.keyFile),
    )
    await world.restart()
    await world.service().stop()
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout } = await rewrap()

    assert.equal(code, 0)
    assert.match(
      stdout,
      /\n1 of the original service stay as they are, and go on needing the key they were sealed with\n$/,
    )
  })

  test("names those backups of the original service too that no row names, and those of no known config", async () => {
    await world.service().stop()
    const stamp = "20250101_120000"
    const names = ["vm01", "vm77"].map((vmId) =>
      putLegacy(world.home.backups, { vmId, type: "central", stamp }, '{"port": 3}', readFileSync(world.home.keyFile)),
    )
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stdout, stderr } = await rewrap()

    assert.equal(code, 0)
    assert.match(stdout, /\n2 of the original service stay as they are/)
    for (const name of names) assert.match(stderr, new RegExp(`^${name} `, "m"))
  })

  test("is refused where the old key is not loaded, and the old key remains the one that seals", async () => {
    await world.service().stop()
    await useKeys(newKeyFile)

    const { code, stdout, stderr } = await rewrap()

    assert.deepEqual([code, stdout], [78, ""])
    assert.match(stderr, /^The key that sealed in .* is not loaded\. /)
    await useKeys(world.home.keyFile)
    await world.restart()
  })

  test("is refused while the service runs", async () => {
    await useKeys(newKeyFile, world.home.keyFile)

    const { code, stderr } = await rewrap()

    assert.equal(code, 78)
    assert.match(stderr, /nother process/)
  })
})
