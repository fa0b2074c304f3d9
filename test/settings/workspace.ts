import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import type { TestContext } from "node:test"
import { SettingsError } from "../../src/settings/mistakes.ts"
import { loadSettings, type Settings } from "../../src/settings.ts"

/** A temporary working directory with the three schemas of the original; gone after the test. */
export interface Workspace {
  readonly directory: string
  readonly environment: { readonly home: string; readonly cwd: string }
  write(file: string, content: string | Uint8Array): Promise<string>
  load(text: string | Uint8Array): Promise<Settings>
  /** The lines of the error less its first, or null where the settings are taken. */
  mistakes(text: string | Uint8Array): Promise<readonly string[] | null>
}

export async function makeWorkspace(t: Pick<TestContext, "after">): Promise<Workspace> {
  const directory = await mkdtemp(join(tmpdir(), "cm-settings-"))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const environment = { home: "/home/operator", cwd: directory }
  const write = async (file: string, content: string | Uint8Array) => {
    const path = join(directory, file)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
    return path
  }
  for (const name of ["central_config", "vm_config", "env"]) await write(`configs/schemas/${name}.schema.json`, "{}")
  const load = async (text: string | Uint8Array) => {
    await write("config.yml", text)
    return loadSettings("config.yml", environment)
  }
  const mistakes = async (text: string | Uint8Array) => {
    try {
      await load(text)
      return null
    } catch (error) {
      if (!(error instanceof SettingsError)) throw error
      return error.message.split("\n").slice(1)
    }
  }
  return { directory, environment, write, load, mistakes }
}

/** The least that is taken. */
export const leastSettings = `vms:
  vm01: { ip: 10.0.0.10 }
config_management:
  config_paths:
    central: { default: /opt/app/central.yml }
`

/** Shaped as the original Python service's file, other tools' sections included. */
export const originalSettings = `# Configuration of the whole system; shared by all tools
network:
  subnet: "10.0.0.0/24"
  ports: &ports { api: 8000, db: 5432 }
vms:
  vm01:
    name: "threat-hunt-vm01"
    ip: "10.0.0.10"
    role: "ingest-parser"
    enabled: true
    ssh_user: "thadmin"
    ssh_port: 22
  vm02:
    name: "threat-hunt-vm02"
    ip: "10.0.0.11"
    role: "database"
    enabled: true
    ssh_user: "thadmin"
    ssh_port: 22
  vm03:
    name: "threat-hunt-vm03"
    ip: "10.0.0.12"
    role: "analysis-jupyter"
    enabled: true
    ssh_user: "thadmin"
    ssh_port: 2222
  vm04:
    name: "threat-hunt-vm04"
    ip: "10.0.0.13"
    role: "orchestrator-n8n"
    enabled: false
    ssh_user: "root"
    ssh_port: 22
services: { n8n: *ports, jupyter: { port: 8888 } }
database: { host: 10.0.0.11, password: "\${POSTGRES_PASSWORD}" }
logging: { level: info, level: debug }
results: !!python/tuple [1, 2]
security: { allow: [yes, 0777, 12:30] }
ai: ~
backup: nightly
repository: { main_repo_path: "~/th_timmy" }
hardening: { ? [complex, key] : value }
remote_execution:
  default_timeout: 30
  default_retry: 3
  max_parallel_commands: 5
  connection_pool_size: 10
  key_storage_type: "encrypted_dir"
  key_storage_path: "~/.ssh/th_timmy_keys"
  key_rotation_days: 90
  audit_log_destination: "file"
  checksum_algorithm: "sha256"
config_management:
  backup_location: "/var/backups/th_timmy/config"
  backup_retention_days: 90
  encryption_method: "AES"
  encryption_key_path: ""
  backup_remote_path: ""
  config_paths:
    central:
      default: "/opt/th_timmy/configs/central.yml"
    vm_specific:
      vm01: "/opt/th_timmy/configs/vm01-config.yml"
      vm02: "/opt/th_timmy/configs/vm02-config.yml"
      default: "/opt/th_timmy/configs/vm-config.yml"
    env:
      default: "/opt/th_timmy/.env"
  config_schemas:
    central: "central_config.schema.json"
    vm_specific: "vm_config.schema.json"
    env: "env.schema.json"
  schema_dir: "configs/schemas"
`
