import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { after, before, suite, test } from "node:test"
import { setTimeout as delay } from "node:timers/promises"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Answer, assertProblem, itemsOf, type Send } from "./client.ts"
import { ended, leftovers, makeWorld, moveBehind, standing, vmIds, type World, whenAppears } from "./world.ts"

const timeoutSeconds = 2

let world: World
let send: Send
/** One before each VM. Bytes take 20 ms, so that what is seen on the VM's disk is seen before the answer is. */
const networks = new Map<string, FaultyNetwork>()

before(async () => {
  world = await makeWorld({
    settings: ({ knownHostsPath, clientKeyPath }) => ({
      remote_execution: { default_timeout: timeoutSeconds },
      ssh: { known_hosts_path: knownHostsPath, private_key_path: clientKeyPath, connect_timeout: 1 },
    }),
  })
  send = world.send
  for (const vmId of vmIds) {
    const network = await startProxy(world.sshd, { delayMs: 20 })
    networks.set(vmId, network)
    await moveBehind(network, vmId, world)
    await writeFile(world.file(vmId), "port: 1\n")
  }
})
after(async () => {
  await world.close()
  await Promise.all([...networks.values()].map((network) => network.close()))
})

/** A VM of its own for each test, so that they can wait side by side; its connection stands. */
async function connected(vmId: string) {
  const network = networks.get(vmId)
  assert.ok(network)
  const url = `/vms/${vmId}/configs/central`
  assert.equal((await send("GET", url)).status, 200)
  return { network, url, file: world.file(vmId), directory: world.directory(vmId) }
}

suite("A VM that freezes", { concurrency: true }, () => {
  test("before it was read: 504 vm_timeout in time, and nothing was written", async () => {
    const { network, url, file } = await connected("vm01")
    const stood = standing(file)
    network.hold()
    const begin = performance.now()
    const problem = assertProblem(await send("PUT", url, { yaml: "port: 5\n" }), 504, "vm_timeout")
    assertInTime(begin)
    assert.equal(problem.fileState, "unchanged")
    network.release()
    const operation = await ended(send, problem.operationId)
    assert.deepEqual([operation.state, operation.fileState], ["failed", "unchanged"])
    assert.deepEqual([standing(file), leftovers(file)], [stood, []])
  })

  test("with the staging file on it: nothing was written, and the staging file goes once it answers", async () => {
    const { network, url, file, directory } = await connected("vm02")
    const staged = whenAppears(directory, ".new", () => network.hold())
    const begin = performance.now()
    const [answer] = await Promise.all([send("PUT", url, { yaml: "port: 2\n" }), staged])
    assertInTime(begin)
    const problem = assertProblem(answer, 504, "vm_timeout")
    assert.equal(problem.fileState, "unchanged")
    assert.equal(readFileSync(file, "utf8"), "port: 1\n")

    const meanwhile = await send("PUT", url, { yaml: "port: 3\n" })
    assert.equal(assertProblem(meanwhile, 409, "operation_in_doubt").operationId, problem.operationId)
    network.release()
    const operation = await ended(send, problem.operationId)
    assert.deepEqual([operation.state, operation.fileState], ["failed", "unchanged"])
    assert.deepEqual([readFileSync(file, "utf8"), leftovers(file)], ["port: 1\n", []])
    assert.equal((await send("PUT", url, { yaml: "port: 3\n" })).status, 200)
  })

  test("right at the swap: 504 outcome_unknown in time, 409 meanwhile, and the truth once it answers", async () => {
    const { network, url, file, directory } = await connected("vm03")
    const kept = (await send("POST", "/backups", { json: { vmId: "vm03", type: "central" } })).body
    const swapped = whenAppears(directory, ".old", () => network.hold())
    const begin = performance.now()
    const [answer] = await Promise.all([send("PUT", url, { yaml: "port: 7\n" }), swapped])
    assertInTime(begin)
    const problem = assertProblem(answer, 504, "outcome_unknown")
    assert.equal(problem.fileState, "unknown")
    const open = (await send("GET", `/operations/${String(problem.operationId)}`)).body
    assert.deepEqual([open.state, open.fileState, open.finishedAt], ["in_doubt", "unknown", null])
    const refusals = await Promise.all([
      send("PUT", url, { yaml: "port: 8\n" }),
      send("PUT", `${url}?dryRun=true`, { yaml: "port: 8\n" }),
      send("POST", `/backups/${String(kept.backupId)}/restore`),
      send("POST", "/backups", { json: { vmId: "vm03", type: "central" } }),
    ])
    for (const refusal of refusals) {
      assert.equal(assertProblem(refusal, 409, "operation_in_doubt").operationId, problem.operationId)
    }

    network.release()
    const operation = await ended(send, problem.operationId)
    assert.deepEqual([operation.state, operation.fileState], ["succeeded", "written"])
    assert.deepEqual([readFileSync(file, "utf8"), leftovers(file)], ["port: 7\n", []])
    const [newest] = itemsOf(await send("GET", "/backups?vmId=vm03&limit=1"))
    assert.deepEqual([newest?.backupId, newest?.digest], [operation.versionId, digestOf("port: 7\n")])
    assert.equal((await send("PUT", url, { yaml: "port: 8\n" })).status, 200)
  })

  test("while it is read: answered in time too, and the next reader is served", async () => {
    const { network, url } = await connected("vm04")
    network.hold("down")
    const begin = performance.now()
    const answer = await send("GET", url)
    assertInTime(begin)
    assertProblem(answer, 504, "vm_timeout")
    network.release()
    assert.equal((await readWhenAdmitted(url)).status, 200)
  })

  /** A VM that could not be reached is given a pause; the answer tells how long. */
  async function readWhenAdmitted(url: string): Promise<Answer> {
    const answer = await send("GET", url)
    if (answer.status !== 503) return answer
    await delay(Number(answer.headers.get("retry-after")) * 1000)
    return send("GET", url)
  }
})

/** API 1: within twice `default_timeout`; a quarter more is for the machine. */
function assertInTime(begin: number): void {
  const took = performance.now() - begin
  assert.ok(took < timeoutSeconds * 2.25 * 1000, `${took} ms`)
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex")
}
