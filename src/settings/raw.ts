import type { FormatName } from "../domain/config-type.ts"

/** Our sections once they were checked and their defaults filled in (schemas/settings.schema.json). */
export interface RawSettings {
  readonly vms: Readonly<Record<string, RawVm>>
  readonly remote_execution: {
    readonly default_timeout: number
    readonly default_retry: number
    readonly connection_pool_size: number
    readonly key_storage_path: string
    readonly allowed_vm_ids?: readonly string[]
  }
  readonly config_management: {
    readonly backup_location: string
    readonly backup_retention_days: number
    readonly encryption_key_path: string
    readonly encryption_old_key_paths: readonly string[]
    readonly backup_remote_path: string
    readonly config_paths: Readonly<Record<string, Readonly<Record<string, string>>>>
    readonly config_schemas: Readonly<Record<string, string>>
    readonly schema_dir: string
    readonly config_types: Readonly<Record<string, RawType>>
  }
  readonly server: {
    readonly host: string
    readonly port: number
    readonly tls_cert_path: string
    readonly tls_key_path: string
    readonly cors_origins: readonly string[]
  }
  readonly state_dir: string
  readonly ssh: {
    readonly user: string
    readonly port: number
    readonly known_hosts_path: string
    readonly private_key_path: string
    readonly passphrase_env: string
    readonly agent: boolean
    readonly proxy_jump: string
    readonly connect_timeout: number
    readonly keepalive: number
    readonly max_handshakes: number
    readonly idle_timeout: number
  }
  readonly limits: {
    readonly body_bytes: number
    readonly requests_per_minute: number
    readonly connections: number
  }
}

export interface RawVm {
  readonly name?: string
  readonly ip: string
  readonly role?: string
  readonly enabled: boolean
  readonly ssh_user?: string
  readonly ssh_port?: number
  readonly labels: Readonly<Record<string, string>>
  readonly host_key?: string | readonly string[]
  readonly private_key_path?: string
  readonly proxy_jump?: string
}

export interface RawType {
  readonly schema?: "none"
  readonly format?: FormatName
  readonly yaml_version?: "1.1" | "1.2"
  readonly mode: string
  readonly keep_owner: boolean
  readonly max_bytes: number
  readonly require_if_match: boolean
  readonly follow_symlinks: boolean
  readonly become: boolean
  readonly sftp_server: string
}
