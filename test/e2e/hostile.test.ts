import assert from "node:assert/strict"
import { writeFile } from "node:fs/promises"
import { after, before, suite, test } from "node:test"
import { type Answer, assertProblem, itemsOf, type Json, type Request, type Send } from "./client.ts"
import { leftovers, makeWorld, standing, type World } from "./world.ts"

/** Backtracks for hours on `aaa...!`. */
const catastrophic = { type: "object", properties: { name: { type: "string", pattern: "^(a+)+$" } } }
const strict = { type: "array", items: { type: "integer" } }

/** Generous: the goal is 200 ms on a machine that does nothing else. */
const slowestMs = 2000

let world: World
let send: Send

before(async () => {
  world = await makeWorld({
    schemas: { "vm.json": catastrophic, "list.json": strict },
    settings: (sshd) => ({
      config_management: {
        config_paths: {
          central: { default: `${sshd.root}/{vmId}/central.yml` },
          vm_specific: { default: `${sshd.root}/{vmId}/vm.yml` },
          env: { default: `${sshd.root}/{vmId}/.env` },
          list: { default: `${sshd.root}/{vmId}/list.json` },
        },
        config_schemas: { central: "central.json", vm_specific: "vm.json", env: "env.json", list: "list.json" },
      },
    }),
  })
  send = world.send
  await writeFile(world.file("vm01"), "port: 1\n")
})
after(() => world.close())

const bomb = ["a: &a [x,x,x,x,x,x,x,x,x]", ..."bcdefghi".split("").map((name, index) => level(name, "abcdefgh"[index]))]

function level(name: string, below = ""): string {
  return `${name}: &${name} [${Array(9).fill(`*${below}`).join(",")}]`
}

const unparsable: readonly (readonly [what: string, yaml: string, line: number])[] = [
  ["a tab as indentation", "port: 1\n\tname: x\n", 2],
  ["an unclosed quote", 'port: 1\nname: "open\n', 0],
  ["two documents", "port: 1\n---\nport: 2\n", 0],
  ["a key twice", "port: 1\nname: x\nport: 2\n", 3],
  ["a cyclic alias", "port: 1\na: &a [*a]\n", 2],
  ["a function", 'port: 1\nname: !!js/function "function () {}"\n', 2],
  ["a tag of one's own", "port: 1\nname: !secret x\n", 2],
  ["a mapping as a key", "port: 1\n? {a: 1}\n: 2\n", 2],
  ["not a number", "port: 1\nvalue: .nan\n", 2],
  ["a control character", "port: 1\nname: a\u0001b\n", 2],
  ["an integer that JavaScript cannot hold", "port: 1\nid: 9007199254740993\n", 2],
  ["an alias of nothing", "port: 1\nname: *nobody\n", 2],
  ["a list that is not closed", "port: 1\nlist: [1, 2\n", 0],
]

const tooComplex: readonly (readonly [what: string, yaml: string])[] = [
  ["an alias bomb", `${bomb.join("\n")}\n`],
  ["nesting without end", `a: ${"[".repeat(5000)}${"]".repeat(5000)}\n`],
  ["51 aliases", `a: &a 1\nlist: [${Array(51).fill("*a").join(",")}]\n`],
  ["60 000 nodes", `list: [${Array(60_000).fill("1").join(",")}]\n`],
]

