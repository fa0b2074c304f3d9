import { Fault } from "../domain/fault.ts"

/** Status codes of SFTP version 3 (draft-ietf-secsh-filexfer-02, 7). */
export const sftpStatus = {
  eof: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  /** What OpenSSH answers for a name that is longer than the file system takes: nothing can stand under it. */
  badMessage: 5,
  unsupported: 8,
} as const

/** What an SFTP server answered instead of doing it. Never leaves `src/ssh`. */
export class SftpError extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = "SftpError"
    this.status = status
  }
}

export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof SftpError && error.status === status
}

/** Whether the server said that nothing stands at the path. */
export function isAbsence(error: unknown): boolean {
  return hasStatus(error, sftpStatus.noSuchFile) || hasStatus(error, sftpStatus.badMessage)
}

/**
 * A refusal of the server, told as a fault; whatever is a fault already, or a bug of ours, comes back as it is.
 * `doing`: e.g. `writing /etc/app.yml`.
 */
export function refusal(error: unknown, doing: string): unknown {
  if (!(error instanceof SftpError)) return error
  if (error.status === sftpStatus.permissionDenied) {
    return new Fault("vm_permission_denied", `The VM denied ${doing}: the SSH user has no permission.`, {
      cause: error,
    })
  }
  if (error.status === sftpStatus.noSuchFile) {
    return new Fault("write_failed", `The VM failed at ${doing}: the file or its directory does not exist.`, {
      cause: error,
    })
  }
  if (error.status === sftpStatus.badMessage) {
    const sentence = `The VM failed at ${doing}: the name is longer than its file system allows.`
    return new Fault("write_failed", sentence, { cause: error })
  }
  if (/no space|disk full|quota/i.test(error.message)) {
    return new Fault("vm_disk_full", `The VM failed at ${doing}: no space is left.`, { cause: error })
  }
  return new Fault("write_failed", `The VM failed at ${doing} and gave no reason (SFTP status ${error.status}).`, {
    cause: error,
  })
}

/** The connection was dropped before a key was agreed on: sshd does so to some of many at once (MaxStartups). */
export class DroppedEarly extends Error {
  constructor(cause: unknown) {
    super("the connection was dropped before the handshake", { cause })
    this.name = "DroppedEarly"
  }
}

/** @param error of a connection whose key is not agreed on yet */
export function isDrop(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return error.message === "Connection lost before handshake" || hasCode(error, "ECONNRESET", "EPIPE")
}

/** Whether trying again soon can help: nobody listens just now. */
export function isRefusedConnection(error: unknown): boolean {
  return error instanceof Error && hasCode(error, "ECONNREFUSED")
}

function hasCode(error: Error, ...codes: readonly string[]): boolean {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return error.errors.every((each: unknown) => each instanceof Error && hasCode(each, ...codes))
  }
  return "code" in error && typeof error.code === "string" && codes.includes(error.code)
}

/** An error of the network or of ssh2 before a connection could be used. `whom`: e.g. `VM "vm01" (10.0.0.10:22)`. */
export function connectFault(error: unknown, whom: string): Fault {
  if (error instanceof Fault) return error
  const message = error instanceof Error ? error.message : String(error)
  const level = levelOf(error)
  if (level === "client-authentication") return authFault(whom, "the server accepted none of the keys offered", error)
  if (level === "agent") return authFault(whom, "the SSH agent could not be used", error)
  if (/too many authentication failures/i.test(message)) return authFault(whom, "too many keys were refused", error)
  if (message.includes("no matching")) {
    const kind = message.replace(/^.*no matching /, "")
    return new Fault(
      "vm_unsupported",
      `${whom} offers no ${kind} that this service accepts: its SSH server needs a current one.`,
      { cause: error },
    )
  }
  if (level === "handshake" || level === "protocol") {
    return new Fault("vm_unsupported", `${whom} does not speak SSH as it should.`, { cause: error })
  }
  return new Fault("vm_unreachable", `${whom} could not be reached: ${networkReason(error)}.`, { cause: error })
}

function authFault(whom: string, why: string, cause: unknown): Fault {
  return new Fault("vm_auth_failed", `${whom} refused to let us in: ${why}.`, { cause })
}

function levelOf(error: unknown): unknown {
  return error instanceof Error && "level" in error ? error.level : undefined
}

const networkReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens on its port",
  ECONNRESET: "it dropped the connection",
  EPIPE: "it dropped the connection",
  ENOTFOUND: "its name is not known",
  EAI_AGAIN: "its name could not be looked up",
  EHOSTUNREACH: "there is no route to it",
  ENETUNREACH: "there is no route to it",
  ETIMEDOUT: "it did not answer",
}

function networkReason(error: unknown): string {
  for (const [code, reason] of Object.entries(networkReasons)) {
    if (error instanceof Error && hasCode(error, code)) return reason
  }
  return error instanceof DroppedEarly ? "it drops connections before the handshake" : "the connection failed"
}
