import assert from "node:assert/strict"
import { type FaultyVm, type Fleet, finish, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { awaitTidy, tryPush, warmUp } from "./outcome.ts"
import type { Fate } from "./sftp-faults.ts"

const fates: readonly (readonly [name: string, fate: Fate])[] = [
  ["request lost", { how: "drop", acted: false }],
  ["answer lost", { how: "drop", acted: true }],
  ["reset before it is done", { how: "reset", acted: false }],
  ["reset after it is done", { how: "reset", acted: true }],
  ["FIN before it is done", { how: "fin", acted: false }],
  ["FIN after it is done", { how: "fin", acted: true }],
  ["freeze before it is done", { how: "freeze", acted: false }],
  ["freeze after it is done", { how: "freeze", acted: true }],
  ["refused", { how: "refuse", status: 4 }],
]
const vmCount = 8

faultRun({ id: "R12", name: "SFTP: fault at every message of a push", ci: 132, nightly: 400 }, async (run) => {
  const fleet = await makeFleet({ vms: vmCount })
  try {
    const [first] = fleet.vms
    assert.ok(first)
    const length = await countMessages(fleet, first)
    const cases = Array.from({ length }, (_, index) => fates.map((fate) => ({ at: index + 1, fate }))).flat()
    run.note(`${length} messages of a push, each ${fates.length} ways`)
    const rounds = Math.ceil(run.size / cases.length)
    const queue = Array.from({ length: rounds }, () => cases).flat()
    const outcomes = new Map<string, number>()
    const work = async (vm: FaultyVm): Promise<void> => {
      for (let next = queue.shift(); next; next = queue.shift()) {
        const end = await fail(run, fleet, vm, next)
        outcomes.set(end, (outcomes.get(end) ?? 0) + 1)
      }
    }
    await Promise.all(fleet.vms.map(work))
    run.note([...outcomes].map(([end, count]) => `${count} ${end}`).join(", "))
    assert.ok(outcomes.size > 1, "every fault had the same outcome: they were not met")
    await finish(run, fleet)
    await finish(run, fleet)
  } finally {
    await fleet.close()
  }
})

let port = 0

async function countMessages({ send }: Fleet, vm: FaultyVm): Promise<number> {
  await send("PUT", vm.url, { yaml: "port: 1\n" })
  const before = vm.faults.messages.length
  const answer = await send("PUT", vm.url, { yaml: "port: 0\n" })
  assert.equal(answer.status, 200, answer.text)
  return vm.faults.messages.length - before
}

async function fail(
  run: FaultRun,
  fleet: Fleet,
  vm: FaultyVm,
  plan: { at: number; fate: (typeof fates)[number] },
): Promise<string> {
  const { send, timeoutMs } = fleet
  const { vmId, file, faults } = vm
  const [name, fate] = plan.fate
  const before = await warmUp(send, vmId)
  faults.at(plan.at, fate)
  const fault = `${name} at message ${plan.at}`
  const next = `port: ${++port}\n`
  const limitMs = 2 * timeoutMs + 1500
  run.count("runs")
  const { end, answer } = await tryPush(run, { send, vmId, file, before, next, fault, limitMs })
  faults.clear()
  await awaitTidy(run, file, fault)
  return `${answer.status} ${end}`
}