suite("YAML that is no config", () => {
  const url = "/vms/vm01/configs/central"

  for (const [what, yaml, line] of unparsable) {
    test(`${what}: 422 with line and column, and validate says the same`, async (context) => {
      const stood = standing(world.file("vm01"))
      const [put, ms] = await timed("PUT", url, { yaml })
      const problem = assertProblem(put, 422, "config_unparsable")
      const [error] = problem.errors as readonly Json[]
      assert.ok(Number(error?.line) >= 1 && Number(error?.column) >= 1, put.text)
      if (line > 0) assert.equal(error?.line, line, put.text)
      assert.equal(problem.fileState, "unchanged")
      assert.deepEqual([standing(world.file("vm01")), leftovers(world.file("vm01"))], [stood, []])
      const [validated, validateMs] = await timed("POST", `${url}/validate`, { yaml })
      assert.deepEqual([validated.status, validated.body.valid], [200, false], validated.text)
      assert.deepEqual(validated.body.errors, problem.errors)
      assertQuick(context, ms, validateMs)
    })
  }

  for (const [what, yaml] of tooComplex) {
    test(`${what}: 422, and nothing of it reaches the VM`, async (context) => {
      const stood = standing(world.file("vm01"))
      const [put, ms] = await timed("PUT", url, { yaml })
      assert.ok(["config_too_complex", "config_unparsable"].includes(String(put.body.code)), put.text.slice(0, 500))
      assertProblem(put, 422, String(put.body.code))
      assert.deepEqual(standing(world.file("vm01")), stood)
      const [validated, validateMs] = await timed("POST", `${url}/validate`, { yaml })
      if (validated.status === 200) assert.equal(validated.body.valid, false)
      else assertProblem(validated, 422, "config_too_complex")
      assertQuick(context, ms, validateMs)
    })
  }

  test("an empty body is no config of a type that is a mapping", async () => {
    for (const yaml of ["", "# nothing\n", "\n\n", "~\n"]) {
      const answer = await send("PUT", url, { yaml })
      assert.equal(answer.status, 422, JSON.stringify(yaml))
    }
  })

  test("bytes that are no UTF-8 are 422, not kept as they came", async () => {
    const response = await fetch(`${world.service().url}${url}`, {
      method: "PUT",
      headers: { "content-type": "application/yaml" },
      body: Buffer.from([0x61, 0x3a, 0x20, 0xff, 0xfe, 0x0a]),
    })
    const { code } = (await response.json()) as Json
    assert.deepEqual([response.status, code], [422, "config_unparsable"])
  })
})

suite("JSON that is no config", () => {
  const cases: readonly (readonly [what: string, body: string, status: number, code: string])[] = [
    ["nothing", "", 400, "malformed_json"],
    ["half of it", '{"port":', 400, "malformed_json"],
    ["NaN", '{"port":NaN}', 400, "malformed_json"],
    ["a key twice, deep inside", '{"a":{"b":[{"c":1,"c":2}]}}', 400, "malformed_json"],
    ["__proto__", '{"__proto__":{"port":1}}', 400, "malformed_json"],
    ["an integer that JavaScript cannot hold", '{"port":9007199254740993}', 400, "malformed_json"],
    ["a lone surrogate", '{"name":"\\ud800"}', 400, "malformed_json"],
    ["10 000 levels", `${"[".repeat(10_000)}${"]".repeat(10_000)}`, 400, "malformed_json"],
  ]
  for (const [what, body, status, code] of cases) {
    test(`${what}: ${status} ${code}`, async (context) => {
      const headers = { "content-type": "application/json" }
      const [answer, ms] = await timed("PUT", "/vms/vm01/configs/central", { text: body, headers })
      const problem = assertProblem(answer, status, code)
      assert.ok(!JSON.stringify(problem.detail).includes('__proto__":{'))
      assertQuick(context, ms)
    })
    test(`${what}, as the text of a JSON file: 422`, async () => {
      const answer = await send("PUT", "/vms/vm01/configs/list", { text: body })
      assert.equal(answer.status, 422, answer.text)
    })
  }

  test("200 000 errors are cut at 100, in time", async (context) => {
    const text = `[${Array(200_000).fill('""').join(",")}]`
    const [answer, ms] = await timed("PUT", "/vms/vm01/configs/list", { text })
    assert.equal(answer.status, 422, answer.text.slice(0, 200))
    const { code, errors, truncated } = answer.body
    if (code === "config_invalid") assert.deepEqual([(errors as readonly Json[]).length, truncated], [100, true])
    else assert.equal(code, "config_too_complex")
    context.diagnostic(`${String(code)} after ${Math.round(ms)} ms`)
    assert.ok(ms < 10_000)
  })
})

