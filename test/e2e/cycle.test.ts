import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { readdirSync, statSync } from "node:fs"
import { chmod, chown, writeFile } from "node:fs/promises"
import { after, before, suite, test } from "node:test"
import { isRoot } from "../support/sshd.ts"
import { assertProblem, itemsOf, type Json, type Send } from "./client.ts"
import { leftovers, makeWorld, standing, type World } from "./world.ts"

/** Comments, CRLF, a quoted number, no last line end: nothing of it may change on the way. */
const original = Buffer.from('# keep me\r\nport: 80  # http\r\nname: "0777"\r\nlist: [ 1,2 ]\r\n\r\n# end')
const owner = isRoot ? { uid: 1234, gid: 4321 } : null

let world: World
let send: Send

before(async () => {
  world = await makeWorld()
  send = world.send
})
after(() => world.close())

suite("The cycle of one config, over HTTP and SSH, as it stands on the VM's disk", () => {
  const url = "/vms/vm01/configs/central"
  let file: string
  let firstBackup: string

  before(async () => {
    file = world.file("vm01")
    await writeFile(file, original)
    await chmod(file, 0o640)
    if (owner) await chown(file, owner.uid, owner.gid)
  })

  test("lists the VMs and configs of settings in the original tool's shape", async () => {
    const vms = await send("GET", "/vms")
    assert.equal(vms.body.total, 4)
    const types = itemsOf(vms).map(({ vmId, configTypes }) => [vmId, configTypes])
    assert.deepEqual(types[0], ["vm01", ["central", "env", "vm_specific"]])
    assert.deepEqual(types[2], ["vm03", ["central", "env"]])
    assert.equal(itemsOf(await send("GET", "/vms?label=role=database"))[0]?.vmId, "vm02")
    const configs = itemsOf(await send("GET", "/vms/vm01/configs"))
    assert.deepEqual(configs[0], { type: "central", path: file, format: "yaml", schema: true, lastBackupAt: null })
  })

  test("checks the way to a VM and leaves nothing behind", async () => {
    const { status, body } = await send("POST", "/vms/vm01/check")
    assert.deepEqual([status, body.ok], [200, true], JSON.stringify(body))
    const names = (body.checks as readonly Json[]).map(({ name }) => String(name))
    assert.deepEqual(names.slice(0, 4), ["connect", "host key", "authentication", "sftp"])
    for (const type of ["central", "env", "vm_specific"]) assert.ok(names.includes(`${type}: directory`), type)
    assert.deepEqual(readdirSync(world.directory("vm01")), ["central.yml"])
  })

  test("reads the parsed document, and the bytes as they are", async () => {
    const json = await send("GET", url)
    assert.deepEqual(json.body, { port: 80, name: "0777", list: [1, 2] })
    assert.equal(json.headers.get("etag"), `"${digestOf(original)}-json"`)
    const raw = await send("GET", url, { headers: { accept: "application/yaml" } })
    assert.deepEqual(raw.bytes, original)
    assert.equal(raw.headers.get("etag"), `"${digestOf(original)}"`)
    assert.equal(raw.headers.get("x-config-mode"), "0640")
    if (owner) assert.equal(raw.headers.get("x-config-owner"), `${owner.uid}:${owner.gid}`)
    assert.equal(raw.headers.get("x-config-path"), file)
    assert.equal(Date.parse(raw.headers.get("last-modified") ?? ""), Math.floor(statSync(file).mtimeMs / 1000) * 1000)
  })

  test("answers 304 to the tag of the same view only, and HEAD as GET", async () => {
    const tag = `"${digestOf(original)}-json"`
    const fresh = await send("GET", url, { headers: { "if-none-match": tag } })
    assert.deepEqual([fresh.status, fresh.bytes.length], [304, 0])
    const other = await send("GET", url, { headers: { "if-none-match": `"${digestOf(original)}"` } })
    assert.equal(other.status, 200)
    const head = await send("HEAD", url)
    assert.deepEqual([head.status, head.headers.get("etag"), head.bytes.length], [200, tag, 0])
  })

  test("a dry run tells the change and makes none: no file, no operation, no version", async () => {
    const stood = standing(file)
    const touched = statSync(file).ctimeMs
    const blobs = readdirSync(world.home.backups, { recursive: true }).length
    const answer = await send("PUT", `${url}?dryRun=true`, { yaml: "port: 81\n" })
    assert.equal(answer.status, 200)
    assert.equal(answer.body.outcome, "written")
    assert.match(String(answer.body.diff), /^-port: 80 {2}# http\r?$/m)
    assert.match(String(answer.body.diff), /^\+port: 81$/m)
    assert.deepEqual([answer.body.backupId, answer.body.versionId, answer.body.operationId], [null, null, null])
    assertProblem(await send("PUT", `${url}?dryRun=true`, { yaml: "port: x\n" }), 422, "config_invalid")

    assert.deepEqual(standing(file), stood)
    assert.equal(statSync(file).ctimeMs, touched)
    assert.deepEqual(itemsOf(await send("GET", "/operations")), [])
    assert.deepEqual(itemsOf(await send("GET", "/backups")), [])
    assert.equal(readdirSync(world.home.backups, { recursive: true }).length, blobs)
  })

  test("a write keeps mode and owner and what stood before", async () => {
    const reason = Buffer.from("Grund: über").toString("latin1")
    const headers = { "x-change-reason": reason, "if-match": `"${digestOf(original)}-json"` }
    const answer = await send("PUT", url, { yaml: "port: 81\n", headers })
    const { status, body } = answer
    assert.equal(status, 200, answer.text)
    assert.deepEqual([body.outcome, body.path, body.size, body.dryRun], ["written", file, 9, false])
    assert.deepEqual([body.digest, body.previousDigest], [digestOf("port: 81\n"), digestOf(original)])
    assert.equal(answer.headers.get("etag"), `"${digestOf("port: 81\n")}"`)
    assert.deepEqual(standing(file), { bytes: Buffer.from("port: 81\n"), mode: 0o640, ...ownerNow() })
    assert.deepEqual(leftovers(file), [])

    firstBackup = String(body.backupId)
    const found = (await send("GET", `/backups/${firstBackup}`)).body
    assert.equal(found.trigger, "found")
    // The reason is that of the change: the version of what was there before has none.
    const written = (await send("GET", `/backups/${String(body.versionId)}`)).body
    assert.deepEqual([written.reason, found.reason], ["Grund: über", null])
    assert.deepEqual([found.mode, found.digest, found.size], ["0640", digestOf(original), original.length])
    assert.deepEqual(found.copies, [])
    assert.deepEqual([written.trigger, written.supersededAt], ["written", null])
    assert.equal(found.supersededAt, written.validFrom)
  })

  test("the operations show what happened, step by step", async () => {
    const [operation] = itemsOf(await send("GET", "/operations?vmId=vm01&type=central&kind=write&state=succeeded"))
    assert.ok(operation)
    const names = (operation.stages as readonly Json[]).map(({ name }) => name)
    assert.deepEqual(names.toSorted(), ["connect", "keep", "look", "prepare", "read", "stage", "swap"])
    assert.deepEqual([operation.fileState, operation.problem, operation.actor], ["written", null, "anonymous"])
    assert.equal(operation.reason, "Grund: über")
    assert.ok(String(operation.finishedAt) >= String(operation.startedAt))
    assert.equal(operation.backupId, firstBackup)
    assert.deepEqual((await send("GET", `/operations/${String(operation.operationId)}`)).body, operation)
  })

  test("the same bytes, and a JSON value that stands there already, leave the file untouched", async () => {
    const touched = statSync(file).ctimeMs
    for (const request of [{ yaml: "port: 81\n" }, { json: { port: 81 } }]) {
      const answer = await send("PUT", url, request)
      assert.deepEqual([answer.status, answer.body.outcome], [200, "unchanged"], answer.text)
      assert.equal(answer.headers.get("etag"), `"${digestOf("port: 81\n")}"`)
    }
    assert.equal(statSync(file).ctimeMs, touched)
    assert.equal(itemsOf(await send("GET", "/operations?state=unchanged")).length, 2)
  })

  test("a JSON body over a commented file tells how many comments went", async () => {
    await send("PUT", url, { yaml: "# one\nport: 81 # two\n" })
    const { body } = await send("PUT", url, { json: { port: 82, name: "no" } })
    const warnings = body.warnings as readonly Json[]
    const lost = warnings.find(({ code }) => code === "comments_lost")
    assert.match(String(lost?.message), /^2 comments/)
    assert.deepEqual((await send("GET", url)).body, { port: 82, name: "no" })
  })

  test("a version is shown as document and as bytes, compared, and verified", async () => {
    const path = `/backups/${firstBackup}`
    assert.deepEqual((await send("GET", `${path}/content`)).body, { port: 80, name: "0777", list: [1, 2] })
    const raw = await send("GET", `${path}/content`, { headers: { accept: "text/plain" } })
    assert.deepEqual(raw.bytes, original)

    const live = (await send("GET", `${path}/diff`)).body
    assert.deepEqual([live.changed, Array.isArray(live.operations)], [true, true])
    assert.match(String(live.unified), /^\+# keep me/m)
    assertProblem(await send("GET", `${path}/diff?against=previous`), 404, "backup_not_found")
    const newest = itemsOf(await send("GET", "/backups?vmId=vm01&type=central&limit=1"))[0]
    const previous = await send("GET", `/backups/${String(newest?.backupId)}/diff?against=previous`)
    assert.equal(previous.body.changed, true)
    const itself = await send("GET", `${path}/diff?against=${firstBackup}`)
    assert.deepEqual([itself.body.changed, itself.body.operations], [false, []])
    const text = await send("GET", `${path}/diff`, { headers: { accept: "text/x-diff" } })
    assert.equal(text.text, live.unified)

    const verified = await send("POST", `${path}/verify`)
    assert.equal(verified.body.ok, true, verified.text)
    assert.notEqual((await send("GET", path)).body.verifiedAt, null)
  })

  test("a restore puts back the same bytes, mode and owner", async () => {
    await chmod(file, 0o600)
    if (owner) await chown(file, 1, 1)
    const rehearsal = await send("POST", `/backups/${firstBackup}/restore?dryRun=true`)
    assert.deepEqual([rehearsal.body.outcome, standing(file).mode], ["written", 0o600])
    const answer = await send("POST", `/backups/${firstBackup}/restore`, { json: { reason: "back" } })
    assert.equal(answer.status, 200, answer.text)
    assert.deepEqual([answer.body.restoredFrom, answer.body.schemaValid], [firstBackup, true])
    assert.deepEqual(standing(file), { bytes: original, mode: 0o640, ...ownerNow() })
    assert.deepEqual(leftovers(file), [])
    // What stood there, its odd mode and owner too, became a version first.
    const before = (await send("GET", `/backups/${String(answer.body.backupId)}`)).body
    assert.deepEqual([before.mode, before.reason], ["0600", null])
    if (owner) assert.deepEqual([before.uid, before.gid], [1, 1])
  })

  test("a restore over the same bytes with another mode gives the mode back", async () => {
    await chmod(file, 0o600)
    const answer = await send("POST", `/backups/${firstBackup}/restore`)
    assert.deepEqual([answer.status, answer.body.outcome], [200, "written"], answer.text)
    assert.deepEqual(standing(file), { bytes: original, mode: 0o640, ...ownerNow() })
    const again = await send("POST", `/backups/${firstBackup}/restore`)
    assert.equal(again.body.outcome, "unchanged")
  })

  test("a restore onto another VM keeps that VM's mode and owner", async () => {
    const other = world.file("vm02")
    await writeFile(other, "port: 1\n")
    await chmod(other, 0o604)
    if (owner) await chown(other, 77, 78)
    const answer = await send("POST", `/backups/${firstBackup}/restore`, { json: { vmId: "vm02" } })
    assert.deepEqual([answer.status, answer.body.vmId, answer.body.restoredFrom], [200, "vm02", firstBackup])
    const stands = standing(other)
    assert.deepEqual([stands.bytes, stands.mode], [original, 0o604])
    if (owner) assert.deepEqual([stands.uid, stands.gid], [77, 78])
    assert.equal(itemsOf(await send("GET", "/backups?vmId=vm02")).length, 2)
  })

  test("a restore of what breaks today's schema says so and goes on", async () => {
    const broken = await send("PUT", `${url}?validate=false`, { yaml: "port: eighty\n" })
    assert.equal((broken.body.warnings as readonly Json[])[0]?.code, "not_validated")
    await send("PUT", url, { yaml: "port: 83\n" })
    const answer = await send("POST", `/backups/${String(broken.body.versionId)}/restore`)
    assert.deepEqual([answer.status, answer.body.schemaValid], [200, false], answer.text)
    assert.equal(standing(file).bytes.toString(), "port: eighty\n")
  })

  test("an env file goes the same way, byte for byte", async () => {
    const path = world.file("vm01", "env")
    const text = "# db\r\nPASSWORD='a b' # x\r\nexport HOST=localhost\r\n"
    await writeFile(path, text)
    await chmod(path, 0o600)
    const at = "/vms/vm01/configs/env"
    assert.deepEqual((await send("GET", at)).body, { PASSWORD: "a b", HOST: "localhost" })
    const written = await send("PUT", at, { text: "HOST=other\n" })
    assert.deepEqual([written.status, standing(path).mode], [200, 0o600], written.text)
    await send("POST", `/backups/${String(written.body.backupId)}/restore`)
    assert.deepEqual(standing(path).bytes, Buffer.from(text))
  })

  test("a backup by hand makes a version once, and names that one from then on", async () => {
    const path = world.file("vm04")
    await writeFile(path, "port: 4\n")
    const first = await send("POST", "/backups", { json: { vmId: "vm04", type: "central", reason: "by hand" } })
    assert.equal(first.status, 201, first.text)
    assert.equal(first.headers.get("location"), `/backups/${String(first.body.backupId)}`)
    assert.deepEqual([first.body.trigger, first.body.reason], ["manual", "by hand"])
    const again = await send("POST", "/backups", { json: { vmId: "vm04", type: "central" } })
    assert.deepEqual([again.status, again.body.backupId], [200, first.body.backupId])
    const kinds = itemsOf(await send("GET", "/operations?vmId=vm04&kind=backup")).map(({ state }) => state)
    assert.deepEqual(kinds, ["unchanged", "succeeded"])
  })

  test("a file that does not exist is created once, with the mode of its type", async () => {
    const path = world.file("vm03")
    const headers = { "if-none-match": "*" }
    assertProblem(await send("GET", "/vms/vm03/configs/central"), 404, "config_not_found")
    const answer = await send("PUT", "/vms/vm03/configs/central", { yaml: "port: 3\n", headers })
    assert.deepEqual([answer.status, answer.body.outcome], [201, "created"], answer.text)
    assert.deepEqual([answer.body.backupId, answer.body.previousDigest], [null, null])
    const stands = standing(path)
    assert.deepEqual([stands.bytes.toString(), stands.mode, stands.uid], ["port: 3\n", 0o640, process.getuid?.()])
    const second = await send("PUT", "/vms/vm03/configs/central", { yaml: "port: 4\n", headers })
    assert.equal(assertProblem(second, 412, "precondition_failed").currentDigest, digestOf("port: 3\n"))
    assert.equal(standing(path).bytes.toString(), "port: 3\n")
    assert.deepEqual(leftovers(path), [])
  })
})

function ownerNow(): { uid: number; gid: number } {
  return owner ?? { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
}

function digestOf(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex")
}
