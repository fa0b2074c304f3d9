import { Fault } from "../domain/fault.ts"
import type { SftpNotStarted, SftpRequest } from "./internals.ts"

/** Where Debian, Red Hat and Alpine or SUSE put it. */
const usualPlaces = [
  "/usr/lib/openssh/sftp-server",
  "/usr/libexec/openssh/sftp-server",
  "/usr/lib/ssh/sftp-server",
] as const

const notFound = 127

/** SFTP with root's rights: `sudo -n`, which never asks for a password. `sftpServer`: its path; null: looked for. */
export function becomeRequest(sftpServer: string | null): SftpRequest {
  const places = sftpServer === null ? usualPlaces : [sftpServer]
  const tries = places.map((place) => `if [ -x ${quoted(place)} ]; then exec sudo -n -- ${quoted(place)}; fi`)
  return { command: `sh -c ${quoted([...tries, `exit ${notFound}`].join("; "))}` }
}

export function becomeFault(error: SftpNotStarted, whom: string, sftpServer: string | null): Fault {
  if (error.exitCode === notFound) {
    const where = sftpServer === null ? `in none of ${usualPlaces.join(", ")}` : `not at ${sftpServer}`
    return new Fault(
      "vm_unsupported",
      `become: on ${whom} the program sftp-server was found ${where}; set sftp_server of the config type.`,
      { cause: error },
    )
  }
  return new Fault(
    "vm_permission_denied",
    `become: on ${whom} "sudo -n" did not start sftp-server; the SSH user needs a NOPASSWD rule for it.`,
    { cause: error },
  )
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
