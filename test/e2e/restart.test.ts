import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { once } from "node:events"
import { writeFile } from "node:fs/promises"
import { get } from "node:http"
import { suite, test } from "node:test"
import { makeHome, type ServicePlan } from "../support/service.ts"
import { clientOf, itemsOf } from "./client.ts"
import { centralSchema } from "./world.ts"

const plan: ServicePlan = {
  settings: {
    vms: { vm01: { ip: "127.0.0.1", ssh_user: "nobody" } },
    config_management: {
      config_paths: { central: { default: "/x.yml" } },
      config_schemas: { central: "central.json" },
    },
  },
  schemas: { "central.json": centralSchema },
}

type Section = Readonly<Record<string, unknown>>

suite("Directories that belong to one process and one key", () => {
  test("a second process on the same directories, while the first goes on", async () => {
    const home = await makeHome(plan)
    const first = await home.start()
    const { code, stderr } = await home.run(["serve"])
    assert.equal(code, 78, stderr)
    assert.match(stderr, /Another process of Config Manager/)
    assert.equal((await clientOf(() => first.url)("GET", "/readyz")).status, 200)
    assert.equal(await first.stop(), 0)
    await home.remove()
  })

  test("another key than before, unless --new-key says that it is meant so", async () => {
    const home = await makeHome(plan)
    assert.equal(await (await home.start()).stop(), 0)
    await writeFile(home.keyFile, randomBytes(32))
    const { code, stderr } = await home.run(["serve"])
    assert.equal(code, 78, stderr)
    assert.match(stderr, /--new-key/)
    const service = await home.start(["--new-key"])
    assert.equal(await service.stop(), 0)
    assert.equal(await (await home.start()).stop(), 0)
    await home.remove()
  })
})

suite("A start that is not refused", () => {
  test("is ready with the first answer, and offers no more than asked", async (context) => {
    const home = await makeHome(plan)
    context.after(() => home.remove())
    const service = await home.start()
    // Also where an assertion fails: a service that is left running would keep the tests from ending.
    context.after(() => service.kill())
    context.diagnostic(`ready after ${Math.round(service.startedInMs)} ms`)
    const send = clientOf(() => service.url)
    const ready = await send("GET", "/readyz")
    assert.deepEqual([ready.status, ready.body.ready, ready.body.degraded], [200, true, false], ready.text)
    assert.equal((await send("GET", "/healthz")).status, 200)
    assert.equal(itemsOf(await send("GET", "/schemas"))[0]?.type, "central")
    const { hostname, port } = new URL(service.url)
    assert.equal(hostname, "127.0.0.1")
    // As a page would send it whose name was pointed at this machine; `fetch` cannot.
    const [rebound] = await once(get({ port, path: "/vms", headers: { host: `evil.example:${port}` } }), "response")
    assert.equal(rebound.resume().statusCode, 403)
    assert.equal(await service.stop(), 0)
  })

  test("a schema file that does not exist is no reason where the type says schema: none", async (context) => {
    const management = {
      ...(plan.settings.config_management as Section),
      config_types: { central: { schema: "none" } },
    }
    const home = await makeHome({ settings: { ...plan.settings, config_management: management } })
    context.after(() => home.remove())
    const service = await home.start()
    context.after(() => service.kill())
    const send = clientOf(() => service.url)
    const { body } = await send("POST", "/vms/vm01/configs/central/validate", { yaml: "port: x\n" })
    assert.deepEqual([body.valid, (body.warnings as readonly Section[])[0]?.code], [true, "no_schema"])
    assert.equal(await service.stop(), 0)
  })

  test("a schema directory that is missing where no type has a schema: changes there are just not noticed", async (context) => {
    const management = {
      ...(plan.settings.config_management as Section),
      config_types: { central: { schema: "none" } },
      schema_dir: "nowhere",
    }
    const home = await makeHome({ settings: { ...plan.settings, config_management: management } })
    context.after(() => home.remove())
    const service = await home.start()
    context.after(() => service.kill())
    const warning = await service.logged(({ level }) => level === 40)
    assert.match(String(warning.msg), /nowhere .*cannot be watched \(ENOENT\).*SIGHUP/)
    const { body } = await clientOf(() => service.url)("GET", "/readyz")
    assert.deepEqual([body.ready, body.degraded], [true, false])
    const check = (body.checks as readonly Section[]).find(({ name }) => name === "schemas")
    assert.match(String(check?.detail), /not noticed/)
    service.signal("SIGHUP")
    await service.logged(({ msg }) => msg === "settings taken in")
    assert.equal(await service.stop(), 0)
  })
})
