import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { connect } from "node:net"
import { after, before, suite, test } from "node:test"
import { setTimeout as delay } from "node:timers/promises"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { assertProblem, itemsOf, type Json, type Send } from "./client.ts"
import { ended, eventually, leftovers, makeWorld, moveBehind, type World, whenAppears } from "./world.ts"

let world: World
let send: Send
/** Bytes take 20 ms, so that what is seen on the VM's disk is seen before the answer is. */
let network: FaultyNetwork

before(async () => {
  world = await makeWorld({
    settings: ({ knownHostsPath, clientKeyPath }) => ({
      ssh: { known_hosts_path: knownHostsPath, private_key_path: clientKeyPath, connect_timeout: 1 },
    }),
  })
  send = world.send
  network = await startProxy(world.sshd, { delayMs: 20 })
  for (const vmId of ["vm01", "vm02", "vm03"]) await moveBehind(network, vmId, world)
})
after(async () => {
  await world.close()
  await network.close()
})

/** Starts a push and kills the service with SIGKILL once a file of this name stands on the VM, whose network is held from then on. */
async function killAt(suffix: ".new" | ".old", vmId: string, yaml: string): Promise<void> {
  const url = `/vms/${vmId}/configs/central`
  assert.equal((await send("GET", url)).status, 200)
  let killing = Promise.resolve()
  const reached = whenAppears(world.directory(vmId), suffix, () => {
    network.hold()
    killing = world.service().kill()
  })
  await assert.rejects(send("PUT", url, { yaml }))
  await reached
  await killing
}

async function newestOperation(vmId: string): Promise<Json> {
  const [operation] = itemsOf(await send("GET", `/operations?vmId=${vmId}&limit=1`))
  assert.ok(operation)
  return operation
}

suite("A service that is killed during a push and started again", () => {
  test("before the swap: the operation ends as failed, the old file stands, no staging file is left", async () => {
    const file = world.file("vm01")
    await writeFile(file, "port: 1\n")
    await killAt(".new", "vm01", "port: 2\n")
    assert.equal(leftovers(file).length, 1)

    await world.restart()
    const open = await newestOperation("vm01")
    assert.equal(open.finishedAt, null)
    const refused = await send("PUT", "/vms/vm01/configs/central", { yaml: "port: 3\n" })
    assert.equal(assertProblem(refused, 409, "operation_in_doubt").operationId, open.operationId)

    network.release()
    const operation = await ended(send, open.operationId)
    assert.deepEqual([operation.state, operation.fileState, operation.versionId], ["failed", "unchanged", null])
    assert.deepEqual([readFileSync(file, "utf8"), leftovers(file)], ["port: 1\n", []])
    for (const { trigger, digest } of itemsOf(await send("GET", "/backups?vmId=vm01"))) {
      assert.deepEqual([trigger, digest], ["found", digestOf("port: 1\n")])
    }
    const again = await send("PUT", "/vms/vm01/configs/central", { yaml: "port: 3\n" })
    assert.equal(again.status, 200, again.text)
  })

  test("after the swap: the operation ends as succeeded, its version shows, the second name is gone", async () => {
    const file = world.file("vm02")
    await writeFile(file, "port: 1\n")
    await killAt(".old", "vm02", "port: 2\n")
    assert.equal(readFileSync(file, "utf8"), "port: 2\n")

    await world.restart()
    const open = await newestOperation("vm02")
    assert.deepEqual([open.state, open.fileState, open.finishedAt], ["in_doubt", "unknown", null])
    assert.ok(itemsOf(await send("GET", "/backups?vmId=vm02")).every(({ trigger }) => trigger === "found"))

    network.release()
    const operation = await ended(send, open.operationId)
    assert.deepEqual([operation.state, operation.fileState], ["succeeded", "written"])
    assert.deepEqual([readFileSync(file, "utf8"), leftovers(file)], ["port: 2\n", []])
    const versions = itemsOf(await send("GET", "/backups?vmId=vm02"))
    assert.deepEqual(
      versions.map(({ digest }) => digest),
      [digestOf("port: 2\n"), digestOf("port: 1\n")],
    )
    assert.equal(versions[0]?.backupId, operation.versionId)
    const restored = await send("POST", `/backups/${String(versions[1]?.backupId)}/restore`)
    assert.equal(restored.status, 200, restored.text)
    assert.equal(readFileSync(file, "utf8"), "port: 1\n")
  })

  test("and the VM leaves the settings before: the operation ends as failed, with what is known", async () => {
    const file = world.file("vm03")
    await writeFile(file, "port: 1\n")
    await killAt(".old", "vm03", "port: 2\n")
    await world.rewrite((settings) => {
      const { vm03: _gone, ...vms } = settings.vms as Readonly<Record<string, Json>>
      return { ...settings, vms }
    })
    await world.restart()
    network.release()
    const { operationId } = await newestOperation("vm03")
    const operation = await ended(send, operationId)
    assert.deepEqual([operation.state, operation.fileState], ["failed", "unknown"])
    assertProblem(await send("GET", "/vms/vm03"), 404, "vm_not_found")
    // Its history stays.
    assert.notEqual(itemsOf(await send("GET", "/backups?vmId=vm03")).length, 0)
  })
})

