import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { readFileSync, statSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { after, before, suite, test } from "node:test"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Answer, assertProblem, itemsOf, type Send } from "./client.ts"
import { leftovers, makeWorld, moveBehind, type World } from "./world.ts"

let world: World
let send: Send
let network: FaultyNetwork

before(async () => {
  world = await makeWorld({
    settings: () => ({ config_management: { config_types: { vm_specific: { require_if_match: true } } } }),
  })
  send = world.send
  network = await startProxy(world.sshd)
  await moveBehind(network, "vm04", world)
})
after(async () => {
  await world.close()
  await network.close()
})

suite("Writers that say what they are changing", () => {
  const url = "/vms/vm01/configs/central"

  test("of 16 writers with the same If-Match one wins, and nothing is lost", async () => {
    const file = world.file("vm01")
    await writeFile(file, "port: 0\n")
    const headers = { "if-match": await tagOf(url) }
    const answers = await Promise.all(numbers(16).map((n) => send("PUT", url, { yaml: `port: ${n}\n`, headers })))

    const won = answers.filter(({ status }) => status === 200)
    assert.equal(won.length, 1, answers.map(({ status }) => status).join(" "))
    for (const answer of answers.filter((each) => each !== won[0])) {
      const problem = assertProblem(answer, 412, "precondition_failed")
      assert.deepEqual([problem.currentDigest, problem.fileState], [won[0]?.body.digest, "unchanged"])
      assert.equal(answer.headers.get("etag"), `"${String(won[0]?.body.digest)}"`)
    }
    assert.equal(digestOf(readFileSync(file)), won[0]?.body.digest)
    assert.deepEqual(await digestsOf("vm01"), [won[0]?.body.digest, digestOf("port: 0\n")])
    assert.deepEqual(leftovers(file), [])
  })

  test("of 16 writers without one, every content that was acknowledged can be had back", async () => {
    const file = world.file("vm02")
    await writeFile(file, "port: 0\n")
    const path = "/vms/vm02/configs/central"
    const answers = await Promise.all(numbers(16).map((n) => send("PUT", path, { yaml: `port: ${n}\n` })))
    assert.deepEqual(
      answers.map(({ status }) => status),
      numbers(16).map(() => 200),
    )
    const kept = await digestsOf("vm02")
    assert.equal(kept.length, 17)
    assert.equal(new Set(kept).size, 17)
    assert.equal(kept[0], digestOf(readFileSync(file)))
    for (const { body } of answers) assert.ok(kept.includes(body.digest), String(body.digest))
    for (const { backupId } of itemsOf(await send("GET", "/backups?vmId=vm02&limit=500"))) {
      assert.equal((await send("POST", `/backups/${String(backupId)}/verify`)).body.ok, true)
    }
  })

  test("a wrong If-Match is 412 with what stands there, and leaves the file and no staging file", async () => {
    const file = world.file("vm01")
    const stood = readFileSync(file)
    const headers = { "if-match": `"${"0".repeat(64)}", "other"` }
    const problem = assertProblem(await send("PUT", url, { yaml: "port: 99\n", headers }), 412, "precondition_failed")
    assert.equal(problem.currentDigest, digestOf(stood))
    assert.deepEqual(readFileSync(file), stood)
    assert.deepEqual(leftovers(file), [])
    const operation = (await send("GET", `/operations/${String(problem.operationId)}`)).body
    assert.deepEqual([operation.state, operation.fileState], ["failed", "unchanged"])
  })

  test("either view's tag, a weak one and * fit; a restore honours If-Match too", async () => {
    const raw = await tagOf(url)
    for (const tag of [raw, raw.replace(/"$/, '-json"'), `W/${raw}`, "*", `"x", ${raw}`]) {
      const answer = await send("PUT", `${url}?dryRun=true`, { yaml: "port: 98\n", headers: { "if-match": tag } })
      assert.equal(answer.status, 200, tag)
    }
    const [version] = itemsOf(await send("GET", "/backups?vmId=vm01"))
    const headers = { "if-match": `"${"0".repeat(64)}"` }
    const restore = await send("POST", `/backups/${String(version?.backupId)}/restore`, { headers })
    assertProblem(restore, 412, "precondition_failed")
  })

  for (const tag of ["0".repeat(64), '"open', "'quoted'", '"a" "b"', ","]) {
    test(`a malformed If-Match, ${JSON.stringify(tag).slice(0, 20)}, is 400 and contacts no VM`, async () => {
      const answer = await send("PUT", url, { yaml: "port: 97\n", headers: { "if-match": tag } })
      assertProblem(answer, 400, "invalid_header")
    })
  }

  test("If-Match: * on a file that does not exist is 412 and creates nothing", async () => {
    const answer = await send("PUT", "/vms/vm03/configs/central", { yaml: "port: 1\n", headers: { "if-match": "*" } })
    const problem = assertProblem(answer, 412, "precondition_failed")
    assert.equal(problem.currentDigest, null)
    assert.equal(answer.headers.get("etag"), null)
    assert.throws(() => statSync(world.file("vm03")), { code: "ENOENT" })
  })

  test("a type with require_if_match refuses a change without one, and shows the curl line to send", async () => {
    const path = "/vms/vm01/configs/vm_specific"
    const file = world.file("vm01", "vm_specific")
    await writeFile(file, "port: 5\n")
    const problem = assertProblem(await send("PUT", path, { yaml: "port: 6\n" }), 428, "precondition_required")
    assert.match(String(problem.detail), /curl -X PUT -H 'If-Match: /)
    assert.equal(readFileSync(file, "utf8"), "port: 5\n")
    const headers = { "if-match": await tagOf(path) }
    assert.equal((await send("PUT", path, { yaml: "port: 6\n", headers })).status, 200)
  })
})

suite("More changes of one config than may wait", () => {
  test("the 18th is 429 config_busy with Retry-After; the 17 before it are all made", async () => {
    const url = "/vms/vm04/configs/central"
    const file = world.file("vm04")
    await writeFile(file, "port: 0\n")
    assert.equal((await send("GET", url)).status, 200)
    network.hold()
    const pending = numbers(18).map((n) => send("PUT", url, { yaml: `port: ${n}\n` }))
    // One is on the VM, 16 wait: only the one too many is answered while the network holds everything back.
    const refused = await Promise.race(pending)
    network.release()
    const problem = assertProblem(refused, 429, "config_busy")
    assert.match(refused.headers.get("retry-after") ?? "", /^[1-9]\d*$/)
    assert.equal(problem.fileState, "unchanged")

    const answers = await Promise.all(pending)
    assert.equal(answers.filter(({ status }) => status === 200).length, 17)
    assert.equal((await digestsOf("vm04")).length, 18)
    assert.deepEqual(leftovers(file), [])
  })

  test("a VM that is held up keeps nobody else waiting", async () => {
    const begin = performance.now()
    network.hold()
    const held = send("PUT", "/vms/vm04/configs/central", { yaml: "port: 102\n" })
    const other = await send("PUT", "/vms/vm01/configs/central", { yaml: "port: 103\n" })
    const ms = performance.now() - begin
    network.release()
    assert.equal(other.status, 200)
    assert.ok(ms < 2000, `${ms} ms`)
    assert.ok([200, 504].includes((await held).status))
  })
})

async function tagOf(url: string): Promise<string> {
  const answer: Answer = await send("HEAD", url, { headers: { accept: "application/yaml" } })
  return answer.headers.get("etag") ?? ""
}

/** Digests of a VM's versions, newest first. */
async function digestsOf(vmId: string): Promise<readonly unknown[]> {
  return itemsOf(await send("GET", `/backups?vmId=${vmId}&type=central&limit=500`)).map(({ digest }) => digest)
}

function numbers(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index + 1)
}

function digestOf(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex")
}
