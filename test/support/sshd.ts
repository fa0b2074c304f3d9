import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdirSync, readFileSync } from "node:fs"
import { appendFile, mkdir, writeFile } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { userInfo } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import type { Vm } from "../../src/domain/vm.ts"
import { type HostKey, type KeyType, makeHostKey, sharedClientKey } from "./ssh-keys.ts"
import { makeTemporary, removeTemporary } from "./temporary.ts"

const sshdPaths = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
const startLimitMs = 10_000

/** Tests that change owners need it: `test("...", { skip: !isRoot }, ...)`. */
export const isRoot = process.getuid?.() === 0

export interface SshdOptions {
  /** Lines of sshd_config. They win over the harness's own (sshd keeps the first value); from a `Match` on they go to the end. */
  readonly config?: readonly string[]
  /** Default: ed25519 only. Every server has keys of its own. */
  readonly hostKeyTypes?: readonly KeyType[]
  /** Default: a free one. */
  readonly port?: number
  /** Listens on ::1 in place of 127.0.0.1. */
  readonly ipv6?: boolean
  /** A known_hosts file of the caller: the keys are added to it, and it outlives the server. */
  readonly knownHostsPath?: string
}

export interface Sshd {
  readonly host: string
  readonly port: number
  /** An empty directory for the test's own files; removed by `stop`. */
  readonly root: string
  readonly user: string
  readonly clientKeyPath: string
  readonly knownHostsPath: string
  readonly hostKeys: readonly HostKey[]
  /** Of the first host key. */
  readonly fingerprint: string
  readonly logPath: string
  /** All that sshd has logged so far, at level VERBOSE unless `config` says otherwise. */
  log(): string
  /** Kills the server with all its sessions and removes its files. Repeatable. */
  stop(): Promise<void>
  /** Kills the server with all its sessions and starts it again, after `downMs`: same port, same keys. */
  restart(downMs?: number): Promise<void>
}

/** A real OpenSSH server on loopback, for the current user, with one authorized key; it accepts when this resolves. */
export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const program = findSshd()
  const host = options.ipv6 ? "::1" : "127.0.0.1"
  const home = makeTemporary("sshd")
  try {
    const clientKeyPath = await sharedClientKey()
    const hostKeys = await Promise.all((options.hostKeyTypes ?? ["ed25519"]).map((type) => makeHostKey(home, type)))
    const root = join(home, "vm")
    await mkdir(root)
    const server = await startOnFreePort({ program, home, host, options, hostKeys, clientKeyPath })

    const knownHostsPath = options.knownHostsPath ?? join(home, "known_hosts")
    const name = server.port === 22 ? host : `[${host}]:${server.port}`
    await appendFile(knownHostsPath, hostKeys.map((key) => `${name} ${key.publicKey}\n`).join(""))
    return {
      host,
      port: server.port,
      root,
      user: userInfo().username,
      clientKeyPath,
      knownHostsPath,
      hostKeys,
      fingerprint: hostKeys[0]?.fingerprint ?? "",
      logPath: server.logPath,
      log: () => readLog(server.logPath),
      stop: async () => {
        await server.stop()
        await removeTemporary(home)
      },
      restart: async (downMs = 0) => {
        await server.stop()
        await delay(downMs)
        await server.start()
      },
    }
  } catch (error) {
    await removeTemporary(home)
    throw error
  }
}

/** The domain's VM for a server. */
export function vmOf(sshd: Pick<Sshd, "host" | "port" | "user" | "clientKeyPath">, overrides: Partial<Vm> = {}): Vm {
  return {
    vmId: "vm01",
    name: "vm01",
    host: sshd.host,
    port: sshd.port,
    user: sshd.user,
    role: null,
    labels: {},
    enabled: true,
    hostKeys: [],
    privateKeyPath: sshd.clientKeyPath,
    proxyJump: null,
    ...overrides,
  }
}

interface Blueprint {
  readonly program: string
  readonly home: string
  readonly host: string
  readonly options: SshdOptions
  readonly hostKeys: readonly HostKey[]
  readonly clientKeyPath: string
}

/** The port is free when it is looked up and may be taken a moment later: then another one. */
async function startOnFreePort(blueprint: Blueprint): Promise<SshdProcess> {
  const { options, host } = blueprint
  for (let attempt = 1; ; attempt++) {
    const port = options.port ?? (await freePort(host))
    const configPath = await writeConfig(blueprint, port)
    const server = new SshdProcess(blueprint.program, configPath, host, port, join(blueprint.home, `log-${attempt}`))
    try {
      await server.start()
      return server
    } catch (error) {
      await server.stop()
      const clash = readLog(server.logPath).includes("Address already in use")
      if (!clash || options.port !== undefined || attempt === 5) throw error
    }
  }
}

