import { join } from "node:path"
import { stringify } from "yaml"
import { type DemoVm, paths } from "./fleet.ts"

/** Where the service keeps what, in the demo's folder. */
export interface Places {
  readonly settings: string
  readonly knownHosts: string
  readonly sshKeys: string
  readonly clientKey: string
  readonly backupKey: string
  readonly backups: string
  readonly state: string
}

export function placesIn(dir: string): Places {
  return {
    settings: join(dir, "config.yml"),
    knownHosts: join(dir, "known_hosts"),
    sshKeys: join(dir, "ssh"),
    clientKey: join(dir, "ssh", "id_ecdsa"),
    backupKey: join(dir, "backup.key"),
    backups: join(dir, "backups"),
    state: join(dir, "state"),
  }
}

/** A settings file as an operator would write it, with the project's example schemas. */
export function settingsText(vms: readonly DemoVm[], host: string, port: number, places: Places): string {
  return stringify({
    vms: Object.fromEntries(
      vms.map((vm) => [
        vm.vmId,
        { name: vm.name, ip: host, ssh_port: vm.port, ssh_user: "thadmin", role: vm.role, labels: { site: "lab" } },
      ]),
    ),
    // Retries are for networks: on loopback a VM that is down is down.
    remote_execution: { default_timeout: 10, default_retry: 0, key_storage_path: places.sshKeys },
    config_management: {
      backup_location: places.backups,
      // The demo's past is to be seen, however old it is by now.
      backup_retention_days: 36_500,
      encryption_key_path: places.backupKey,
      config_paths: Object.fromEntries(Object.entries(paths).map(([type, path]) => [type, { default: path }])),
      config_schemas: {
        central: "central_config.schema.json",
        vm_specific: "vm_config.schema.json",
        env: "env.schema.json",
      },
      schema_dir: join(import.meta.dirname, "..", "configs", "schemas"),
    },
    ssh: { known_hosts_path: places.knownHosts, private_key_path: places.clientKey },
    server: { host, port, cors_origins: ["http://localhost:*"] },
    state_dir: places.state,
  })
}
