import { Fault } from "../domain/fault.ts"
import { cut } from "./cut.ts"
import { type Carry, type DialOptions, dial, type Hop, type Link, overTcp } from "./dial.ts"

/**
 * A connection through a jump host: an SSH connection inside a `direct-tcpip` channel of another (RFC 4254, 7.2).
 * The jump host's key is verified as any other; it sees only what is encrypted for the host behind it.
 */
export async function dialThrough(jump: Hop, hop: Hop, options: DialOptions): Promise<Link> {
  // What is told is told of the host behind.
  const link = await dial(jump, overTcp, { ...options, onStep: undefined, onSigned: undefined })
  try {
    return await dial(hop, over(link, jump), { ...options, retries: 0 })
  } catch (error) {
    cut(link.wire)
    throw error
  }
}

function over(link: Link, jump: Hop): Carry {
  return (hop, signal) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason))
      link.client.once("close", () => reject(unreachable(jump, hop, new Error("the jump host closed the connection"))))
      link.client.forwardOut("127.0.0.1", 0, hop.host, hop.port, (error, stream) => {
        if (error) return reject(unreachable(jump, hop, error))
        stream.on("error", () => {})
        resolve({ stream, wire: link.wire, abandon: () => stream.destroy() })
      })
    })
}

function unreachable(jump: Hop, hop: Hop, cause: unknown): Fault {
  return new Fault("vm_unreachable", `${hop.whom} could not be reached through ${jump.whom}.`, { cause })
}