async function writeConfig({ home, host, options, hostKeys, clientKeyPath }: Blueprint, port: number): Promise<string> {
  const own = options.config ?? []
  const firstMatch = own.findIndex((line) => /^\s*match\s/i.test(line))
  const cut = firstMatch === -1 ? own.length : firstMatch
  const lines = [
    ...own.slice(0, cut),
    `Port ${port}`,
    `ListenAddress ${host}`,
    ...hostKeys.map((key) => `HostKey ${key.path}`),
    `AuthorizedKeysFile ${clientKeyPath}.pub`,
    "PermitRootLogin prohibit-password",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "UsePAM no",
    // The temporary directory is writable by others, which sshd would hold against the authorized keys.
    "StrictModes no",
    "PidFile none",
    "PrintMotd no",
    "PrintLastLog no",
    // Where the login shell looks for its start files: the user's own may be slow, print something, or wait for a lock.
    `SetEnv HOME=${home}`,
    "LogLevel VERBOSE",
    // A second definition of a subsystem is an error, not an override.
    ...(own.some((line) => /^\s*subsystem\s/i.test(line)) ? [] : ["Subsystem sftp internal-sftp"]),
    ...own.slice(cut),
  ]
  const path = join(home, "sshd_config")
  await writeFile(path, `${lines.join("\n")}\n`)
  return path
}

/** One sshd and everything it forks. */
class SshdProcess {
  readonly port: number
  readonly logPath: string
  readonly #program: string
  readonly #configPath: string
  readonly #host: string
  #child: ChildProcess | null = null

  constructor(program: string, configPath: string, host: string, port: number, logPath: string) {
    this.#program = program
    this.#configPath = configPath
    this.#host = host
    this.port = port
    this.logPath = logPath
  }

  async start(): Promise<void> {
    const before = readLog(this.logPath).length
    const args = [this.#program, "-D", "-f", this.#configPath, "-E", this.logPath]
    // Where it can be had, the kernel ends sshd with us, even when we are killed.
    const [command = "", ...rest] = existsSync(setpriv) ? [setpriv, "--pdeathsig", "KILL", "--", ...args] : args
    const child = spawn(command, rest, { stdio: ["ignore", "ignore", "ignore"] })
    // A test that fails before its `stop` still lets the process end; the hook below then ends sshd.
    child.unref()
    this.#child = child
    running.add(this)
    const ended = once(child, "exit").then(([code]) => {
      this.#child = null
      throw new Error(`sshd ended with ${code}: ${readLog(this.logPath).slice(before)}`)
    })
    ended.catch(() => {})
    await Promise.race([ended, this.#listening(before)])
    await Promise.race([ended, awaitBanner(this.#host, this.port)])
  }

  async stop(): Promise<void> {
    const child = this.#child
    this.#child = null
    running.delete(this)
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, "exit")
    child.ref()
    killTree(child)
    await ended
  }

  /** Synchronous, for the end of the process. */
  kill(): void {
    if (this.#child) killTree(this.#child)
  }

  /** Its own log, because what answers at the port might be another server that was faster. */
  async #listening(before: number): Promise<void> {
    const deadline = Date.now() + startLimitMs
    while (this.#child && !readLog(this.logPath).slice(before).includes(`port ${this.port}.`)) {
      if (Date.now() > deadline) throw new Error(`sshd did not listen within ${startLimitMs} ms`)
      await delay(3)
    }
  }
}

const setpriv = "/usr/bin/setpriv"
const running = new Set<SshdProcess>()

process.once("exit", () => {
  for (const server of running) server.kill()
})

/** Sessions have process groups of their own; the server is halted first so that it forks no more while they are looked up. */
function killTree(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  child.kill("SIGSTOP")
  for (const pid of descendants(child.pid)) {
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // Ended by itself in the meantime.
    }
  }
  child.kill("SIGKILL")
}

function descendants(pid: number): readonly number[] {
  let children: string
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
  } catch {
    return []
  }
  return children
    .split(" ")
    .filter((word) => word !== "")
    .map(Number)
    .flatMap((child) => [...descendants(child), child])
}

function findSshd(): string {
  const program = sshdPaths.find((path) => existsSync(path))
  if (!program) throw new Error('sshd not found: run "npm run setup" (installs openssh-server)')
  // Its privilege separation wants this directory, which a booted system makes and a container does not.
  if (isRoot) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 })
  return program
}

async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host)
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  return typeof address === "object" && address ? address.port : 0
}

async function awaitBanner(host: string, port: number): Promise<void> {
  const socket = connect(port, host)
  socket.setTimeout(startLimitMs, () => socket.destroy(new Error(`no SSH banner within ${startLimitMs} ms`)))
  try {
    const [chunk] = await once(socket, "data")
    if (!String(chunk).startsWith("SSH-2.0-")) throw new Error("what answers is not an SSH server")
  } finally {
    socket.destroy()
  }
}

function readLog(path: string): string {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return ""
  }
}
