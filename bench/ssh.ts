import { startProxy } from "../test/support/proxy.ts"
import { connectBare } from "./bare-ssh2.ts"
import { configText, type Fleet, startFleet } from "./fleet.ts"
import { Lane, openLanes, requestOf } from "./load.ts"
import { type Latency, latenciesOf, latencyOf, type Part, summary, throughputOf, usageOf } from "./measure.ts"
import { connectOpenssh } from "./openssh.ts"
import { measureValidation } from "./validation.ts"

const runs = 500
/** OpenSSH takes a hundred times as long. */
const few = 20
/** Each way; a round trip takes twice that. */
const shortDelayMs = 10
const longDelayMs = 60
/** The first read of a path asks what stands there before it opens it: one trip that later ones save. */
const firstReadTrips = 1

async function api(lane: Lane, vmId: string, text?: string): Promise<void> {
  const path = `/vms/${vmId}/configs/app`
  const body = text === undefined ? null : { mediaType: "application/yaml", text }
  const { status } = await lane.send(requestOf(body ? "PUT" : "GET", path, "application/yaml", body))
  if (status !== 200) throw new Error(`${vmId}: ${status}`)
}

async function warm(fleet: Fleet, lane: Lane) {
  const [vmId = ""] = fleet.vmIds
  const { sshd, path } = fleet.targetOf(vmId)
  const bare = await connectBare(sshd, "pipelined")
  const plain = await connectBare(sshd, "one by one")
  const openssh = await connectOpenssh(sshd)
  let counter = 0
  const next = (): string => {
    counter += 1
    return configText(counter)
  }
  const nextBytes = (): Buffer => Buffer.from(next())
  // A service has been running for longer than a benchmark.
  await latencyOf(runs, () => api(lane, vmId))
  await latencyOf(runs, () => api(lane, vmId, next()))
  await latencyOf(runs, () => bare.get(path))
  const get = await latenciesOf({
    ours: { runs, work: () => api(lane, vmId) },
    bare: { runs, work: () => bare.get(path) },
    plain: { runs, work: () => plain.get(path) },
    openssh: { runs: few, work: () => openssh.get(path) },
  })
  const put = await latenciesOf({
    ours: { runs, work: () => api(lane, vmId, next()) },
    bare: { runs, work: () => bare.put(path, nextBytes()) },
    plain: { runs, work: () => plain.put(path, nextBytes()) },
    openssh: { runs: few, work: () => openssh.put(path, nextBytes()) },
  })
  bare.close()
  plain.close()
  await openssh.close()
  return { get, put }
}

/** The first call to each VM entry: TCP, key exchange, authentication, SFTP, and the read. */
async function cold(fleet: Fleet, lane: Lane): Promise<{ readonly ours: Latency; readonly bare: Latency }> {
  const ours: number[] = []
  const bare: number[] = []
  for (const vmId of fleet.vmIds.slice(1)) {
    let begin = performance.now()
    await api(lane, vmId)
    ours.push(performance.now() - begin)
    begin = performance.now()
    const { sshd, path } = fleet.targetOf(vmId)
    const connection = await connectBare(sshd, "pipelined")
    await connection.get(path)
    bare.push(performance.now() - begin)
    connection.close()
  }
  return { ours: summary(ours), bare: summary(bare) }
}

async function throughput(fleet: Fleet) {
  const lanes = await openLanes(fleet.service.url, 16)
  const send = (lane: number, vm: number, text?: string): Promise<void> => {
    const own = lanes[lane]
    if (!own) throw new Error(`no lane ${lane}`)
    return api(own, vmOf(vm), text)
  }
  const vmOf = (lane: number): string => fleet.vmIds[lane] ?? ""
  const before = await usageOf(fleet.service.pid)
  const begin = performance.now()
  const gets = await throughputOf(runs * 4, lanes.length, (_, lane) => send(lane, lane))
  const puts = await throughputOf(runs * 2, lanes.length, (index, lane) => send(lane, lane * 2, configText(index)))
  const after = await usageOf(fleet.service.pid)
  const busy = (after.cpuSeconds - before.cpuSeconds) / ((performance.now() - begin) / 1000)
  for (const lane of lanes) lane.close()
  return { lanes: lanes.length, getsPerSecond: gets, putsPerSecond: puts, cores: busy, rssMib: after.rssMib }
}

interface Trips {
  readonly connect: number
  readonly get: number
  readonly put: number
}

/**
 * Times over a slow link and over a slower one: what the difference in delay costs is round trips, whatever the machine does.
 * The first call to a VM has a connection to make and a path to get to know; what it takes more than a warm GET is told.
 */
