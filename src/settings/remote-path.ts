import type { ProxyJump, Vm } from "../domain/vm.ts"
import { parseProxyJump } from "./addresses.ts"

/** Where copies of the backups go off this host. */
export type RemoteBackups =
  | { readonly kind: "directory"; readonly name: string; readonly path: string }
  | { readonly kind: "sftp"; readonly name: string; readonly host: Vm; readonly path: string }

/** Under this id the host of the copies finds its own key, `id_ed25519_backup_remote`; no VM may have it. */
export const remoteVmId = "backup_remote"

interface SshDefaults {
  readonly port: number
  readonly proxyJump: ProxyJump | null
}

/** Reads a directory, `user@host:/path` or `sftp://user@host:port/path`; null: it is none of these, or empty. */
export function parseRemotePath(text: string, defaults: SshDefaults): RemoteBackups | null {
  if (text.startsWith("/")) return { kind: "directory", name: text, path: trimmed(text) }
  const found = /^sftp:\/\/([^/]+)(\/.*)$/.exec(text) ?? /^([^@/]+@(?:\[[^\]/]+\]|[^:/]+)):(\/.*)$/.exec(text)
  if (!found) return null
  const [, address = "", path = ""] = found
  const withPort = /(?:\]|@[^[\]:]+):[0-9]+$/.test(address) ? address : `${address}:${defaults.port}`
  const at = parseProxyJump(withPort)
  if (!at) return null
  const host: Vm = {
    ...{
      vmId: remoteVmId,
      name: remoteVmId,
      role: null,
      labels: {},
      enabled: true,
      hostKeys: [],
      privateKeyPath: null,
    },
    ...{ host: at.host, port: at.port, user: at.user, proxyJump: defaults.proxyJump },
  }
  return { kind: "sftp", name: `sftp://${withPort}${trimmed(path)}`, host, path: trimmed(path) }
}

function trimmed(path: string): string {
  return path.length > 1 ? path.replace(/\/+$/, "") || "/" : path
}
