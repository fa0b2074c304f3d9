import { connect as connectTcp, type Socket } from "node:net"
import type { Duplex } from "node:stream"
import { setTimeout as pause } from "node:timers/promises"
import type { Algorithms, AnyAuthMethod, Client, ServerHostKeyAlgorithm } from "ssh2"
import ssh2 from "ssh2"
import { Fault } from "../domain/fault.ts"
import { cut } from "./cut.ts"
import { connectFault, DroppedEarly, isDrop, isRefusedConnection } from "./errors.ts"
import type { HandshakeLimits } from "./handshake-limits.ts"
import { type Host, type HostTrust, noSuchKeyFault } from "./host-keys.ts"
import { hurryAuthentication, keepKeys } from "./internals.ts"
import type { Identity } from "./private-keys.ts"
import type { Budget } from "./waiting.ts"

/**
 * Pinned. Never `diffie-hellman-group-exchange-sha256`, one of ssh2's defaults: Node checks the server's prime on the
 * event loop, 1.3 s per connection, and 23 s for a group of 8192 bits.
 */
export const algorithms = {
  kex: [
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
  ],
  cipher: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"],
  compress: ["none"],
} satisfies Algorithms

/** An unanswered keepalive is forgiven this often. */
const keepaliveMisses = 3
const firstPauseMs = 100
const longestPauseMs = 1_600

export type Step = "connect" | "host key" | "authentication" | "sftp"

/** A host, who we are there, and how its key is judged. */
export interface Hop extends Host {
  readonly user: string
  readonly identity: Identity
  readonly trust: HostTrust
}

export interface DialOptions {
  readonly budget: Budget
  readonly limits: HandshakeLimits
  readonly keepaliveMs: number
  /** For a port on which nothing listens. A drop before the handshake is retried as long as the budget lasts. */
  readonly retries: number
  /** May open channels before the server has answered the authentication; see `hurryAuthentication`. */
  readonly onSigned?: ((client: Client) => void) | undefined
  /** Told as each step is done. */
  readonly onStep?: ((step: Step) => void) | undefined
}

/** An authenticated connection to one hop. */
export interface Link {
  readonly client: Client
  /** The TCP socket at the bottom, also of a hop behind others. */
  readonly wire: Socket
}

/** What the bytes of a hop travel in: TCP, or a channel of the hop before it. */
export interface Carrier {
  readonly stream: Duplex
  readonly wire: Socket
  /** Closes it without a word. */
  readonly abandon: () => void
}

/** Opens what will carry the hop; must give up, and leave nothing open, when the signal aborts. */
export type Carry = (hop: Hop, signal: AbortSignal) => Promise<Carrier>

export const overTcp: Carry = (hop, signal) => {
  const socket = connectTcp({ host: hop.host, port: hop.port, noDelay: true })
  // Sockets report errors whenever they like, also while nobody is asking.
  socket.on("error", () => {})
  return new Promise((resolve, reject) => {
    socket.once("connect", () => resolve({ stream: socket, wire: socket, abandon: () => cut(socket) }))
    socket.once("error", (error) => reject(isDrop(error) ? new DroppedEarly(error) : error))
    signal.addEventListener("abort", () => {
      if (socket.connecting) cut(socket)
      reject(signal.reason)
    })
  })
}

/** Connects and authenticates. @throws {Fault} as `Transport.open` */
export async function dial(hop: Hop, carry: Carry, options: DialOptions): Promise<Link> {
  const leave = await options.limits.enterAddress(hop.host, hop.port)
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        return await dialByKeyType(hop, carry, options)
      } catch (error) {
        const pauseMs = Math.min(longestPauseMs, firstPauseMs * 2 ** attempt) * (0.5 + Math.random())
        const worthIt = error instanceof DroppedEarly || (isRefusedConnection(error) && attempt < options.retries)
        if (!worthIt || options.budget.remainingMs <= pauseMs) throw connectFault(error, hop.whom)
        await options.budget.spend(
          (signal) => pause(pauseMs, undefined, { signal }),
          () => tooSlow(hop),
        )
      }
    }
  } finally {
    leave()
  }
}

