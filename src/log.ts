import { isatty } from "node:tty"
import { type Logger, pino } from "pino"
import type { Fault } from "./domain/fault.ts"
import type { Operation } from "./domain/operation.ts"
import { StartError } from "./domain/start-error.ts"
import { LogOutput } from "./log-output.ts"

const levels: readonly string[] = [...Object.keys(pino.levels.values), "silent"]

/**
 * JSON lines on standard output; readable ones on a terminal. Bodies and secrets are never handed to it.
 * @param given CONFIG_MANAGER_LOG_LEVEL; undefined or empty: the usual @throws {StartError} for a level that there is none of
 */
export async function openLog(given: string | undefined): Promise<Logger> {
  const level = given?.toLowerCase() || "info"
  if (!levels.includes(level)) {
    throw new StartError(`CONFIG_MANAGER_LOG_LEVEL is ${JSON.stringify(given)}; it is one of ${levels.join(", ")}.`)
  }
  const options = { level, base: null, timestamp }
  if (!isatty(1)) return pino(options, new LogOutput())
  const { default: pretty } = await import("pino-pretty")
  return pino(options, pretty({ sync: true, ignore: "pid,hostname" }))
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
