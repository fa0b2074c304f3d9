import { Fault, isFault } from "../domain/fault.ts"
import type { Check, OpenOptions, Session, Transport } from "../domain/transport.ts"
import type { Vm } from "../domain/vm.ts"
import { CircuitBreaker } from "./circuit-breaker.ts"
import { Connection } from "./connection.ts"
import type { DialOptions, Hop, Step } from "./dial.ts"
import { HandshakeLimits } from "./handshake-limits.ts"
import { type Host, trustFor } from "./host-keys.ts"
import { KnownHosts } from "./known-hosts.ts"
import { ConnectionPool, type Lease, type Use } from "./pool.ts"
import { type Identity, PrivateKeys } from "./private-keys.ts"
import { RegularPaths } from "./regular-paths.ts"
import { SshSession } from "./session.ts"
import { Slots } from "./slots.ts"
import { StickyDirectories } from "./sticky-directories.ts"
import { Budget, unlessAborted } from "./waiting.ts"

/** What happens to connections, for a log or a metric. Holds no secret. */
export interface ConnectionEvent {
  readonly kind: "opened" | "refused" | "closed" | "lost"
  readonly vmId: string
  /** ms that connecting took, or that the connection stood. */
  readonly durationMs: number
  readonly fault: Fault | null
}

/** What there is now, for a metric. */
export interface TransportStats {
  readonly connections: number
  readonly busyConnections: number
  readonly sessions: number
  /** Calls that wait for a session. */
  readonly waitingSessions: number
  /** VMs that could not be reached and are given their pause. */
  readonly openCircuits: number
}

export interface SshTransportOptions {
  readonly knownHostsPath: string
  readonly keyStoragePath: string
  readonly privateKeyPath: string | null
  /** Of encrypted keys. */
  readonly passphrase: string | null
  /** Path of the SSH agent's socket; null: no agent is asked. */
  readonly agentSocket: string | null
  /** Limit of each call on a VM, and of waiting for a free slot. */
  readonly callTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly keepaliveMs: number
  readonly idleTimeoutMs: number
  readonly maxHandshakes: number
  /** Sessions at once over all VMs; one VM gets a part of them, see slots.ts. */
  readonly poolSize: number
  /** Of connecting only. */
  readonly retries: number
  /** ms, never running backwards. */
  readonly now?: () => number
  readonly onEvent?: (event: ConnectionEvent) => void
}

const checkNames: readonly Step[] = ["connect", "host key", "authentication", "sftp"]

/** `Transport` on ssh2: the only road out of the service. */
export class SshTransport implements Transport {
  readonly #options: SshTransportOptions
  readonly #slots: Slots
  readonly #limits: HandshakeLimits
  readonly #breaker: CircuitBreaker
  readonly #keys: PrivateKeys
  readonly #pool: ConnectionPool
  readonly #regularPaths = new Map<string, RegularPaths>()
  readonly #closing = new AbortController()

  constructor(options: SshTransportOptions) {
    this.#options = options
    this.#slots = new Slots(options.poolSize, options.callTimeoutMs)
    this.#limits = new HandshakeLimits(options.maxHandshakes, options.callTimeoutMs)
    this.#breaker = new CircuitBreaker(options.now ?? (() => performance.now()))
    this.#keys = new PrivateKeys(options)
    this.#pool = new ConnectionPool(options.idleTimeoutMs)
  }

  async open(vm: Vm, { become, sftpServer, signal }: OpenOptions): Promise<Session> {
    const stop = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal
    const leave = await this.#slots.enter(vm.vmId, stop)
    if (stop.aborted) {
      leave()
      throw stop.reason
    }
    const use = { key: become ? `${vm.vmId} become ${sftpServer ?? ""}` : vm.vmId, stamp: stampOf(vm) }
    const leasing = this.#pool.lease(use, () => this.#connect(vm, { become, sftpServer }))
    try {
      const lease = await unlessAborted(leasing, stop)
      return this.#session(use, lease, leave)
    } catch (error) {
      leasing.then((lease) => lease.release()).catch(() => {})
      leave()
      throw error
    }
  }

