import assert from "node:assert/strict"
import { setTimeout as pause } from "node:timers/promises"
import type { Send } from "../e2e/client.ts"
import type { FaultyNetwork } from "../support/proxy.ts"
import { type FaultyVm, type Fleet, finish, makeFleet } from "./fleet.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { awaitTidy, tryPush, warmUp } from "./outcome.ts"

const timeoutMs = 2000
/** Segments of a warm push after which the network may change. */
const segments = 9
/** 250 ms each way; ten round trips of it are more than a push may take. */
const delayMs = 250
const farVms = 2

interface Kind {
  readonly name: string
  readonly spoil: (network: FaultyNetwork) => void
  /** Whether the push can be done in time all the same. */
  readonly passes: boolean
  /** On a VM that is far away; the network itself does nothing. */
  readonly isFar?: true
}

const kinds: readonly Kind[] = [
  { name: "half-open", spoil: (network) => network.holdOpen(), passes: false },
  { name: "black hole", spoil: (network) => network.blackhole(), passes: false },
  { name: "1 byte/s", spoil: (network) => network.throttle(1), passes: false },
  { name: "500 ms latency", spoil: () => {}, passes: false, isFar: true },
  { name: "1-byte slices", spoil: (network) => network.slice(), passes: true },
]

faultRun({ id: "R14", name: "half-open, black hole, slow networks", ci: 15, nightly: 30 }, async (run) => {
  const fleet = await makeFleet({ vms: 6, timeoutSeconds: timeoutMs / 1000, delaysMs: [delayMs, delayMs] })
  try {
    const neighbour = fleet.vms.at(-1)
    assert.ok(neighbour)
    const work = async (vm: FaultyVm, index: number): Promise<void> => {
      const queue = index < farVms ? far : near
      for (let kind = queue.shift(); kind; kind = queue.shift()) await spoil(run, fleet, vm, kind)
    }
    const rounds = Array.from({ length: run.size }, (_, index) => kinds[index % kinds.length] ?? assert.fail())
    const near = rounds.filter(({ isFar }) => !isFar)
    const far = rounds.filter(({ isFar }) => isFar)
    // A service that has just been started is slower than it will be.
    await watch(fleet.send, neighbour, () => pause(1000))
    const idle = await watch(fleet.send, neighbour, () => pause(timeoutMs))
    const slowest = await watch(fleet.send, neighbour, () => Promise.all(fleet.vms.slice(0, -1).map(work)))
    const [before, during] = [percentile99(idle), percentile99(slowest)]
    run.note(`p99 of another VM ${before.toFixed(1)} ms idle, ${during.toFixed(1)} ms during the faults`)
    // What a garbage collection takes is no neighbour's fault.
    if (during > Math.max(2 * before, 25))
      run.found("wrong outcomes", `another VM's p99 rose from ${before} to ${during} ms`)
    await finish(run, fleet)
  } finally {
    await fleet.close()
  }
})

let port = 30_000

async function spoil(run: FaultRun, fleet: Fleet, vm: FaultyVm, { name, spoil: begin, passes }: Kind): Promise<void> {
  const { send } = fleet
  const { vmId, file, network } = vm
  const before = await warmUp(send, vmId)
  const at = run.random.int(segments)
  if (at === 0) begin(network)
  else network.onChunks("up", at, () => begin(network))
  const fault = `${name} after segment ${at}`
  const next = `port: ${++port}\n`
  const limitMs = 1.1 * timeoutMs
  run.count("runs")
  const { answer, tookMs } = await tryPush(run, {
    send,
    vmId,
    file,
    before,
    next,
    fault,
    limitMs,
    whenAnswered: () => network.release(),
  })
  if (passes ? answer.status !== 200 : answer.status !== 504) {
    run.found("wrong outcomes", `${fault}: answered ${answer.status} ${answer.text}`)
  }
  if (!passes && tookMs < 0.9 * timeoutMs) run.found("wrong outcomes", `${fault}: given up after ${tookMs} ms`)
  await awaitTidy(run, file, fault)
}

/** ms that reads of a VM take, one after the other, while `work` goes on. */
async function watch(send: Send, { url }: FaultyVm, work: () => Promise<unknown>): Promise<readonly number[]> {
  const times: number[] = []
  let isOver = false
  const working = work().finally(() => {
    isOver = true
  })
  while (!isOver) {
    const begin = performance.now()
    const { status } = await send("GET", url)
    assert.equal(status, 200)
    times.push(performance.now() - begin)
    await pause(2)
  }
  await working
  return times
}

function percentile99(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length * 0.99)] ?? 0
}
