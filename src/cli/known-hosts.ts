import { isFault } from "../domain/fault.ts"
import { isHost } from "../settings/addresses.ts"
import { nearestHint } from "../settings/nearest.ts"
import type { Settings } from "../settings.ts"
import { exitCodes } from "./arguments.ts"
import type { Output } from "./output.ts"

/** A host key as it came over the network, and its line for known_hosts. */
export interface ScannedKey {
  readonly type: string
  readonly fingerprint: string
  readonly line: string
}

export interface ScanParts {
  readonly settings: Settings
  /** VM ids or `host[:port]`; empty: every VM that is enabled. */
  readonly targets: readonly string[]
  /** @throws {Fault} `vm_unreachable` and the like */
  readonly scan: (host: string, port: number, options: { readonly timeoutMs: number }) => Promise<readonly ScannedKey[]>
  readonly output: Output
}

/** Somebody whose host keys are asked for, or the sentence that says why not. */
type Target = { readonly name: string; readonly host: string; readonly port: number } | { readonly refusal: string }

/** Scans at once: enough to be quick with a fleet, few enough for the event loop (DESIGN 3.1). */
const scansAtOnce = 8

/** `config-manager known-hosts scan`: known_hosts lines to stdout, what to do with them to stderr. Nothing is written. */
export async function knownHostsScan(parts: ScanParts): Promise<number> {
  const { settings, output } = parts
  const targets = parts.targets.length > 0 ? parts.targets.map((name) => namedTarget(settings, name)) : fleet(settings)
  let failed = false
  let found = false
  for await (const result of inOrder(distinct(targets), scansAtOnce, (target) => scanOne(parts, target))) {
    output.out(result.lines)
    output.err(result.complaint)
    if (result.complaint !== "") failed = true
    if (result.lines !== "") found = true
  }
  if (found) {
    output.err(
      "These keys are what the network answered; anyone on the way could have put in his own. Compare each fingerprint with the " +
        "one that the machine shows on its console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) before you append its line " +
        `to ${settings.ssh.knownHostsPath}.\n`,
    )
  }
  return failed ? exitCodes.failed : exitCodes.ok
}

async function scanOne({ scan, settings }: ScanParts, target: Target): Promise<{ lines: string; complaint: string }> {
  if ("refusal" in target) return { lines: "", complaint: `${target.refusal}\n` }
  const { name, host, port } = target
  try {
    const keys = await scan(host, port, { timeoutMs: settings.ssh.connectTimeoutMs })
    if (keys.length === 0) return { lines: "", complaint: `${name}: it showed no host key.\n` }
    const lines = keys.map((key) => `# ${name} ${key.type} ${key.fingerprint}\n${key.line.trimEnd()}\n`)
    return { lines: lines.join(""), complaint: "" }
  } catch (error) {
    if (!isFault(error)) throw error
    return { lines: "", complaint: `${name}${hintFor(settings, name)}: ${error.message}\n` }
  }
}

/** Every enabled VM that can be reached directly, and the jump hosts, whose keys must be known as well. */
function fleet(settings: Settings): Target[] {
  return settings.inventory.vms
    .filter((vm) => vm.enabled)
    .flatMap((vm): Target[] => {
      const target = namedTarget(settings, vm.vmId)
      const jump = vm.proxyJump
      return jump ? [{ name: `jump host ${jump.host}`, host: jump.host, port: jump.port }, target] : [target]
    })
}

function namedTarget(settings: Settings, name: string): Target {
  const vm = settings.inventory.vms.find(({ vmId }) => vmId === name)
  if (!vm) return addressTarget(settings, name)
  if (!vm.enabled) return { refusal: `${name}: the settings have it disabled, so it is not contacted.` }
  if (vm.proxyJump) {
    const remedy = `on ${vm.proxyJump.host}, run ssh-keyscan -p ${vm.port} ${vm.host}`
    return { refusal: `${name}: it is behind a jump host, and a scan goes directly only: ${remedy}.` }
  }
  return { name, host: vm.host, port: vm.port }
}

function addressTarget(settings: Settings, name: string): Target {
  if (isHost(name)) return { name, host: name, port: settings.ssh.port }
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:]+))(?::([0-9]{1,5}))?$/.exec(name) ?? []
  const host = bracketed ?? plain ?? ""
  const port = digits === undefined ? settings.ssh.port : Number(digits)
  if (isHost(host) && port >= 1 && port <= 65_535) return { name, host, port }
  const hint = hintFor(settings, name)
  return { refusal: `${JSON.stringify(name.slice(0, 80))} is neither a VM of the settings${hint} nor HOST[:PORT].` }
}

/** A mistyped VM id is taken for the name of a host, which then fails. */
function hintFor(settings: Settings, name: string): string {
  const ids = settings.inventory.vms.map(({ vmId }) => vmId)
  return ids.includes(name) ? "" : nearestHint(name, ids)
}

/** Each address once: many VMs can share a jump host. */
function distinct(targets: readonly Target[]): Target[] {
  const seen = new Set<string>()
  return targets.filter((target) => {
    const key = "refusal" in target ? target.refusal : `${target.host} ${target.port}`
    return !seen.has(key) && seen.add(key)
  })
}

/** Runs `work` on all items, at most `limit` at once, and yields the results in the items' order. */
async function* inOrder<I, O>(items: readonly I[], limit: number, work: (item: I) => Promise<O>): AsyncGenerator<O> {
  const running: Promise<O>[] = []
  for (const item of items) {
    const next = running.length >= limit ? running.shift() : undefined
    if (next) yield await next
    const started = work(item)
    started.catch(() => undefined) // it is told of when its turn comes
    running.push(started)
  }
  for (const last of running) yield await last
}
