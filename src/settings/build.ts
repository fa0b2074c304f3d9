import type { Inventory } from "../domain/inventory.ts"
import type { Settings } from "../settings.ts"
import { parseProxyJump } from "./addresses.ts"
import { type LocalPath, optionalPath } from "./paths.ts"
import type { RawSettings } from "./raw.ts"
import { parseRemotePath } from "./remote-path.ts"

/** Settings out of what was found right; seconds become milliseconds, paths absolute. */
export function buildSettings(file: string, raw: RawSettings, inventory: Inventory, local: LocalPath): Settings {
  const { remote_execution: execution, config_management: management, server, limits } = raw
  const files = new Map<string, string>()
  for (const type of inventory.types) if (type.schemaFile !== null) files.set(type.type, type.schemaFile)
  return freeze({
    file,
    inventory,
    schemas: { dir: local(management.schema_dir), files },
    execution: {
      timeoutMs: milliseconds(execution.default_timeout),
      retries: execution.default_retry,
      poolSize: execution.connection_pool_size,
      keyStoragePath: local(execution.key_storage_path),
    },
    ssh: buildSsh(raw.ssh, local),
    backups: {
      location: local(management.backup_location),
      retentionDays: management.backup_retention_days,
      keyPath: optionalPath(management.encryption_key_path, local),
      oldKeyPaths: management.encryption_old_key_paths.map(local),
      remote: parseRemotePath(management.backup_remote_path, {
        port: raw.ssh.port,
        proxyJump: parseProxyJump(raw.ssh.proxy_jump),
      }),
    },
    server: {
      host: server.host,
      port: server.port,
      tls: server.tls_cert_path ? { certPath: local(server.tls_cert_path), keyPath: local(server.tls_key_path) } : null,
      corsOrigins: server.cors_origins,
    },
    stateDir: local(raw.state_dir),
    limits: {
      bodyBytes: limits.body_bytes,
      requestsPerMinute: limits.requests_per_minute,
      connections: limits.connections,
    },
  })
}

function buildSsh(ssh: RawSettings["ssh"], local: LocalPath): Settings["ssh"] {
  return {
    user: ssh.user,
    port: ssh.port,
    knownHostsPath: local(ssh.known_hosts_path),
    privateKeyPath: optionalPath(ssh.private_key_path, local),
    passphraseEnv: ssh.passphrase_env || null,
    agent: ssh.agent,
    proxyJump: parseProxyJump(ssh.proxy_jump),
    connectTimeoutMs: milliseconds(ssh.connect_timeout),
    keepaliveMs: milliseconds(ssh.keepalive),
    maxHandshakes: ssh.max_handshakes,
    idleTimeoutMs: milliseconds(ssh.idle_timeout),
  }
}

function milliseconds(seconds: number): number {
  return Math.round(seconds * 1000)
}

/** Freezes plain records and lists, all the way down. */
function freeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value
  for (const member of Object.values(value)) freeze(member)
  return Object.freeze(value)
}
