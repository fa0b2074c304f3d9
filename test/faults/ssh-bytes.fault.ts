import assert from "node:assert/strict"
import type { Direction } from "../support/proxy.ts"
import { type FaultyVm, type Fleet, finish, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { awaitTidy, tryPush, warmUp } from "./outcome.ts"

const ways = ["reset", "fin"] as const

faultRun({ id: "R13", name: "TCP cut after every k-th byte, both directions", ci: 60, nightly: 200 }, async (run) => {
  const fleet = await makeFleet({ vms: 4 })
  try {
    const [first] = fleet.vms
    assert.ok(first)
    const lengths = await measure(fleet, first)
    run.note(`${lengths.up} bytes up and ${lengths.down} down in a push`)
    const queue = Array.from({ length: run.size }, (_, index) => placeOf(index, run.size, lengths))
    const outcomes = new Map<string, number>()
    const work = async (vm: FaultyVm): Promise<void> => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const end = await cutAt(run, fleet, vm, next)
        outcomes.set(end, (outcomes.get(end) ?? 0) + 1)
      }
    }
    await Promise.all(fleet.vms.map(work))
    run.note([...outcomes].map(([end, count]) => `${count} ${end}`).join(", "))
    assert.ok(outcomes.size > 1, "every cut had the same outcome: none was met")
    await finish(run, fleet)
  } finally {
    await fleet.close()
  }
})

interface Place {
  readonly direction: Direction
  readonly offset: number
  readonly way: (typeof ways)[number]
}

type Lengths = Readonly<Record<Direction, number>>

/** Half of the cuts go up and half down, spread over the whole push; every second is a FIN. */
function placeOf(index: number, size: number, lengths: Lengths): Place {
  const direction = index % 2 === 0 ? "up" : "down"
  const step = lengths[direction] / Math.ceil(size / 2)
  const offset = Math.round((Math.floor(index / 2) + 0.5) * step)
  return { direction, offset, way: ways[Math.floor(index / 2) % 2] ?? "reset" }
}

async function measure({ send }: Fleet, { url, network }: FaultyVm): Promise<Lengths> {
  await send("PUT", url, { yaml: "port: 1\n" })
  const before = { up: network.bytesUp, down: network.bytesDown }
  assert.equal((await send("PUT", url, { yaml: "port: 2\n" })).status, 200)
  return { up: network.bytesUp - before.up, down: network.bytesDown - before.down }
}

let port = 10_000

async function cutAt(run: FaultRun, fleet: Fleet, vm: FaultyVm, place: Place): Promise<string> {
  const { send, timeoutMs } = fleet
  const { vmId, file, network } = vm
  const before = await warmUp(send, vmId)
  const { direction, offset, way } = place
  network.onBytes(direction, offset + (direction === "up" ? network.bytesUp : network.bytesDown), way)
  const fault = `${way} after ${offset} bytes ${direction}`
  const next = `port: ${++port}\n`
  run.count("runs")
  const { end, answer } = await tryPush(run, { send, vmId, file, before, next, fault, limitMs: 2 * timeoutMs + 1500 })
  await awaitTidy(run, file, fault)
  return `${answer.status} ${end}`
}
