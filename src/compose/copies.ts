import type { Logger } from "pino"
import { DirectoryTarget } from "../blobs/directory-target.ts"
import { DiskStoreFiles } from "../blobs/store-files.ts"
import type { Transport } from "../domain/transport.ts"
import { SftpTarget } from "../services/sftp-target.ts"
import type { Copies } from "../services/verifier.ts"
import type { Settings } from "../settings.ts"
import type { SshTransportOptions } from "../ssh/transport.ts"
import { type Secrets, sshOptionsOf } from "./stores.ts"

/** Of the place for copies: one host may have a quarter of them, which is what copying and verifying need at once. */
const copySessions = 32

export function copiesOf(
  { backups: { location, remote } }: Settings,
  { catalog, transport }: { readonly catalog: Copies["catalog"]; readonly transport: Transport },
): Copies | null {
  if (!remote) return null
  const target =
    remote.kind === "directory" ? new DirectoryTarget(remote.path) : new SftpTarget({ ...remote, transport })
  return { catalog, target, files: new DiskStoreFiles(location) }
}

/** Its connections are no VM's, and count in no metric of VMs. */
export function copyTransportOptions(
  settings: Settings,
  { secrets, logger }: { secrets: Secrets; logger: Logger },
): SshTransportOptions {
  return {
    ...sshOptionsOf(settings, secrets),
    poolSize: copySessions,
    onEvent: ({ kind, durationMs, fault }) => {
      const level = fault === null ? "info" : "warn"
      logger[level]({ ms: Math.round(durationMs), code: fault?.code, detail: fault?.message }, `copies: ssh ${kind}`)
    },
  }
}

export function copyLog(logger: Logger): (problem: string | null) => void {
  return (problem) => {
    if (problem === null) logger.info("versions are copied off this host again")
    else logger.error({ problem }, "versions are not copied off this host")
  }
}