suite("A schema whose pattern never ends", () => {
  test("is cut at its time, while other clients are served", async (context) => {
    const yaml = `name: ${"a".repeat(60)}!\n`
    const attack = timed("PUT", "/vms/vm01/configs/vm_specific", { yaml })
    const delays: number[] = []
    let answered = false
    void attack.finally(() => {
      answered = true
    })
    while (!answered) {
      const [vms, ms] = await timed("GET", "/vms")
      itemsOf(vms)
      delays.push(ms)
      const [read, readMs] = await timed("GET", "/vms/vm01/configs/central")
      assert.equal(read.status, 200)
      delays.push(readMs)
    }
    const [answer, ms] = await attack
    const problem = assertProblem(answer, 422, "config_too_complex")
    assert.equal(problem.fileState, "unchanged")
    const slowest = Math.max(...delays)
    context.diagnostic(
      `cut after ${Math.round(ms)} ms; of ${delays.length} others the slowest took ${Math.round(slowest)} ms`,
    )
    assert.ok(ms < 5000, `${ms} ms`)
    assert.ok(delays.length > 2)
    assert.ok(slowest < 1000, `${slowest} ms`)

    // The next one is checked as if nothing had been.
    const fine = await send("PUT", "/vms/vm01/configs/vm_specific", { yaml: "name: aaa\n" })
    assert.equal(fine.status, 201, fine.text)
    const other = await send("POST", "/vms/vm01/configs/central/validate", { yaml: "port: x\n" })
    assert.equal(other.body.valid, false)
  })
})

suite("URLs that reach for more", () => {
  const paths: readonly (readonly [path: string, statuses: readonly number[]])[] = [
    ["/vms/..%2f..%2fetc/configs/central", [400]],
    ["/vms/vm01/configs/..%2f..%2f..%2fetc%2fpasswd", [400]],
    ["/vms/vm01%00/configs/central", [400]],
    ["/vms/vm01%0d%0aX:1/configs/central", [400]],
    ["/vms//configs/central", [400, 404]],
    [`/vms/${"v".repeat(200)}/configs/central`, [400, 414]],
    ["/vms/__proto__/configs/constructor", [400, 404]],
    ["/vms/constructor/configs/toString", [404]],
    ["/vms/%EF%BC%91/configs/central", [400]],
    ["/vms/10.0.0.5:22/configs/central", [400]],
    ["/backups/..%2f..%2fkeyring.json", [400, 404]],
    ["/backups/..%2f..%2fkeyring.json/content", [400, 404]],
    ["/backups?limit=0", [400]],
    ["/backups?limit=1e9", [400]],
    ["/backups?limit=1&limit=2", [400]],
    ["/backups?cursor=eyJhIjoxfQ", [400]],
    ["/vms/vm01/configs/central?valdiate=false", [400]],
  ]
  for (const [path, statuses] of paths) {
    test(`GET ${path.slice(0, 60)}: ${statuses.join(" or ")}, as a problem`, async () => {
      const answer = await send("GET", path)
      assert.ok(statuses.includes(answer.status), `${answer.status} ${answer.text}`)
      assertProblem(answer, answer.status, String(answer.body.code))
    })
  }
})

async function timed(method: string, path: string, request?: Request): Promise<[answer: Answer, ms: number]> {
  const begin = performance.now()
  const answer = await send(method, path, request)
  return [answer, performance.now() - begin]
}

function assertQuick(context: { diagnostic(message: string): void }, ...took: readonly number[]): void {
  context.diagnostic(`${took.map(Math.round).join(" and ")} ms`)
  assert.ok(Math.max(...took) < slowestMs, `${took.join(", ")} ms`)
}