async function roundTrips(): Promise<Trips> {
  const near = await timesOver(shortDelayMs)
  const far = await timesOver(longDelayMs)
  const trips = (of: (times: Trips) => number): number => (of(far) - of(near)) / (2 * (longDelayMs - shortDelayMs))
  const get = trips(({ get: ms }) => ms)
  return { connect: trips(({ connect: ms }) => ms) - get, get, put: trips(({ put: ms }) => ms) }
}

/** ms of a first call, a warm GET and a warm PUT, with `delayMs` each way. */
async function timesOver(delayMs: number): Promise<Trips> {
  const proxies: { close(): Promise<void> }[] = []
  const fleet = await startFleet({
    through: async (sshd) => {
      const proxy = await startProxy(sshd, { delayMs })
      proxies.push(proxy)
      return proxy.port
    },
  })
  const lane = await Lane.open(fleet.service.url)
  try {
    const connects: number[] = []
    for (const vmId of fleet.vmIds.slice(0, 8)) {
      const begin = performance.now()
      await api(lane, vmId)
      connects.push(performance.now() - begin)
    }
    const [vmId = ""] = fleet.vmIds
    const read = await latencyOf(10, () => api(lane, vmId))
    const write = await latencyOf(10, (index) => api(lane, vmId, configText(index + 1)))
    return { connect: summary(connects).medianMs, get: read.medianMs, put: write.medianMs }
  } finally {
    lane.close()
    await fleet.close()
    await Promise.all(proxies.map((proxy) => proxy.close()))
  }
}

/** Our HTTP API beside bare ssh2 and OpenSSH, on the same loopback servers. */
export async function benchSsh(): Promise<Part> {
  const fleet = await startFleet()
  const idle = await usageOf(fleet.service.pid)
  const lane = await Lane.open(fleet.service.url)
  const latencies = await warm(fleet, lane)
  const first = await cold(fleet, lane)
  lane.close()
  const busy = await throughput(fleet)
  const { startedInMs } = fleet.service
  await fleet.close()
  const trips = await roundTrips()
  const validation = await measureValidation()
  const figures = {
    runs,
    startedInMs,
    idleRssMib: idle.rssMib,
    ...latencies,
    cold: first,
    throughput: busy,
    trips,
    validation,
  }
  return { figures, table: tableOf(figures) }
}

interface Compared {
  readonly ours: Latency
  readonly bare: Latency
  readonly plain?: Latency
  readonly openssh?: Latency
}

type Figures = Awaited<ReturnType<typeof warm>> & {
  readonly runs: number
  readonly startedInMs: number
  readonly idleRssMib: number
  readonly cold: Awaited<ReturnType<typeof cold>>
  readonly throughput: Awaited<ReturnType<typeof throughput>>
  readonly trips: Awaited<ReturnType<typeof roundTrips>>
  readonly validation: { readonly microseconds: number; readonly bytes: number }
}

function tableOf({
  get,
  put,
  cold: first,
  throughput: busy,
  trips,
  validation,
  startedInMs,
  idleRssMib,
}: Figures): string {
  const ms = ({ medianMs, p95Ms }: Latency): string => `${medianMs.toFixed(2)} (p95 ${p95Ms.toFixed(2)})`
  const ratio = (ours: Latency, other: Latency): string => `${(ours.medianMs / other.medianMs).toFixed(2)} x`
  const faster = (ours: Latency, other: Latency): string => `${(other.medianMs / ours.medianMs).toFixed(1)} x faster`
  const row = (name: string, { ours, bare, plain, openssh }: Compared): string => {
    const others = [plain, openssh].map((other) => (other ? ms(other) : ""))
    const ratios = [ratio(ours, bare), plain ? ratio(ours, plain) : "", openssh ? faster(ours, openssh) : ""]
    return `| ${[name, ms(ours), ms(bare), ...others, ...ratios].join(" | ")} |`
  }
  return [
    "| 4 KiB config, median ms | our HTTP API | bare ssh2, pipelined as ours | bare ssh2, call by call | OpenSSH, ControlMaster | ours / pipelined | ours / call by call | ours / OpenSSH |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
    row("GET, warm", get),
    row("PUT, warm (sealed, synced, verified)", put),
    row("GET, cold", first),
    "",
    `Round trips: connect ${(trips.connect - firstReadTrips).toFixed(2)} (and 1 for TCP), warm GET ${trips.get.toFixed(2)}, warm PUT ${trips.put.toFixed(2)}.`,
    `${busy.lanes} callers at once: ${busy.getsPerSecond.toFixed(0)} GET/s, ${busy.putsPerSecond.toFixed(0)} PUT/s, ` +
      `the service on ${busy.cores.toFixed(2)} cores and ${busy.rssMib.toFixed(0)} MiB.`,
    `Ready ${startedInMs.toFixed(0)} ms after start; ${idleRssMib.toFixed(0)} MiB idle; Ajv validates ${(validation.bytes / 1024).toFixed(1)} KiB in ${validation.microseconds.toFixed(1)} us.`,
  ].join("\n")
}