suite("SIGTERM", () => {
  test("during a push: it is finished and answered, newcomers are refused, exit code 0", async () => {
    const file = world.file("vm01")
    assert.equal((await send("GET", "/vms/vm01/configs/central")).status, 200)
    const service = world.service()
    let stopping: Promise<number | null> = Promise.resolve(null)
    const staged = whenAppears(world.directory("vm01"), ".new", () => {
      network.hold("down")
      stopping = service.stop()
    })
    const push = send("PUT", "/vms/vm01/configs/central", { yaml: "port: 99\n" })
    await staged
    await service.logged(({ msg }) => String(msg).startsWith("SIGTERM"))
    const late = await eventually(
      () => send("GET", "/vms").catch(() => null),
      (answer) => answer === null || answer.status === 503,
    )
    if (late) assertProblem(late, 503, "shutting_down")
    network.release()

    const answer = await push
    assert.deepEqual([answer.status, answer.body.outcome], [200, "written"], answer.text)
    assert.equal(await stopping, 0)
    assert.deepEqual([readFileSync(file, "utf8"), leftovers(file)], ["port: 99\n", []])
    await world.restart()
    assert.equal((await newestOperation("vm01")).state, "succeeded")
  })

  test("during a push whose caller has left: it is finished all the same, and nothing is left in doubt", async () => {
    await writeFile(world.file("vm01"), "port: 97\n")
    assert.equal((await send("GET", "/vms/vm01/configs/central")).status, 200)
    const service = world.service()
    const leaving = new AbortController()
    // From the second name on nobody can cancel it.
    const swapping = whenAppears(world.directory("vm01"), ".old", () => {
      network.hold("down")
      leaving.abort()
    })
    const url = `${service.url}/vms/vm01/configs/central`
    const headers = { "content-type": "application/yaml" }
    const push = fetch(url, { method: "PUT", headers, body: "port: 98\n", signal: leaving.signal })
    await Promise.all([swapping, assert.rejects(push, { name: "AbortError" })])
    const stopping = service.stop()
    await service.logged(({ msg }) => String(msg).startsWith("SIGTERM"))
    // Who does not wait for it has ended by then.
    await Promise.race([stopping, delay(300)])
    network.release()

    assert.equal(await stopping, 0)
    assert.ok(service.lines.every(({ msg }) => msg !== "the outcome of an operation is still open"))
    await world.restart()
    assert.deepEqual([(await newestOperation("vm01")).state, leftovers(world.file("vm01"))], ["succeeded", []])
  })

  for (const [what, said] of [
    ["says nothing", ""],
    ["never ends his request", "PUT /vms/vm01/configs/central HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nport"],
  ] as const) {
    test(`while somebody is connected who ${what}: exit code 0 all the same`, async () => {
      const { hostname, port } = new URL(world.service().url)
      const socket = connect(Number(port), hostname)
      socket.on("error", () => {})
      await once(socket, "connect")
      if (said !== "") await new Promise((resolve) => socket.write(said, resolve))
      // Taken in after it, so the service knows the one before.
      assert.equal((await send("GET", "/healthz")).status, 200)
      assert.equal(await world.service().stop(), 0)
      socket.destroy()
      await world.restart()
    })
  }

  test("while nothing is under way: exit code 0 at once", async () => {
    const begin = performance.now()
    assert.equal(await world.service().stop(), 0)
    assert.ok(performance.now() - begin < 5000)
    await world.restart()
  })
})

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex")
}
