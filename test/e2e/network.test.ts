import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { appendFileSync, chmodSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { chmod, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import { type Direction, type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Answer, assertProblem, itemsOf, type Json, type Send } from "./client.ts"
import { ended, leftovers, makeWorld, moveBehind, standing, type World, whenAppears } from "./world.ts"

const url = "/vms/vm04/configs/central"

let world: World
let send: Send
let network: FaultyNetwork
/** Bytes take 20 ms, so that what is seen on the VM's disk is seen before the answer is. */
let slow: FaultyNetwork
let file: string

before(async () => {
  world = await makeWorld({
    settings: ({ knownHostsPath, clientKeyPath }) => ({
      ssh: { known_hosts_path: knownHostsPath, private_key_path: clientKeyPath, connect_timeout: 1 },
    }),
  })
  send = world.send
  network = await startProxy(world.sshd)
  slow = await startProxy(world.sshd, { delayMs: 20 })
  await moveBehind(network, "vm04", world)
  await moveBehind(slow, "vm01", world)
  file = world.file("vm04")
  await writeFile(file, "port: 0\n")
  await chmod(file, 0o640)
  await send("PUT", url, { yaml: "port: 1\n" })
})
after(async () => {
  await world.close()
  await Promise.all([network.close(), slow.close()])
})

suite("A connection that is cut during a push", () => {
  // A warm push sends some 3400 bytes and receives some 1500: the cuts fall before, into and after each of its steps.
  const cuts: readonly (readonly [direction: Direction, offsets: readonly number[]])[] = [
    ["up", every(210, 3600)],
    ["down", every(180, 1500)],
  ]
  let port = 1000

  for (const [direction, offsets] of cuts) {
    test(`never leaves a wrong outcome: ${offsets.length} places, ${direction}`, async () => {
      const outcomes: string[] = []
      for (const offset of offsets) outcomes.push(await cutAt(direction, offset))
      // Some were cut before the rename and some after it, or the places say nothing.
      assert.ok(outcomes.includes("failed unchanged"), outcomes.join(", "))
      if (direction === "up") assert.ok(outcomes.includes("succeeded written"), outcomes.join(", "))
    })
  }

  async function cutAt(direction: Direction, offset: number): Promise<string> {
    port += 1
    assert.equal((await send("GET", url)).status, 200)
    const before = readFileSync(file, "utf8")
    const begin = direction === "up" ? network.bytesUp : network.bytesDown
    network.onBytes(direction, begin + offset, "reset")
    const answer = await send("PUT", url, { yaml: `port: ${port}\n` })
    const operation = await operationOf(answer)
    const now = readFileSync(file, "utf8")

    const applied = operation.state === "succeeded"
    const context = `${direction} ${offset}: ${answer.text}`
    assert.equal(now, applied ? `port: ${port}\n` : before, context)
    assert.equal(operation.fileState, applied ? "written" : "unchanged", context)
    if (answer.status === 200) assert.ok(applied, context)
    else assert.ok(["unchanged", "unknown"].includes(String(answer.body.fileState)), context)
    if (answer.body.fileState === "unchanged") assert.equal(now, before, context)
    assert.deepEqual([standing(file).mode, leftovers(file)], [0o640, []], context)
    const [newest] = itemsOf(await send("GET", "/backups?vmId=vm04&limit=1"))
    assert.equal(newest?.digest, digestOf(now), context)
    return `${String(operation.state)} ${String(operation.fileState)}`
  }
})

suite("A file that somebody else changes during a push", () => {
  const strangers: readonly (readonly [what: string, change: (path: string) => void])[] = [
    ["is edited in place", (path) => appendFileSync(path, "# by hand\n")],
    [
      "is replaced by an editor",
      (path) => {
        writeFileSync(`${path}.editor`, "port: 9 # by hand\n")
        renameSync(`${path}.editor`, path)
      },
    ],
    ["is given another mode", (path) => chmodSync(path, 0o600)],
    ["is removed", (path) => rmSync(path)],
  ]
  for (const [what, change] of strangers) {
    test(`${what}: 409 concurrent_modification, and what they did stays`, async () => {
      const target = world.file("vm01")
      await writeFile(target, "port: 1\n", { mode: 0o640 })
      await chmod(target, 0o640)
      const edited = whenAppears(world.directory("vm01"), ".new", () => change(target))
      const [answer] = await Promise.all([send("PUT", "/vms/vm01/configs/central", { yaml: "port: 2\n" }), edited])
      const problem = assertProblem(answer, 409, "concurrent_modification")
      assert.equal(problem.fileState, "unchanged")

      const expected = join(world.directory("vm02"), "central.yml")
      await writeFile(expected, "port: 1\n")
      await chmod(expected, 0o640)
      change(expected)
      assert.deepEqual(existsSync(target) && standing(target), existsSync(expected) && standing(expected))
      assert.deepEqual(leftovers(target), [])
      const operation = (await send("GET", `/operations/${String(problem.operationId)}`)).body
      assert.deepEqual([operation.state, operation.fileState, operation.versionId], ["failed", "unchanged", null])
    })
  }

  test("appears where none was: 409, and theirs stays", async () => {
    const target = world.file("vm01", "env")
    const made = whenAppears(world.directory("vm01"), ".new", () => writeFileSync(target, "THEIRS=1\n"))
    const [answer] = await Promise.all([send("PUT", "/vms/vm01/configs/env", { text: "OURS=1\n" }), made])
    assertProblem(answer, 409, "concurrent_modification")
    assert.equal(readFileSync(target, "utf8"), "THEIRS=1\n")
    assert.deepEqual(leftovers(target), [])
  })
})

suite("A caller that hangs up", () => {
  test("before the swap: the change is given up, and nothing of it is left", async () => {
    const { operation, live } = await hangUpAt(".new")
    assert.deepEqual([operation.state, operation.fileState], ["failed", "unchanged"])
    assert.equal((operation.problem as Json).code, "request_timeout")
    assert.equal(live, "port: 1\n")
  })

  test("after the swap was sent: the change is finished all the same", async () => {
    const { operation, live } = await hangUpAt(".old")
    assert.deepEqual([operation.state, operation.fileState], ["succeeded", "written"])
    assert.equal(live, "port: 2\n")
  })

  async function hangUpAt(suffix: string): Promise<{ readonly operation: Json; readonly live: string }> {
    const target = world.file("vm01")
    await writeFile(target, "port: 1\n")
    const caller = new AbortController()
    const reached = whenAppears(world.directory("vm01"), suffix, () => caller.abort())
    const headers = { "content-type": "application/yaml" }
    const { url: address } = world.service()
    const put = { method: "PUT", body: "port: 2\n", headers, signal: caller.signal }
    await assert.rejects(fetch(`${address}/vms/vm01/configs/central`, put), { name: "AbortError" })
    await reached
    const newest = itemsOf(await send("GET", "/operations?vmId=vm01&limit=1"))[0] ?? {}
    const operation = newest.finishedAt === null ? await ended(send, newest.operationId) : newest
    assert.deepEqual(leftovers(target), [])
    return { operation, live: readFileSync(target, "utf8") }
  }
})

/** The operation of an answer, when it has ended. */
async function operationOf(answer: Answer): Promise<Json> {
  assert.match(String(answer.body.operationId), /^[0-9a-f-]{36}$/, answer.text)
  return ended(send, answer.body.operationId)
}

function every(step: number, end: number): readonly number[] {
  return Array.from({ length: Math.floor(end / step) }, (_, index) => (index + 1) * step)
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex")
}