  async check(vm: Vm, signal?: AbortSignal): Promise<readonly Check[]> {
    const checks: Check[] = []
    let startedAt = performance.now()
    const note = (ok: boolean, name: string, detail: string) => {
      checks.push({ name, ok, detail, durationMs: Math.round(performance.now() - startedAt) })
      startedAt = performance.now()
    }
    const dialling = this.#dial(vm, { become: false, sftpServer: null }, (step) => {
      // Another try: what the one before it got done is not what is told.
      if (step === "connect") checks.length = 0
      note(true, step, doneSentence(step, vm))
    })
    dialling.then((connection) => connection.end()).catch(() => {})
    try {
      await unlessAborted(dialling, signal)
    } catch (error) {
      const detail = error instanceof Fault ? error.message : "The check was given up."
      note(false, failedStep(error, checks.length), detail)
    }
    return checks
  }

  retain(vms: readonly Vm[]): void {
    const stamps = new Map(vms.filter((vm) => vm.enabled).map((vm) => [vm.vmId, stampOf(vm)]))
    this.#pool.retain((use) => stamps.get(use.key.split(" ", 1)[0] ?? "") === use.stamp)
    for (const key of this.#regularPaths.keys()) {
      if (!stamps.has(key.split(" ", 1)[0] ?? "")) this.#regularPaths.delete(key)
    }
  }

  /** Costs microseconds, and contacts nobody. */
  stats(): TransportStats {
    return {
      connections: this.#pool.open,
      busyConnections: this.#pool.busy,
      sessions: this.#slots.taken,
      waitingSessions: this.#slots.waiting,
      openCircuits: this.#breaker.open,
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Fault("shutting_down", "The service is shutting down."))
    await this.#pool.close()
  }

  #session(use: Use, lease: Lease, leave: () => void): Session {
    const regularPaths = this.#regularPaths.get(use.key) ?? new RegularPaths()
    this.#regularPaths.set(use.key, regularPaths)
    const release = () => {
      lease.release()
      leave()
    }
    const remote = { connection: lease.connection, regularPaths, stickyDirectories: new StickyDirectories() }
    return new SshSession(remote, { callTimeoutMs: this.#options.callTimeoutMs, release })
  }

  async #connect(vm: Vm, as: Rights): Promise<Connection> {
    const circuit = `${vm.vmId} ${vm.host}:${vm.port}`
    this.#breaker.admit(circuit)
    let startedAt = performance.now()
    const tell = (kind: ConnectionEvent["kind"], fault: Fault | null) =>
      this.#options.onEvent?.({ kind, vmId: vm.vmId, durationMs: Math.round(performance.now() - startedAt), fault })
    try {
      const connection = await this.#dial(vm, as)
      this.#breaker.reachable(circuit)
      tell("opened", null)
      startedAt = performance.now()
      connection.onDown((fault) => (connection.ended ? tell("closed", null) : tell("lost", fault)))
      return connection
    } catch (error) {
      if (isFault(error, "vm_unreachable")) this.#breaker.unreachable(circuit, error.message)
      else if (!isFault(error, "config_busy", "shutting_down")) this.#breaker.reachable(circuit)
      tell("refused", error instanceof Fault ? error : null)
      throw error
    }
  }

  async #dial(vm: Vm, as: Rights, onStep?: (step: Step) => void): Promise<Connection> {
    const { keepaliveMs, retries, connectTimeoutMs } = this.#options
    const hop = await this.#hop(hostOf(vm), vm.user, await this.#keys.identityOf(vm))
    const jump =
      vm.proxyJump && (await this.#hop(jumpHostOf(vm), vm.proxyJump.user, await this.#keys.identityOfJump(vm)))
    const budget = new Budget(connectTimeoutMs)
    const options: DialOptions = { budget, limits: this.#limits, keepaliveMs, retries, onStep }
    const connection = await Connection.open({ hop, jump, ...as }, options)
    if (!this.#closing.signal.aborted) return connection
    await connection.end()
    throw this.#closing.signal.reason
  }

  async #hop(host: Host, user: string, identity: Identity): Promise<Hop> {
    const path = this.#options.knownHostsPath
    const known = (await KnownHosts.read(path)).match(host.host, host.port)
    return { ...host, user, identity, trust: trustFor(host, known, path) }
  }
}

interface Rights {
  readonly become: boolean
  readonly sftpServer: string | null
}

function hostOf({ vmId, host, port, hostKeys }: Vm): Host {
  return { whom: `VM "${vmId}" (${host}:${port})`, host, port, pinned: hostKeys }
}

function jumpHostOf(vm: Vm): Host {
  const { host, port } = vm.proxyJump ?? vm
  return { whom: `jump host ${host}:${port} of VM "${vm.vmId}"`, host, port, pinned: [] }
}

/** A reload that changes any of this makes the connection another one. */
function stampOf({ host, port, user, hostKeys, privateKeyPath, proxyJump }: Vm): string {
  return JSON.stringify([host, port, user, hostKeys, privateKeyPath, proxyJump])
}

function doneSentence(step: Step, vm: Vm): string {
  return {
    connect: `${vm.host}:${vm.port} accepts connections.`,
    "host key": "The host key is the one that is known.",
    authentication: `The server let "${vm.user}" in.`,
    sftp: "SFTP works, with posix-rename@openssh.com and fsync@openssh.com.",
  }[step]
}

function failedStep(error: unknown, done: number): string {
  if (isFault(error, "host_key_mismatch", "host_key_unknown")) return "host key"
  if (isFault(error, "vm_auth_failed")) return "authentication"
  return checkNames[done] ?? "sftp"
}
