import assert from "node:assert/strict"
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { clientOf, type Json } from "../e2e/client.ts"
import { eventually, makeWorld, moveBehind, vmIds, type World } from "../e2e/world.ts"
import { startProxy } from "../support/proxy.ts"
import { makeHome } from "../support/service.ts"
import { type Sshd, startSshd } from "../support/sshd.ts"
import { auditHome, journalsClosed } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { checkFiles, startLoad } from "./load.ts"

faultRun(
  { id: "R16", name: "the host key changes, between connects and in the pool", ci: 10, nightly: 40 },
  async (run) => {
    const world = await makeWorld()
    const impostor = await startSshd()
    const network = await startProxy(world.sshd)
    const url = "/vms/vm04/configs/central"
    try {
      writeFileSync(world.file("vm04"), "port: 0\n")
      await moveBehind(network, "vm04", world)
      await run.rounds(async ({ index }) => {
        assert.equal((await world.send("GET", url)).status, 200)
        network.moveTo(impostor)
        // The connection in the pool is still the right one; only when it is gone the impostor is met.
        if (index % 2 === 0) assert.equal((await world.send("GET", url)).status, 200)
        network.reset()
        for (const method of ["GET", "PUT"]) {
          const answer = await world.send(method, url, method === "PUT" ? { yaml: `port: ${index + 1}\n` } : {})
          const isTold = answer.status === 502 && answer.body.code === "host_key_mismatch"
          if (!isTold) run.found("wrong outcomes", `${method}: ${answer.text}`)
        }
        const attempts = impostor.log().match(/(Accepted|Failed|Postponed|Invalid user|userauth).*/g) ?? []
        if (attempts.length > 0) run.found("wrong outcomes", `the impostor's log: ${attempts[0]}`)
        network.moveTo(world.sshd)
      })
      const met = impostor.log().match(/Connection from/g)?.length ?? 0
      run.note(`the impostor was met ${met} times`)
      assert.ok(met >= run.size, "the impostor was not met")
      assert.equal(readFileSync(world.file("vm04"), "utf8"), "port: 0\n")
    } finally {
      await world.close()
      await Promise.all([impostor.stop(), network.close()])
    }
  },
)

const manyVms = 40
const atOnceAtMost = 4

faultRun({ id: "R20", name: "MaxStartups 2:100:2, MaxSessions 1", ci: 200, nightly: 1000 }, async (run) => {
  const strict = ["MaxStartups 2:100:2", "MaxSessions 1"]
  const { dropped } = await pushAtOnce(run, strict, Math.ceil(run.size / manyVms))
  assert.ok(dropped > 0, "sshd dropped nothing: it was not put to the test")
  // Those that it drops never begin; how many we begin is seen where it drops none.
  const { most } = await pushAtOnce(run, ["MaxStartups 100"], 1)
  run.note(`${dropped} connections were dropped by sshd; where it drops none, ${most} handshakes at once at most`)
  if (most > atOnceAtMost) run.found("wrong outcomes", `${most} handshakes at once`)
})

/** Pushes to many VMs at one address, all of them at once. */
async function pushAtOnce(
  run: FaultRun,
  config: readonly string[],
  turns: number,
): Promise<ReturnType<typeof handshakesOf>> {
  const sshd = await startSshd({ config })
  const ids = Array.from({ length: manyVms }, (_, index) => `vm${index + 10}`)
  for (const vmId of ids) {
    mkdirSync(join(sshd.root, vmId))
    writeFileSync(join(sshd.root, vmId, "central.yml"), "port: 0\n", { mode: 0o640 })
  }
  const home = await makeHome({ settings: settingsFor(sshd, ids) })
  const service = await home.start()
  const send = clientOf(() => service.url)
  try {
    const work = async (vmId: string): Promise<void> => {
      for (let turn = 1; turn <= turns; turn++) {
        const answer = await send("PUT", `/vms/${vmId}/configs/central`, { yaml: `port: ${turn}\n` })
        run.count("runs")
        if (answer.status !== 200) run.found("wrong outcomes", `${vmId}: ${answer.text}`)
      }
    }
    await Promise.all(ids.map(work))
    assert.equal(await service.stop(), 0)
    const files = Object.fromEntries(ids.map((vmId) => [join(sshd.root, vmId, "central.yml"), [`port: ${turns}\n`]]))
    auditHome(run, home, { files, log: service.lines })
    return handshakesOf(sshd.log())
  } finally {
    await service.kill()
    await home.remove()
    await sshd.stop()
  }
}

function settingsFor({ host, port, user, root, clientKeyPath, knownHostsPath }: Sshd, ids: readonly string[]): Json {
  return {
    vms: Object.fromEntries(ids.map((vmId) => [vmId, { name: vmId, ip: host, ssh_port: port, ssh_user: user }])),
    remote_execution: { default_timeout: 20, connection_pool_size: 64 },
    config_management: {
      config_paths: { central: { default: join(root, "{vmId}", "central.yml") } },
      config_types: { central: { schema: "none" } },
    },
    ssh: { known_hosts_path: knownHostsPath, private_key_path: clientKeyPath, connect_timeout: 20 },
    limits: { requests_per_minute: 0 },
  }
}

/** Handshakes under way at the same time, told by the order of sshd's log: it is written as things happen. */
function handshakesOf(log: string): { readonly most: number; readonly dropped: number } {
  const open = new Set<string>()
  let most = 0
  for (const line of log.split("\n")) {
    const port = /port (\d+)/.exec(line)?.[1] ?? ""
    if (line.startsWith("Connection from")) open.add(port)
    else if (/^(Accepted|Connection (closed|reset)|Disconnected)/.test(line)) open.delete(port)
    most = Math.max(most, open.size)
  }
  return { most, dropped: log.match(/drop connection/g)?.length ?? 0 }
}

const backWithinMs = 5_000

faultRun({ id: "R21", name: "sshd is killed and started again under load", ci: 5, nightly: 20 }, async (run) => {
  const world = await makeWorld({
    settings: () => ({ remote_execution: { default_timeout: 2, connection_pool_size: 32 } }),
  })
  const slowest: number[] = []
  try {
    const vms = vmIds.map((vmId) => ({ vmId, url: `/vms/${vmId}/configs/central`, file: world.file(vmId) }))
    for (const { file } of vms) writeFileSync(file, "port: 0\n", { mode: 0o640 })
    await run.rounds(async ({ random }) => {
      const load = startLoad(world.send, vms, 8)
      await pause(200 + random.int(400))
      // Long enough for it to count as unreachable, and for some not even to ask.
      await world.sshd.restart(500 + random.int(1500))
      const begin = performance.now()
      await Promise.all(vms.map(({ vmId }) => answersAgain(world, vmId)))
      slowest.push(performance.now() - begin)
      load.stop()
      await load.over
      await journalsClosed(world.home.state, true)
      checkFiles(run, load)
    })
    const longest = Math.round(Math.max(...slowest))
    run.note(`all VMs were back within ${longest} ms`)
    if (longest > backWithinMs) run.found("hangs", `a VM was back after ${longest} ms`)
    const files = Object.fromEntries(vms.map(({ file }) => [file, [readFileSync(file)]]))
    assert.equal(await world.service().stop(), 0)
    auditHome(run, world.home, { files, mayTidy: true, log: world.service().lines })
  } finally {
    await world.close()
  }
})

async function answersAgain({ send }: World, vmId: string): Promise<void> {
  await eventually(
    () => send("GET", `/vms/${vmId}/configs/central`),
    ({ status }) => status === 200,
  )
}
