import type { ConfigType } from "../domain/config-type.ts"
import type { Vm } from "../domain/vm.ts"
import type { Settings } from "../settings.ts"

/** What the settings come to, for `config-manager check`: paths absolute, defaults filled in, never a key or a passphrase. */
export function describeSettings(settings: Settings): string {
  const { server, backups, ssh, inventory, execution, schemas } = settings
  const own: readonly (readonly [string, string])[] = [
    ["settings", settings.file],
    ["listens on", `${server.tls ? "https" : "http"}://${urlHost(server.host)}:${server.port}${portNote(server.port)}`],
    ...(server.tls ? ([["certificate", `${server.tls.certPath}, key ${server.tls.keyPath}`]] as const) : []),
    ["state", settings.stateDir],
    ["backups", `${backups.location}, kept ${backups.retentionDays} days after they were superseded`],
    [
      "backup key",
      backups.keyPath ?? "from the environment (a key file or a passphrase), for encryption_key_path is empty",
    ],
    ...backups.oldKeyPaths.map((path) => ["old backup key", path] as const),
    ["copies go to", backups.remote?.name ?? "nowhere off this host (backup_remote_path is empty)"],
    ["schemas", schemas.dir],
    ["SSH keys", execution.keyStoragePath],
    ["SSH key", sharedKeys(ssh)],
    ["known hosts", ssh.knownHostsPath],
  ]
  const lines = own.map(([name, text]) => `${`${name}:`.padEnd(16)}${text}`)
  lines.push("", `config types (${inventory.types.length})`, ...inventory.types.map(typeLine))
  lines.push("", `VMs (${inventory.vms.length})`)
  for (const vm of inventory.vms) {
    lines.push(vmLine(vm))
    for (const { type } of inventory.types) {
      const path = inventory.pathOf(vm, type)
      if (path !== null) lines.push(`    ${type}: ${path}`)
    }
  }
  return `${lines.join("\n")}\n`
}

function typeLine(type: ConfigType): string {
  const yaml = type.yamlVersion ? ` ${type.yamlVersion}` : ""
  const schema = type.schemaFile ?? "none"
  return `  ${type.type}: ${type.format}${yaml}, schema ${schema}, at most ${type.maxBytes} bytes${type.become ? ", as root" : ""}`
}

function vmLine(vm: Vm): string {
  const { proxyJump: jump, hostKeys, privateKeyPath } = vm
  const details = [
    vm.enabled ? "" : "disabled",
    jump ? `by way of ${jump.user}@${urlHost(jump.host)}:${jump.port}` : "",
    privateKeyPath ? `key ${privateKeyPath}` : "",
    hostKeys.length > 0 ? `host key pinned` : "",
  ].filter((detail) => detail !== "")
  return [`  ${vm.vmId}: ${vm.user}@${urlHost(vm.host)}:${vm.port}`, ...details].join(", ")
}

function sharedKeys(ssh: Settings["ssh"]): string {
  const agent = ssh.agent ? "the SSH agent" : "no agent"
  return `${ssh.privateKeyPath ?? "none"} where a VM has none of its own, then ${agent}`
}

function urlHost(host: string): string {
  return host.includes(":") ? `[${host}]` : host
}

function portNote(port: number): string {
  return port === 0 ? " (a free port)" : ""
}
