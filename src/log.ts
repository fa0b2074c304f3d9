import { isatty } from "node:tty"
import { type DestinationStream, type Logger, pino } from "pino"
import type { Fault } from "./domain/fault.ts"
import type { Operation } from "./domain/operation.ts"

/** JSON lines on standard output; readable ones on a terminal. Bodies and secrets are never handed to it. */
export async function openLog(level: string): Promise<Logger> {
  const options = { level, base: null, timestamp }
  if (!isatty(1)) return pino(options, standardOutput())
  const { default: pretty } = await import("pino-pretty")
  return pino(options, pretty({ sync: true, ignore: "pid,hostname" }))
}

/** Characters; from here on lines do not wait for the turn's end. */
const mostWaiting = 8 * 1024

/**
 * Standard output, written to at the end of a turn of the event loop: the lines of requests that are served together share a
 * system call, which costs more than all the rest of a line.
 */
function standardOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: true })
  let waiting = ""
  const flush = (): void => {
    const lines = waiting
    waiting = ""
    if (lines !== "") output.write(lines)
  }
  process.once("exit", flush)
  return {
    write: (line) => {
      if (waiting === "") setImmediate(flush)
      waiting += line
      if (waiting.length > mostWaiting) flush()
    },
  }
}

let lastMs = 0
let lastText = ""

/** The time as pino wants it; lines of one millisecond have the same. */
function timestamp(): string {
  const now = Date.now()
  if (now !== lastMs) {
    lastMs = now
    lastText = `,"time":"${new Date(now).toISOString()}"`
  }
  return lastText
}

/** One line per operation that has ended. The cause of a fault is for the log only. */
export function operationLog(logger: Logger): (operation: Operation, fault: Fault | null) => void {
  return (operation, fault) => {
    const { operationId, kind, vmId, type, state, fileState, actor, requestId, startedAt, finishedAt } = operation
    const ms = finishedAt === null ? null : Date.parse(finishedAt) - Date.parse(startedAt)
    const line = { operationId, kind, vmId, type, state, fileState, actor, requestId, ms, code: fault?.code }
    if (fault === null) logger.info(line, "operation")
    else if (fault.code === "internal_error") logger.error({ ...line, err: fault.cause }, "operation")
    else logger.warn({ ...line, detail: fault.message, cause: causeOf(fault) }, "operation")
  }
}

function causeOf({ cause }: Fault): string | undefined {
  return cause instanceof Error ? cause.message : undefined
}
