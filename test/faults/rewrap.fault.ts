import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import Database from "better-sqlite3"
import { type MasterKey, masterKey, openBlob, sealBlob } from "../../src/blobs/cipher.ts"
import { decodeBlob } from "../../src/blobs/format.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { aBlob, fileOf, refOf } from "../blobs/blobs.ts"
import { clientOf } from "../e2e/client.ts"
import { filesBelow, versionsOf } from "../e2e/copies-world.ts"
import { countCalls, runKilledAt } from "../support/killed.ts"
import { type Home, makeHome } from "../support/service.ts"
import { audit } from "./auditor.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import type { Random } from "./random.ts"

const vms = 4
const perVm = 5
/** Every so many rounds the service starts over what the kill has left. */
const startEvery = 5

const settings = {
  vms: Object.fromEntries(Array.from({ length: vms }, (_, index) => [`vm0${index + 1}`, { ip: "127.0.0.1" }])),
  config_management: {
    config_paths: { central: { default: "/app/central.yml" } },
    config_types: { central: { schema: "none" } },
  },
}

/** A home, and what each of its blobs holds: digests by file. */
interface Scene {
  readonly home: Home
  readonly contents: ReadonlyMap<string, string>
}

interface Key {
  readonly path: string
  readonly key: MasterKey
}

faultRun({ id: "R11", name: "rewrap killed at its n-th call", ci: 20, nightly: 200 }, async (run) => {
  const scene = await makeScene(run.random)
  const { home } = scene
  try {
    let old: Key = { path: home.keyFile, key: masterKey(readFileSync(home.keyFile)) }
    // With nothing to move it makes few calls; with all to move, as many as are counted here.
    const next = makeKey(home, run.random)
    await useKeys(scene, next.path, old.path)
    const calls = await countCalls(home, ["rewrap"])
    old = next
    run.note(`${calls} calls to be killed at`)
    await run.rounds(async ({ index, random }) => {
      const key = makeKey(home, random)
      await useKeys(scene, key.path, old.path)
      const call = 1 + Math.floor(((index + random.int(1000) / 1000) * calls) / run.size)
      const wasKilled = await runKilledAt(home, ["rewrap"], Math.min(call, calls))
      if (!wasKilled) run.found("wrong outcomes", `it was not killed at call ${call} of ${calls}`)
      checkBlobs(run, scene, [old.key, key.key], `killed at call ${call}`)
      if (index % startEvery === 0) {
        await checkStart(run, scene, old, key)
        await useKeys(scene, key.path, old.path)
      }
      await checkNext(run, scene, key)
      old = key
    })
  } finally {
    await home.remove()
  }
})

/** Versions of several configs, with a catalog over them. */
async function makeScene(random: Random): Promise<Scene> {
  const home = await makeHome({ settings })
  const key = masterKey(readFileSync(home.keyFile))
  const contents = new Map<string, string>()
  for (let number = 0; number < vms * perVm; number++) {
    const created_at = new Date(Date.now() - (vms * perVm - number) * 1000).toISOString()
    const blob = aBlob(random.bytes(1 + random.int(5000)), { vm_id: `vm0${1 + (number % vms)}`, created_at })
    const path = fileOf(home.backups, refOf(blob))
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, sealBlob(blob.header, blob.bytes, key), { mode: 0o600 })
    contents.set(path, digestOf(blob.bytes))
  }
  assert.equal((await home.run(["reindex"])).code, 0)
  return { home, contents }
}

let made = 0
function makeKey({ dir }: Home, random: Random): Key {
  made += 1
  const path = join(dir, `key-${made}`)
  const bytes = random.bytes(32)
  writeFileSync(path, bytes, { mode: 0o600 })
  return { path, key: masterKey(bytes) }
}

function useKeys({ home }: Scene, path: string, ...old: readonly string[]): Promise<void> {
  const keys = { encryption_key_path: path, encryption_old_key_paths: old }
  return home.rewrite({ ...settings, config_management: { ...settings.config_management, ...keys } })
}

/** Each blob stands there and opens with one of `keys` to what it held. */
function checkBlobs(run: FaultRun, { contents }: Scene, loaded: readonly MasterKey[], when: string): void {
  for (const [path, digest] of contents) {
    try {
      const parts = decodeBlob(readFileSync(path))
      const slot = parts.slots.find(({ keyId }) => loaded.some((key) => key.keyId.equals(keyId)))
      const key = loaded.find(({ keyId }) => slot?.keyId.equals(keyId))
      if (!slot || !key) run.found("lost", `${when}: no key opens ${path}`)
      else if (digestOf(openBlob(parts, slot, key)) !== digest) run.found("lost", `${when}: ${path} holds other bytes`)
    } catch (error) {
      run.found("lost", `${when}: ${path}: ${(error as Error).message}`)
    }
  }
}

/** The service starts over what is there, with the key that is remembered, and no flag: all opens, nothing temporary is left. */
async function checkStart(run: FaultRun, scene: Scene, old: Key, key: Key): Promise<void> {
  const { home, contents } = scene
  const remembered = readFileSync(join(home.backups, "keyring.json"), "latin1")
  const isMoved = remembered.includes(key.key.keyId.toString("hex"))
  await (isMoved ? useKeys(scene, key.path, old.path) : useKeys(scene, old.path, key.path))
  const service = await home.start()
  const send = clientOf(() => service.url)
  const versions = await versionsOf(send)
  if (versions.length !== contents.size) run.found("lost", `${versions.length} of ${contents.size} versions are listed`)
  for (const { backupId } of versions) {
    const { body } = await send("POST", `/backups/${String(backupId)}/verify`)
    if (body.ok !== true) run.found("lost", `${String(backupId)} is not well: ${JSON.stringify(body)}`)
  }
  assert.equal(await service.stop(), 0)
  const left = filesBelow(home.backups).filter((name) => name.endsWith(".tmp"))
  if (left.length > 0) run.found("wrong outcomes", `temporary files are left after a start: ${left.join(" ")}`)
}

/** The next call ends the work: every blob and every row has the new key, and the old one is not needed. */
async function checkNext(run: FaultRun, scene: Scene, { path, key }: Key): Promise<void> {
  const { home } = scene
  const { code, stderr } = await home.run(["rewrap"])
  if (code !== 0) run.found("wrong outcomes", `the next rewrap ended with ${code}: ${stderr}`)
  await useKeys(scene, path)
  checkBlobs(run, scene, [key], "after the next rewrap")
  const db = new Database(join(home.state, "catalog.db"), { readonly: true, fileMustExist: true })
  const other = db
    .prepare<[string], number>("SELECT count(*) FROM versions WHERE key_id <> ?")
    .pluck()
    .get(key.keyId.toString("hex"))
  db.close()
  if (other !== 0) run.found("wrong outcomes", `${other} rows name another key than their blobs`)
  audit(run, { files: {}, state: home.state, backups: home.backups, keys: [key] })
}
