import { Fault, isFault } from "../../src/domain/fault.ts"
import type { Check, CommandResult, OpenOptions, Session, Transport } from "../../src/domain/transport.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { MemorySession } from "./memory-session.ts"

/** What stands at a path. Two names of one file share the object: editing `bytes` edits both, as with hard links. */
export interface MemoryFile {
  bytes: Buffer
  mode: number
  uid: number
  gid: number
  /** Seconds since 1970. */
  mtime: number
  kind: "file" | "directory" | "symlink" | "fifo"
  /** Where a symlink leads; empty otherwise. */
  target: string
}

/** A regular file, as the tests write it down. */
export function file(content: string | Uint8Array, mode = 0o644, owner = { uid: 1000, gid: 1000 }): MemoryFile {
  return { bytes: Buffer.from(content), mode, ...owner, mtime: nowSeconds(), kind: "file", target: "" }
}

export function directory(): MemoryFile {
  return { ...file("", 0o700), kind: "directory" }
}

export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000)
}

export type Step =
  | "open"
  | "exists"
  | "realPathOf"
  | "requirePlace"
  | "read"
  | "stage"
  | "swap"
  | "rename"
  | "syncDirectory"
  | "remove"
  | "list"
  | "makeDirectory"
  | "probe"
  | "run"

export interface Failure {
  /** True: the step takes effect, and then the fault is thrown, as when an answer is lost. */
  readonly applied?: boolean
  /** Whether the connection is lost with it. Default: for `connection_lost` and `vm_timeout`. */
  readonly killsSession?: boolean
  /** How often. Default 1. */
  readonly times?: number
  /** How many such steps pass before. Default 0. */
  readonly skip?: number
}

/** What a hook is told. `paths` is empty for `open` and `run`. */
export interface StepInfo {
  readonly step: Step
  readonly vmId: string
  readonly paths: readonly string[]
}

export type Hook = (info: StepInfo) => void | Promise<void>

interface PlannedFailure {
  readonly step: Step
  readonly fault: Fault
  readonly applied: boolean
  readonly kills: boolean
  times: number
  skip: number
}

interface PlannedHook {
  readonly step: Step
  readonly when: "before" | "after"
  readonly hook: Hook
}

/** Sessions that go down together. */
export class MemoryConnection {
  broken = false
}

/** A fleet in memory. Passes the suite of every Transport; the rest is knobs for tests of what stands above it. */
export class MemoryTransport implements Transport {
  /** By `vmId:path`. Directories need not be there for files to stand in them. */
  readonly files: Map<string, MemoryFile>
  /** What was asked for, in order: `open vm01`, `read vm01:/etc/app.yml`, `swap vm01:/etc/app.yml`. */
  readonly steps: string[] = []
  /** Ids of VMs at which nobody answers. */
  readonly unreachable = new Set<string>()
  /** Who the SSH user is. */
  user = { uid: 1000, gid: 1000 }
  /** False: the SSH user cannot give files to others. */
  mayGiveOwners = true
  /** False: the VM refuses second names. */
  hardLinks = true
  /** What a command answers. */
  onCommand: (vmId: string, command: string) => CommandResult = () => ({ exitCode: 0, output: "" })
  readonly #failures: PlannedFailure[] = []
  readonly #hooks = new Set<PlannedHook>()
  readonly #connections = new Map<string, MemoryConnection>()
  #closed = false

  constructor(files: Readonly<Record<string, MemoryFile>> = {}) {
    this.files = new Map(Object.entries(files))
  }

  /** The next such step throws `fault`, on any VM. Failures of one step wait for each other, in order. */
  failNext(step: Step, fault: Fault, options: Failure = {}): void {
    const { applied = false, times = 1, skip = 0 } = options
    const kills = options.killsSession ?? isFault(fault, "connection_lost", "vm_timeout")
    this.#failures.push({ step, fault, applied, kills, times, skip })
  }

  /** Runs `hook` at every such step, right before it takes effect or right after. @returns what ends that */
  onStep(step: Step, hook: Hook, when: "before" | "after" = "before"): () => void {
    const planned = { step, when, hook }
    this.#hooks.add(planned)
    return () => this.#hooks.delete(planned)
  }

  /** Cuts the connection to a VM; its sessions are dead. */
  breakConnection(vmId: string): void {
    const connection = this.#connections.get(vmId)
    if (connection) connection.broken = true
    this.#connections.delete(vmId)
  }

  async open(vm: Vm, { signal }: OpenOptions): Promise<Session> {
    this.#assertOpen()
    signal?.throwIfAborted()
    return this.takeStep({ step: "open", vmId: vm.vmId, paths: [] }, async () => {
      this.#assertOpen()
      signal?.throwIfAborted()
      if (this.unreachable.has(vm.vmId)) throw unreachable(vm)
      const connection = this.#connections.get(vm.vmId) ?? new MemoryConnection()
      this.#connections.set(vm.vmId, connection)
      return new MemorySession(this, vm.vmId, connection)
    })
  }

  async check(vm: Vm): Promise<readonly Check[]> {
    if (!this.unreachable.has(vm.vmId)) {
      return ["connect", "host key", "authentication", "sftp"].map((name) => check(name, true, `${name}: fine.`))
    }
    return [check("connect", false, unreachable(vm).message)]
  }

  retain(vms: readonly Vm[]): void {
    const kept = new Set(vms.map(({ vmId }) => vmId))
    for (const vmId of this.#connections.keys()) if (!kept.has(vmId)) this.#connections.delete(vmId)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const vmId of this.#connections.keys()) this.breakConnection(vmId)
  }

  /** For sessions: notes a step and does it, with the hooks and the failure that are planned for it. */
  async takeStep<T>(info: StepInfo, work: () => Promise<T>): Promise<T> {
    const where = info.paths.length > 0 ? `:${info.paths.join(",")}` : ""
    this.steps.push(`${info.step} ${info.vmId}${where}`)
    const failure = this.#nextFailure(info.step)
    await this.#runHooks(info, "before")
    if (failure && !failure.applied) throw this.#fail(failure, info.vmId)
    const result = await work()
    await this.#runHooks(info, "after")
    if (failure) throw this.#fail(failure, info.vmId)
    return result
  }

  #nextFailure(step: Step): PlannedFailure | null {
    const failure = this.#failures.find((each) => each.step === step)
    if (!failure) return null
    if (failure.skip > 0) {
      failure.skip--
      return null
    }
    failure.times--
    if (failure.times <= 0) this.#failures.splice(this.#failures.indexOf(failure), 1)
    return failure
  }

  #fail(failure: PlannedFailure, vmId: string): Fault {
    if (failure.kills) this.breakConnection(vmId)
    return failure.fault
  }

  async #runHooks(info: StepInfo, when: PlannedHook["when"]): Promise<void> {
    for (const planned of [...this.#hooks]) {
      if (planned.step === info.step && planned.when === when) await planned.hook(info)
    }
  }

  #assertOpen(): void {
    if (this.#closed) throw new Fault("shutting_down", "The service is shutting down.")
  }
}

function unreachable(vm: Vm): Fault {
  return new Fault("vm_unreachable", `VM "${vm.vmId}" could not be reached.`)
}

export function check(name: string, ok: boolean, detail: string): Check {
  return { name, ok, detail, durationMs: 0 }
}
