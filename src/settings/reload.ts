import { isDeepStrictEqual } from "node:util"
import type { Settings } from "../settings.ts"

/** What the running parts were made with. Everything else is taken in by a reload. */
const fixedSettings: readonly (readonly [name: string, read: (settings: Settings) => unknown])[] = [
  ["server.host", ({ server }) => server.host],
  ["server.port", ({ server }) => server.port],
  ["server.tls_cert_path", ({ server }) => server.tls?.certPath],
  ["server.tls_key_path", ({ server }) => server.tls?.keyPath],
  ["server.cors_origins", ({ server }) => server.corsOrigins],
  ["state_dir", ({ stateDir }) => stateDir],
  ["config_management.backup_location", ({ backups }) => backups.location],
  ["config_management.encryption_key_path", ({ backups }) => backups.keyPath],
  ["config_management.encryption_old_key_paths", ({ backups }) => backups.oldKeyPaths],
  ["config_management.backup_remote_path", ({ backups }) => backups.remote],
  ["config_management.schema_dir", ({ schemas }) => schemas.dir],
  ["remote_execution.default_timeout", ({ execution }) => execution.timeoutMs],
  ["remote_execution.default_retry", ({ execution }) => execution.retries],
  ["remote_execution.connection_pool_size", ({ execution }) => execution.poolSize],
  ["remote_execution.key_storage_path", ({ execution }) => execution.keyStoragePath],
  ["ssh.known_hosts_path", ({ ssh }) => ssh.knownHostsPath],
  ["ssh.private_key_path", ({ ssh }) => ssh.privateKeyPath],
  ["ssh.passphrase_env", ({ ssh }) => ssh.passphraseEnv],
  ["ssh.agent", ({ ssh }) => ssh.agent],
  ["ssh.connect_timeout", ({ ssh }) => ssh.connectTimeoutMs],
  ["ssh.keepalive", ({ ssh }) => ssh.keepaliveMs],
  ["ssh.max_handshakes", ({ ssh }) => ssh.maxHandshakes],
  ["ssh.idle_timeout", ({ ssh }) => ssh.idleTimeoutMs],
]

/** Names of the settings that differ and that only a restart can take in. Empty: `next` can be taken in now. */
export function planReload(current: Settings, next: Settings): readonly string[] {
  return fixedSettings.flatMap(([name, read]) => (isDeepStrictEqual(read(current), read(next)) ? [] : [name]))
}
