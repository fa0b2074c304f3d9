import { once } from "node:events"
import { setTimeout as pause } from "node:timers/promises"
import type { Client, ClientChannel } from "ssh2"
import { Fault } from "../domain/fault.ts"
import { becomeFault, becomeRequest } from "./become.ts"
import { cut } from "./cut.ts"
import { type DialOptions, dial, type Hop, type Link, overTcp } from "./dial.ts"
import { type OpenedSftp, openSftp, SftpNotStarted } from "./internals.ts"
import { dialThrough } from "./proxy-jump.ts"
import { missingExtensions, Sftp } from "./sftp.ts"

/** Where a connection leads, and with whose rights its SFTP server runs. */
export interface Route {
  readonly hop: Hop
  readonly jump: Hop | null
  readonly become: boolean
  readonly sftpServer: string | null
}

/** How long a peer is given to say goodbye. */
const farewellMs = 1_000

/** An answer that is waited for. */
interface PendingCall {
  /** By `performance.now()`: from then on it is late. */
  readonly lateAt: number
  /** Aborted: whoever made the call has given it up. */
  readonly signal: AbortSignal | undefined
}

/** An SSH connection with its one SFTP channel. Once `fault` is set nothing of it is used again. */
export class Connection {
  readonly whom: string
  readonly sftp: Sftp
  readonly #link: Link
  readonly #onDown = new Set<(fault: Fault) => void>()
  readonly #pending = new Set<PendingCall>()
  #fault: Fault | null = null
  #ended = false

  /** @throws {Fault} as `Transport.open` */
  static async open(route: Route, options: DialOptions): Promise<Connection> {
    const { hop, jump } = route
    // The channel is asked for as early as the server allows: that saves a round trip.
    const early = new WeakMap<Client, Promise<OpenedSftp>>()
    const onSigned = (client: Client) => {
      if (!early.has(client)) early.set(client, openChannel(route, client))
    }
    const dialOptions = { ...options, onSigned }
    const link = await (jump ? dialThrough(jump, hop, dialOptions) : dial(hop, overTcp, dialOptions))
    try {
      const opened = await options.budget.spend(
        () => startSftp(route, link, early.get(link.client) ?? openChannel(route, link.client)),
        () => new Fault("vm_unreachable", `${hop.whom} did not start SFTP within the connect timeout.`),
      )
      options.onStep?.("sftp")
      return new Connection(hop.whom, link, opened)
    } catch (error) {
      cut(link.wire)
      throw error
    }
  }

  constructor(whom: string, link: Link, opened: OpenedSftp) {
    this.whom = whom
    this.#link = link
    const lost = (cause: unknown) =>
      this.fail(
        cause instanceof Fault ? cause : new Fault("connection_lost", `The connection to ${whom} was lost.`, { cause }),
      )
    this.sftp = new Sftp(opened, link.wire, lost)
    link.client.on("error", lost)
    link.client.on("end", () => lost(new Error("the server closed the connection")))
    link.client.on("close", () => lost(new Error("the connection was closed")))
    if (link.wire.destroyed) lost(link.wire.errored)
  }

  /** Why nothing more can be had from it; null: it works, as far as is known. */
  get fault(): Fault | null {
    return this.#fault
  }

  /** Whether it was we who ended it, in good order. */
  get ended(): boolean {
    return this.#ended
  }

  /** Notes a call that was made. @returns what is to be called once it is answered, or has failed */
  noteCall(call: PendingCall): () => void {
    this.#pending.add(call)
    return () => this.#pending.delete(call)
  }

  /** Whether it owes a late answer to somebody who has gone: it is about to be given up, and no good for anybody new. */
  get isOverdue(): boolean {
    const now = performance.now()
    return [...this.#pending].some(({ lateAt, signal }) => signal?.aborted && lateAt <= now)
  }

  /** Calls `listener` once it is lost, given up or ended. @returns what takes the listener away again */
  onDown(listener: (fault: Fault) => void): () => void {
    this.#onDown.add(listener)
    return () => this.#onDown.delete(listener)
  }

  /** Gives it up: every pending call rejects with `fault`, and nothing that is still in a buffer will be sent. */
  fail(fault: Fault): void {
    if (this.#fault) return
    cut(this.#link.wire)
    this.#down(fault)
  }

  /** Says goodbye. Resolves when the socket is closed, in a second at the latest. */
  async end(): Promise<void> {
    if (this.#fault) return
    this.#ended = true
    this.#down(new Fault("connection_lost", `The connection to ${this.whom} was ended.`))
    const { client, wire } = this.#link
    const giveUp = new AbortController()
    const closed = once(wire, "close", { signal: giveUp.signal })
    client.end()
    // Behind a jump host only the inner connection has been ended yet.
    wire.end()
    await Promise.race([closed, pause(farewellMs, undefined, { signal: giveUp.signal })]).catch(() => {})
    giveUp.abort()
    closed.catch(() => {})
    cut(wire)
  }

  /** Runs a command in a channel of its own, as the SSH user. */
  exec(command: string): Promise<ClientChannel> {
    if (this.#fault) return Promise.reject(this.#fault)
    return new Promise((resolve, reject) => {
      const forget = this.onDown(reject)
      this.#link.client.exec(command, (error, channel) => {
        forget()
        if (!error) return resolve(channel)
        const sentence = `${this.whom} refuses to run a command beside SFTP: it may allow only one session (MaxSessions).`
        reject(new Fault("vm_unsupported", sentence, { cause: error }))
      })
    })
  }

  #down(fault: Fault): void {
    this.#fault = fault
    this.sftp.fail(fault)
    for (const listener of [...this.#onDown]) listener(fault)
    this.#onDown.clear()
  }
}

function openChannel(route: Route, client: Client): Promise<OpenedSftp> {
  const opening = openSftp(client, route.become ? becomeRequest(route.sftpServer) : { subsystem: "sftp" })
  // Where the connection fails before anybody waits for the channel, that is what is told.
  opening.catch(() => {})
  return opening
}

async function startSftp(route: Route, { wire }: Link, opening: Promise<OpenedSftp>): Promise<OpenedSftp> {
  const { whom } = route.hop
  const opened = await opening.catch((error: unknown) => {
    if (wire.destroyed) throw new Fault("vm_unreachable", `${whom} dropped the connection.`, { cause: error })
    if (route.become && error instanceof SftpNotStarted) throw becomeFault(error, whom, route.sftpServer)
    throw new Fault("vm_unsupported", `${whom} offers no SFTP (in sshd_config: Subsystem sftp).`, { cause: error })
  })
  const missing = missingExtensions(opened.extensions)
  if (missing.length > 0) {
    throw new Fault(
      "vm_unsupported",
      `The SFTP server of ${whom} lacks ${missing.join(" and ")}, without which a file cannot be replaced safely.`,
    )
  }
  return opened
}