/** A pinned fingerprint does not tell its key's type: where the host has keys of several types, each is asked for. */
async function dialByKeyType(hop: Hop, carry: Carry, options: DialOptions): Promise<Link> {
  let firstRefusal: Fault | null = null
  let trust: HostTrust | null = hop.trust
  while (trust) {
    const judged: { key: Buffer | null } = { key: null }
    try {
      return await dialOnce({ ...hop, trust: noting(trust, judged) }, carry, options)
    } catch (error) {
      if (isNoMatchingHostKey(error)) throw firstRefusal ?? noSuchKeyFault(hop, hop.trust)
      if (!(error instanceof Fault) || error.code !== "host_key_mismatch" || !judged.key) throw error
      firstRefusal ??= error
      trust = trust.after(judged.key)
    }
  }
  throw firstRefusal ?? noSuchKeyFault(hop, hop.trust)
}

function noting(trust: HostTrust, judged: { key: Buffer | null }): HostTrust {
  return {
    ...trust,
    judge: (key) => {
      judged.key = key
      return trust.judge(key)
    },
  }
}

async function dialOnce(hop: Hop, carry: Carry, options: DialOptions): Promise<Link> {
  const { budget } = options
  const late = () => tooSlow(hop)
  const carrier = await budget.spend((signal) => carry(hop, signal), late)
  options.onStep?.("connect")
  try {
    if (carrier.stream.destroyed) throw new DroppedEarly(carrier.stream.errored)
    const reply = holdBack(carrier.stream)
    // Our side of the greeting leaves at once: to wait with it for theirs would cost a round trip.
    const { agreed, authenticated } = shakeHands(hop, carrier, options)
    await budget.spend(() => Promise.race([reply.begun, agreed]), late)
    const leave = await options.limits.enterHandshake()
    try {
      reply.letThrough()
      await budget.spend(() => agreed, late)
    } finally {
      leave()
    }
    return { client: await budget.spend(() => authenticated, late), wire: carrier.wire }
  } catch (error) {
    carrier.abandon()
    throw error
  }
}

/**
 * Keeps what a peer says in the stream's buffer until `letThrough`, so that a host that says nothing takes no turn at the
 * arithmetic. A stream that anybody waits on to be readable does not flow, whoever else listens for its data.
 */
function holdBack(stream: Duplex): { readonly begun: Promise<void>; readonly letThrough: () => void } {
  const { promise: begun, resolve } = Promise.withResolvers<void>()
  const onReadable = () => resolve()
  stream.on("readable", onReadable)
  return { begun, letThrough: () => stream.off("readable", onReadable) }
}

interface Handshake {
  /** Resolves when the host has proved its key. */
  readonly agreed: Promise<void>
  /** Rejects with whatever `agreed` rejects with. */
  readonly authenticated: Promise<Client>
}

function shakeHands(hop: Hop, carrier: Carrier, options: DialOptions): Handshake {
  const client = new ssh2.Client()
  const agreement = Promise.withResolvers<void>()
  const authenticated = new Promise<Client>((resolve, reject) => {
    let refusal: Fault | null = null
    let agreed = false
    const fail = (error: Error) => {
      reject(refusal ?? (!agreed && isDrop(error) ? new DroppedEarly(error) : error))
    }
    // Stays for good: ssh2 reports errors late, and an 'error' without a listener ends the process.
    client.on("error", fail)
    client.once("close", () => fail(new Error("Connection lost before handshake")))
    client.once("handshake", () => {
      agreed = true
      agreement.resolve()
      options.onStep?.("host key")
    })
    client.once("ready", () => {
      options.onStep?.("authentication")
      resolve(client)
    })
    client.connect({
      sock: carrier.stream,
      username: hop.user,
      algorithms: { ...algorithms, serverHostKey: hop.trust.algorithms as ServerHostKeyAlgorithm[] },
      hostVerifier: (key: Buffer) => {
        refusal = hop.trust.judge(key)
        return refusal === null
      },
      authHandler: [authMethod(hop)],
      readyTimeout: 0,
      keepaliveInterval: options.keepaliveMs,
      keepaliveCountMax: keepaliveMisses,
    })
    hurryAuthentication(client, () => options.onSigned?.(client))
    keepKeys(client)
  })
  // Whoever waits for one of them need not wait for the other.
  agreement.promise.catch(() => {})
  authenticated.catch(agreement.reject)
  return { agreed: agreement.promise, authenticated }
}

function authMethod({ user, identity }: Hop): AnyAuthMethod {
  if (identity.kind === "agent") return { type: "agent", username: user, agent: identity.socket }
  return { type: "publickey", username: user, key: identity.key }
}

function isNoMatchingHostKey(error: unknown): boolean {
  return error instanceof Error && error.message.includes("no matching host key format")
}

function tooSlow(hop: Hop): Fault {
  return new Fault("vm_unreachable", `${hop.whom} did not answer within the connect timeout.`)
}
