import assert from "node:assert/strict"
import { readFileSync, writeFileSync } from "node:fs"
import { setTimeout as pause } from "node:timers/promises"
import type { Json } from "../e2e/client.ts"
import { leftovers, makeWorld, vmIds, type World } from "../e2e/world.ts"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { auditHome, entry, journalsClosed } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { tryPush, warmUp } from "./outcome.ts"

const timeoutMs = 800
/** Segments in which a warm push is sent, and one more: in that round nothing is held. */
const segments = 10
const lastLookMs = 1000
const looks = ["--late-looks", `200,${lastLookMs}`]

faultRun({ id: "R15", name: "segments delivered after we decided", ci: 20, nightly: 100 }, async (run) => {
  const world = await makeWorld({ settings })
  const networks = new Map<string, FaultyNetwork>()
  try {
    for (const vmId of vmIds) {
      networks.set(vmId, await startProxy(world.sshd))
      writeFileSync(world.file(vmId), "port: 0\n", { mode: 0o640 })
    }
    await world.service().stop()
    await world.rewrite((before) => behind(networks, world.sshd, before))
    await world.restart(looks, entry)
    // Half of them are held about the swap, and delivered at once; the rest arrives before and between the late looks.
    const queue = Array.from({ length: run.size }, (_, index) => {
      const isSwap = index % 2 === 0
      return {
        at: isSwap ? 5 + run.random.int(4) : 1 + run.random.int(segments),
        heldMs: isSwap ? 0 : run.random.int(lastLookMs - 200),
      }
    })
    const told = { delivered: 0, port: 20_000 }
    const work = async ([vmId, network]: [string, FaultyNetwork]): Promise<void> => {
      await world.send("POST", "/backups", { json: { vmId, type: "central" } })
      for (let next = queue.shift(); next; next = queue.shift()) {
        await holdOne(run, { world, vmId, network, told, ...next })
      }
    }
    await Promise.all([...networks].map(work))
    run.note(`${told.delivered} bytes were delivered after the end`)
    assert.ok(told.delivered > 0, "nothing that was held was delivered later")
    await journalsClosed(world.home.state)
    assert.equal(await world.service().stop(), 0)
    const files = Object.fromEntries(vmIds.map((vmId) => [world.file(vmId), [readFileSync(world.file(vmId))]]))
    auditHome(run, world.home, { files, log: world.service().lines })
  } finally {
    await world.close()
    await Promise.all([...networks.values()].map((network) => network.close()))
  }
})

/** The settings with each VM behind its network; their host key is pinned. */
function behind(networks: ReadonlyMap<string, FaultyNetwork>, { fingerprint }: World["sshd"], before: Json): Json {
  const vms = Object.entries(before.vms as Readonly<Record<string, Json>>).map(([vmId, vm]) => {
    const network = networks.get(vmId)
    return [vmId, { ...vm, ip: network?.host, ssh_port: network?.port, host_key: fingerprint }]
  })
  return { ...before, vms: Object.fromEntries(vms) }
}

function settings({ knownHostsPath, clientKeyPath }: World["sshd"]) {
  return {
    remote_execution: { default_timeout: timeoutMs / 1000, default_retry: 3, connection_pool_size: 32 },
    ssh: { known_hosts_path: knownHostsPath, private_key_path: clientKeyPath, connect_timeout: 2 },
  }
}

interface Round {
  readonly world: World
  readonly vmId: string
  readonly network: FaultyNetwork
  /** Of the segments of the push, this one is the last that gets through in time. */
  readonly at: number
  /** How long after the end the rest is delivered. */
  readonly heldMs: number
  readonly told: { delivered: number; port: number }
}

/** Whatever arrives after the operation has ended must change nothing any more, and leave nothing. */
async function holdOne(run: FaultRun, { world, vmId, network, at, heldMs, told }: Round): Promise<void> {
  const { send } = world
  const file = world.file(vmId)
  const before = await warmUp(send, vmId)
  network.onChunks("up", at, () => network.holdOpen("up"))
  const fault = `held after segment ${at}`
  const next = `port: ${++told.port}\n`
  run.count("runs")
  await tryPush(run, { send, vmId, file, before, next, fault, limitMs: 2 * timeoutMs + 1500 })
  const decided = readFileSync(file, "utf8")
  const bytes = network.bytesUp
  await pause(heldMs)
  network.release()
  told.delivered += network.bytesUp - bytes
  await pause(lastLookMs + 300 - heldMs)
  const left = leftovers(file)
  if (left.length > 0) run.found("wrong outcomes", `${fault}: ${left.join(", ")} is left over`)
  const now = readFileSync(file, "utf8")
  if (now !== decided)
    run.found("wrong outcomes", `${fault}: the file changed after the end, from ${decided} to ${now}`)
}
