import type { ClientChannel } from "ssh2"
import { Fault } from "../domain/fault.ts"
import type { CommandResult } from "../domain/transport.ts"
import type { Connection } from "./connection.ts"

export interface CommandLimits {
  readonly timeoutMs: number
  readonly maxOutputBytes: number
}

/** `Session.run`. A command that overruns its time takes the connection with it: nothing else is sure to end it. */
export async function runCommand(
  connection: Connection,
  command: string,
  limits: CommandLimits,
): Promise<CommandResult> {
  const timer = setTimeout(() => {
    const sentence = `A command on ${connection.whom} did not end within ${limits.timeoutMs / 1000} s.`
    connection.fail(new Fault("vm_timeout", sentence))
  }, limits.timeoutMs)
  try {
    return await collect(connection, await connection.exec(command), limits.maxOutputBytes)
  } finally {
    clearTimeout(timer)
  }
}

function collect(connection: Connection, channel: ClientChannel, maxOutputBytes: number): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const forget = connection.onDown(reject)
    const parts: Buffer[] = []
    let room = maxOutputBytes
    const take = (part: Buffer) => {
      if (room > 0) parts.push(part.subarray(0, room))
      room -= part.length
    }
    channel.on("data", take)
    channel.stderr.on("data", take)
    channel.on("error", () => {})
    // With what "exit" told, which may have come together with the channel, before anybody could listen.
    channel.on("close", (code?: number | null) => {
      forget()
      resolve({ exitCode: code ?? null, output: Buffer.concat(parts).toString("utf8") })
    })
    channel.end()
  })
}
