import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { cp, mkdir, rename, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import { assertProblem, itemsOf, type Json, type Send } from "./client.ts"
import { centralSchema, eventually, makeWorld, type World } from "./world.ts"

/** They stand in the environment, in bodies and in a file on the VM: no log line may hold one. */
const marks = { passphrase: "S3CRET-PASSPHRASE", body: "S3CRET-BODY", live: "S3CRET-LIVE" }

let world: World
let send: Send

before(async () => {
  world = await makeWorld({
    settings: () => ({ config_management: { encryption_key_path: "" } }),
    environment: { TH_TIMMY_CONFIG_BACKUP_PASSPHRASE: marks.passphrase },
  })
  send = world.send
})
after(() => world.close())

suite("SIGHUP", () => {
  test("takes in a new VM and a new type, while the old ones go on", async () => {
    assertProblem(await send("GET", "/vms/vm05/configs"), 404, "vm_not_found")
    const { msg } = await world.edit((settings) => {
      const vms = settings.vms as Readonly<Record<string, Json>>
      const management = settings.config_management as Json
      const paths = {
        ...(management.config_paths as Json),
        motd: { default: join(world.sshd.root, "vm01", "motd.txt") },
      }
      return {
        ...settings,
        vms: { ...vms, vm05: { ...vms.vm04, name: "fifth" } },
        config_management: { ...management, config_paths: paths },
      }
    })
    assert.equal(msg, "settings taken in")
    assert.equal((await send("GET", "/vms/vm05")).body.name, "fifth")
    assert.equal((await send("PUT", "/vms/vm05/configs/motd", { text: "hello" })).status, 201)
    const read = await send("GET", "/vms/vm05/configs/motd")
    assert.deepEqual([read.text, read.headers.get("content-type")], ["hello", "text/plain; charset=utf-8"])
    assertProblem(await send("PUT", "/vms/vm05/configs/motd", { json: {} }), 415, "unsupported_media_type")
  })

  test("takes in a lower and a higher limit for bodies", async () => {
    const limitTo = (bytes: number): Promise<Json> =>
      world.edit((settings) => ({ ...settings, limits: { ...(settings.limits as Json), body_bytes: bytes } }))
    const send2000 = (): ReturnType<Send> =>
      send("POST", "/vms/vm01/configs/central/validate", { yaml: `name: ${"a".repeat(2000)}\n` })
    assert.equal((await limitTo(1024)).msg, "settings taken in")
    assertProblem(await send2000(), 413, "body_too_large")
    assert.equal((await limitTo(1_048_576)).msg, "settings taken in")
    assert.equal((await send2000()).status, 200)
  })

  test("refuses a changed state_dir in one sentence, and takes nothing of that file", async () => {
    const { msg } = await world.edit((settings) => {
      const vms = settings.vms as Readonly<Record<string, Json>>
      return { ...settings, state_dir: join(world.home.dir, "elsewhere"), vms: { ...vms, vm06: vms.vm04 } }
    })
    assert.match(String(msg), /^settings not taken in: state_dir .*restart/)
    assertProblem(await send("GET", "/vms/vm06"), 404, "vm_not_found")
    await world.edit(({ state_dir: _changed, ...settings }) => settings)
    assert.equal((await send("GET", "/vms/vm06")).status, 200)
  })

  test("tells the mistakes of a broken file, and goes on with what it has", async () => {
    const { msg, level } = await world.edit((settings) => ({ ...settings, vms: { vm01: { ipp: "x" } } }))
    assert.match(String(msg), /line \d+: vms\.vm01\.ipp/)
    assert.equal(level, 50)
    assert.equal((await send("GET", "/vms/vm04")).status, 200)
    assert.equal((await send("GET", "/readyz")).body.degraded, true)
    const { host, port, user } = world.sshd
    await world.edit((settings) => ({ ...settings, vms: { vm01: { ip: host, ssh_port: port, ssh_user: user } } }))
    assertProblem(await send("GET", "/vms/vm04"), 404, "vm_not_found")
    assert.equal((await send("GET", "/readyz")).body.degraded, false)
  })
})

suite("A schema file that changes on disk", () => {
  const validate = "/vms/vm01/configs/central/validate"
  const write = (text: string): Promise<void> => writeFile(join(world.home.dir, "schemas", "central.json"), text)
  const isValid = async (port: number): Promise<unknown> =>
    (await send("POST", validate, { yaml: `port: ${port}\n` })).body.valid

  test("is taken in", async () => {
    assert.equal(await isValid(101), true)
    const stricter = { ...centralSchema, title: "Stricter", properties: { port: { type: "integer", maximum: 100 } } }
    await write(JSON.stringify(stricter))
    await eventually(
      () => isValid(101),
      (valid) => valid === false,
    )
    const schemas = itemsOf(await send("GET", "/schemas"))
    assert.equal(schemas.find(({ type }) => type === "central")?.title, "Stricter")
    assert.deepEqual((await send("GET", "/schemas/central")).body, stricter)
  })

  test("is taken in from a directory below, and from one that was put in the place of another", async () => {
    const dir = join(world.home.dir, "schemas")
    const strict = JSON.stringify({ ...centralSchema, properties: { port: { type: "integer", maximum: 50 } } })
    const namedAs = (file: string): Promise<Json> =>
      world.edit((settings) => {
        const management = settings.config_management as Json
        const schemas = { ...(management.config_schemas as Json), central: file }
        return { ...settings, config_management: { ...management, config_schemas: schemas } }
      })
    const until = (expected: boolean) =>
      eventually(
        () => isValid(60),
        (valid) => valid === expected,
      )
    await mkdir(join(dir, "below"))
    await cp(join(dir, "central.json"), join(dir, "below", "central.json"))
    assert.equal((await namedAs("below/central.json")).msg, "settings taken in")
    assert.equal(await isValid(60), true)
    await writeFile(join(dir, "below", "central.json"), strict)
    await until(false)

    assert.equal((await namedAs("central.json")).msg, "settings taken in")
    await cp(dir, `${dir}.new`, { recursive: true })
    const takenIn = (): number => world.service().lines.filter(({ msg }) => msg === "schemas taken in").length
    const before = takenIn()
    await rename(dir, `${dir}.old`)
    await rename(`${dir}.new`, dir)
    await eventually(takenIn, (times) => times > before)
    assert.equal(await isValid(60), true)
    await write(strict)
    await until(false)
  })

  test("is not taken in where it does not compile: the old one stays in force, and readyz is degraded", async () => {
    await write('{"type":"objekt"}')
    const ready = await eventually(
      () => send("GET", "/readyz"),
      ({ body }) => body.degraded === true,
    )
    assert.deepEqual([ready.status, ready.body.ready], [200, true])
    const check = (ready.body.checks as readonly Json[]).find(({ name }) => name === "schemas")
    assert.match(String(check?.detail), /central\.json/)
    assert.deepEqual([await isValid(51), await isValid(50)], [false, true])
    await write(JSON.stringify(centralSchema))
    await eventually(
      () => send("GET", "/readyz"),
      ({ body }) => body.degraded === false,
    )
    assert.equal(await isValid(101), true)
  })
})

suite("The log", () => {
  const url = "/vms/vm01/configs/central"

  test("has one line per request and one per operation, with the fields to find them by", async () => {
    const headers = { "x-request-id": "e2e-write-1" }
    const written = await send("PUT", url, { yaml: "port: 1\n", headers })
    assert.equal(written.headers.get("x-request-id"), "e2e-write-1")
    const request = await world
      .service()
      .logged(({ msg, requestId }) => msg === "request" && requestId === "e2e-write-1")
    const { ms, level, time, ...told } = request
    assert.deepEqual([typeof ms, level, Number.isNaN(Date.parse(String(time)))], ["number", 30, false])
    assert.deepEqual(told, {
      requestId: "e2e-write-1",
      method: "PUT",
      route: "/vms/:vmId/configs/:type",
      vmId: "vm01",
      type: "central",
      status: 201,
      actor: "anonymous",
      msg: "request",
    })
    const operation = await world
      .service()
      .logged(({ msg, requestId }) => msg === "operation" && requestId === "e2e-write-1")
    assert.deepEqual(
      [operation.operationId, operation.kind, operation.vmId, operation.type],
      [written.body.operationId, "write", "vm01", "central"],
    )
    assert.deepEqual([operation.state, operation.fileState, typeof operation.ms], ["succeeded", "written", "number"])
  })

  test("names the code and the request of a refused change", async () => {
    const headers = { "x-request-id": "e2e-refused-1" }
    assertProblem(await send("PUT", url, { yaml: "port: x\n", headers }), 422, "config_invalid")
    const line = await world
      .service()
      .logged(({ msg, requestId }) => msg === "operation" && requestId === "e2e-refused-1")
    assert.deepEqual([line.code, line.state, line.level], ["config_invalid", "failed", 40])
  })

  test("never holds a secret: no passphrase, no key, nothing of a body or a live file", async () => {
    const live = `name: ${marks.live}\n`
    await writeFile(world.file("vm01"), live)
    const requests = [
      { yaml: `name: ${marks.body}\n` },
      { yaml: `port: ${marks.body}\n` },
      { yaml: `name: [${marks.body}\n` },
      { json: { port: marks.body } },
      { yaml: `name: &a ${marks.body}\nname: *a\n` },
    ]
    for (const path of [url, `${url}?dryRun=true`, `${url}/validate`, `${url}/diff`]) {
      const method = path.startsWith(`${url}/`) ? "POST" : "PUT"
      for (const request of requests) await send(method, path, request)
    }
    await writeFile(world.file("vm01"), `${live}\t: ${marks.live}\n`)
    await send("GET", url)
    const headers = { "x-request-id": "e2e-last" }
    await send("GET", "/vms", { headers })
    await world.service().logged(({ requestId }) => requestId === "e2e-last")

    const log = JSON.stringify(world.service().lines)
    for (const mark of Object.values(marks)) assert.ok(!log.includes(mark), mark)
    const [, firstKeyLine = ""] = readFileSync(world.sshd.clientKeyPath, "utf8").split("\n")
    assert.ok(!log.includes(firstKeyLine))
    assert.ok(!log.includes("PRIVATE KEY"))
  })

  test("has no line of an error that should not happen", () => {
    assert.deepEqual(
      world.service().lines.filter(({ level, code }) => Number(level) >= 60 || code === "internal_error"),
      [],
    )
  })
})
