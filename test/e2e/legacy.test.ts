import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { chmod, mkdir, rename, writeFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { after, before, suite, test } from "node:test"
import { derivedKey, legacyFile, putLegacy } from "../blobs/legacy-files.ts"
import { assertProblem, itemsOf, type Json, type Send } from "./client.ts"
import { leftovers, makeWorld, standing, type World } from "./world.ts"

const passphrase = "what the original was given"
const live = "# live\nport: 90\n"

let world: World
let send: Send
/** Ids of what the original left, by what is special about them. */
let ids: Readonly<Record<"value" | "text" | "underscore" | "env" | "locked" | "gone", string>>

/** As found by a service that starts where the original has worked for years: with its key file and its passphrase. */
before(async () => {
  world = await makeWorld({
    environment: { CONFIG_MANAGER_BACKUP_PASSPHRASE: passphrase },
    settings: ({ host, port, user }) => ({
      vms: { edge_vm: { name: "edge", ip: host, ssh_port: port, ssh_user: user } },
    }),
  })
  send = world.send
  await world.service().stop()
  await mkdir(world.directory("edge_vm"))
  ids = putAll(world.home.backups, readFileSync(world.home.keyFile))
  await world.restart()
})
after(() => world.close())

function putAll(location: string, key: Buffer): typeof ids {
  const put = (vmId: string, type: string, stamp: string, plain: string, sealedWith = key): string =>
    putLegacy(location, { vmId, type, stamp }, plain, sealedWith)
  put("vm99", "central", "20250101_000000", '{"port": 1}')
  put("vm01", "central", "20251301_000000", '{"port": 1}')
  return {
    value: put("vm01", "central", "20250101_120000", '{"port": 80, "name": "no", "rate": 1.0}'),
    text: put("vm01", "central", "20250102_120000", '{"_raw": "# kept\\r\\nport: 81"}', derivedKey(passphrase)),
    underscore: put("edge_vm", "vm_specific", "20250103_120000", '{"port": 82}'),
    env: put("vm01", "env", "20250104_120000", '{"HOST": "db 1"}'),
    locked: put("vm02", "central", "20250105_120000", '{"port": 84}', Buffer.alloc(32, 7)),
    gone: put("vm03", "central", "20250106_120000", '{"port": 85}'),
  }
}

const at = (id: string, rest = ""): string => `/backups/${id}${rest}`
const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex")

suite("Backups that the original service left, over HTTP", () => {
  const written = "port: 80\nname: 'no'\nrate: 1.0\n"
  let file: string

  before(async () => {
    file = world.file("vm01")
    await writeFile(file, live)
    await chmod(file, 0o604)
  })

  test("are listed in order of their names' times, with what is known of them; files of nobody are not", async () => {
    const items = itemsOf(await send("GET", "/backups?trigger=imported"))
    const { value, text, underscore, env, locked, gone } = ids
    assert.deepEqual(
      items.map(({ backupId }) => backupId),
      [gone, locked, env, underscore, text, value],
    )
    assert.deepEqual((await send("GET", at(value))).body, {
      backupId: value,
      vmId: "vm01",
      type: "central",
      path: file,
      validFrom: "2025-01-01T12:00:00.000Z",
      supersededAt: "2025-01-02T12:00:00.000Z",
      size: written.length,
      digest: digestOf(written),
      mode: null,
      uid: null,
      gid: null,
      trigger: "imported",
      reason: null,
      note: null,
      actor: "config_manager",
      operationId: null,
      pinned: false,
      keyId: items[0]?.keyId,
      format: "legacy",
      verifiedAt: null,
      state: "ok",
      copies: [],
    })
    assert.match(String(items[0]?.keyId), /^[0-9a-f]{32}$/)
  })

  test("belong to the VM and type of their names, also where these hold underscores", async () => {
    const [item, ...more] = itemsOf(await send("GET", "/backups?vmId=edge_vm&type=vm_specific"))
    assert.deepEqual([item?.backupId, more.length], [ids.underscore, 0])
  })

  test("tell what stood at a time", async () => {
    const query = "/backups?vmId=vm01&type=central&at=2025-01-01T23:00:00.000Z"
    assert.deepEqual(
      itemsOf(await send("GET", query)).map(({ backupId }) => backupId),
      [ids.value],
    )
  })

  test("are read as document and as bytes", async () => {
    const json = await send("GET", at(ids.value, "/content"))
    assert.deepEqual(json.body, { port: 80, name: "no", rate: 1 })
    const raw = await send("GET", at(ids.value, "/content"), { headers: { accept: "application/yaml" } })
    assert.deepEqual([raw.text, raw.headers.get("etag")], [written, `"${digestOf(written)}"`])
    assert.deepEqual([raw.headers.get("x-config-mode"), raw.headers.get("x-config-owner")], [null, null])
    const text = await send("GET", at(ids.text, "/content"), { headers: { accept: "text/plain" } })
    assert.equal(text.text, "# kept\r\nport: 81")
    assert.deepEqual((await send("GET", at(ids.env, "/content"))).body, { HOST: "db 1" })
  })

  test("are compared with the live file and with each other", async () => {
    const { body } = await send("GET", at(ids.value, "/diff"))
    assert.match(String(body.unified), /^-# live\n-port: 90\n\+port: 80$/m)
    assert.deepEqual((body.operations as readonly Json[])[0], { op: "replace", path: "/port", value: 80 })
    const previous = await send("GET", at(ids.text, "/diff?against=previous"), { headers: { accept: "text/x-diff" } })
    assert.match(previous.text, /^\+# kept\r?$/m)
    assertProblem(await send("GET", at(ids.value, "/diff?against=previous")), 404, "backup_not_found")
    const each = await send("GET", at(ids.value, `/diff?against=${ids.text}`))
    assert.equal(each.body.changed, true)
  })

  test("are verified", async () => {
    const { body } = await send("POST", at(ids.value, "/verify"))
    assert.equal(body.ok, true, JSON.stringify(body))
    assert.notEqual((await send("GET", at(ids.value))).body.verifiedAt, null)
  })

  test("are rehearsed and restored: bytes of the backup, mode and owner of the file, and what is lost is told", async () => {
    const stood = standing(file)
    const rehearsal = await send("POST", at(ids.value, "/restore?dryRun=true"))
    assert.deepEqual([rehearsal.status, standing(file)], [200, stood], rehearsal.text)
    const { status, body, text } = await send("POST", at(ids.value, "/restore"), { json: { reason: "back" } })
    assert.deepEqual(
      [status, body.outcome, body.restoredFrom, body.schemaValid],
      [200, "written", ids.value, true],
      text,
    )
    assert.deepEqual(
      (body.warnings as readonly Json[]).map(({ code }) => code),
      ["comments_lost"],
    )
    assert.deepEqual(standing(file), { ...stood, bytes: Buffer.from(written) })
    assert.deepEqual(leftovers(file), [])
    const before = (await send("GET", at(String(body.backupId)))).body
    assert.deepEqual([before.trigger, before.digest, before.format], ["found", digestOf(live), "cmb1"])
  })

  test("give a text back byte for byte", async () => {
    const { body, text } = await send("POST", at(ids.text, "/restore"))
    assert.deepEqual([body.outcome, body.warnings], ["written", []], text)
    assert.equal(standing(file).bytes.toString(), "# kept\r\nport: 81")
  })

  test("are restored to another VM where no file stands, and not where their config has no path", async () => {
    const created = await send("POST", at(ids.underscore, "/restore"))
    assertProblem(created, 404, "config_not_mapped")
    const other = await send("POST", at(ids.value, "/restore"), { json: { vmId: "edge_vm" } })
    assert.deepEqual([other.status, other.body.outcome], [201, "created"], other.text)
    const stands = standing(world.file("edge_vm"))
    assert.deepEqual([stands.bytes.toString(), stands.mode], [written, 0o640])
  })

  test("are locked where no loaded key opens them, and say what to do", async () => {
    const { body } = await send("GET", at(ids.locked))
    assert.deepEqual([body.state, body.digest, body.size, body.keyId], ["locked", null, null, null])
    const answers = [
      await send("GET", at(ids.locked, "/content")),
      await send("GET", at(ids.locked, "/diff")),
      await send("POST", at(ids.locked, "/restore")),
    ]
    for (const answer of answers) {
      assert.match(String(assertProblem(answer, 409, "backup_key_unavailable").detail), /encryption_old_key_paths/)
    }
    assert.equal((await send("POST", at(ids.locked, "/verify"))).body.ok, false)
    assert.equal(existsSync(world.file("vm02")), false)
  })

  test("are missing while their file is away, and there again with it", async () => {
    const path = join(world.home.backups, ids.gone)
    const away = join(dirname(world.home.backups), "away")
    await rename(path, away)
    assertProblem(await send("GET", at(ids.gone, "/content")), 409, "backup_missing")
    await send("POST", at(ids.gone, "/verify"))
    assert.equal((await send("GET", at(ids.gone))).body.state, "missing")
    await rename(away, path)
    await send("POST", at(ids.gone, "/verify"))
    assert.equal((await send("GET", at(ids.gone))).body.state, "ok")
  })

  test("are damaged, not locked, when the key that opened them does so no more", async () => {
    await writeFile(join(world.home.backups, ids.env), legacyFile("A=1\n", Buffer.alloc(32, 7)))
    assertProblem(await send("GET", at(ids.env, "/content")), 409, "backup_corrupt")
    await send("POST", at(ids.env, "/verify"))
    assert.equal((await send("GET", at(ids.env))).body.state, "damaged")
  })

  test("are still there after a restart, each once, among the versions made since", async () => {
    const query = "/backups?vmId=vm01&type=central&limit=500"
    const known = itemsOf(await send("GET", query)).map(({ backupId }) => backupId)
    assert.equal(await world.service().stop(), 0)
    await world.restart()
    assert.deepEqual(
      itemsOf(await send("GET", query)).map(({ backupId }) => backupId),
      known,
    )
    assert.deepEqual(known.slice(-2), [ids.text, ids.value])
  })
})
