import type { ConfigType, FormatName } from "../domain/config-type.ts"
import { Inventory } from "../domain/inventory.ts"
import type { Vm } from "../domain/vm.ts"
import { parseProxyJump } from "./addresses.ts"
import { keyText, type Mistakes } from "./mistakes.ts"
import { type LocalPath, optionalPath } from "./paths.ts"
import type { RawSettings, RawType, RawVm } from "./raw.ts"
import { defaultTypeOptions } from "./shape.ts"

const pathsAt = ["config_management", "config_paths"] as const

/** The VMs and config types of settings whose shape was found right; the mistakes say what does not fit together. */
export function buildInventory(raw: RawSettings, local: LocalPath, mistakes: Mistakes): Inventory {
  const { config_paths: paths, config_types: options } = raw.config_management
  const allowed = raw.remote_execution.allowed_vm_ids ? new Set(raw.remote_execution.allowed_vm_ids) : null
  const vms = Object.entries(raw.vms)
    .filter(([vmId]) => allowed?.has(vmId) ?? true)
    .map(([vmId, vm]) => buildVm(vmId, vm, raw, local))
  const types = Object.entries(paths).map(([type, rules]) => {
    const own = Object.hasOwn(options, type) ? options[type] : undefined
    const format = own?.format ?? guessFormat(type, rules, mistakes)
    if (own?.yaml_version && format !== "yaml") {
      const at = ["config_management", "config_types", type, "yaml_version"]
      mistakes.add(at, `stands at a type of format ${format}; expected it at yaml only`)
    }
    return buildType(type, format, own ?? (defaultTypeOptions() as unknown as RawType), schemaFileOf(raw, type))
  })
  const inventory = new Inventory(vms, types, new Map(Object.entries(paths)))
  checkResultingPaths(inventory, paths, mistakes)
  return inventory
}

/** File of a type's schema under schema_dir; null: none. */
export function schemaFileOf(raw: Pick<RawSettings, "config_management">, type: string): string | null {
  const { config_schemas: files, config_types: options } = raw.config_management
  if (Object.hasOwn(options, type) && options[type]?.schema === "none") return null
  return Object.hasOwn(files, type) ? (files[type] ?? null) : null
}

function buildVm(vmId: string, raw: RawVm, { ssh }: RawSettings, local: LocalPath): Vm {
  const role = raw.role || null
  const labels = { ...raw.labels, ...(role === null ? {} : { role }) }
  const hostKeys = typeof raw.host_key === "string" ? [raw.host_key] : (raw.host_key ?? [])
  return {
    vmId,
    name: raw.name ?? vmId,
    host: raw.ip,
    port: raw.ssh_port ?? ssh.port,
    user: raw.ssh_user ?? ssh.user,
    role,
    labels,
    enabled: raw.enabled,
    hostKeys,
    privateKeyPath: optionalPath(raw.private_key_path, local),
    proxyJump: parseProxyJump(raw.proxy_jump ?? ssh.proxy_jump),
  }
}

function buildType(type: string, format: FormatName, raw: RawType, schemaFile: string | null): ConfigType {
  return {
    type,
    format,
    schemaFile,
    yamlVersion: raw.yaml_version ?? null,
    mode: Number.parseInt(raw.mode, 8),
    keepOwner: raw.keep_owner,
    maxBytes: raw.max_bytes,
    requireIfMatch: raw.require_if_match,
    followSymlinks: raw.follow_symlinks,
    become: raw.become,
    sftpServer: raw.sftp_server || null,
  }
}

function guessFormat(type: string, rules: Readonly<Record<string, string>>, mistakes: Mistakes): FormatName {
  const formats = new Set(Object.values(rules).map(formatOfPath))
  if (formats.size > 1) {
    const all = [...formats].sort().join(", ")
    mistakes.add(
      [...pathsAt, type],
      `has paths of several formats (${all}); expected one, or config_types.${type}.format`,
    )
  }
  const [format = "text"] = formats
  return format
}

function formatOfPath(path: string): FormatName {
  if (/\.ya?ml$/i.test(path)) return "yaml"
  if (/\.json$/i.test(path)) return "json"
  return /(?:^|\/|\.)env$/i.test(path) && path.toLowerCase().endsWith(".env") ? "env" : "text"
}

/** Of a path as JSON, in bytes: it stands in the header of its versions beside a reason, and that has 4096 in all. */
const longestPath = 2000

/** Looks at the paths with their placeholders filled in: still well-formed, and no file under two types. */
function checkResultingPaths(
  inventory: Inventory,
  paths: Readonly<Record<string, Readonly<Record<string, string>>>>,
  mistakes: Mistakes,
): void {
  const told = new Set<string>()
  for (const vm of inventory.vms) {
    const owners = new Map<string, string>()
    for (const type of Object.keys(paths)) {
      const path = inventory.pathOf(vm, type)
      if (path === null) continue
      if (!isRemotePath(path) && !told.has(type)) {
        told.add(type)
        mistakes.add(
          [...pathsAt, type],
          `gives no usable path for ${keyText(vm.vmId)}; expected a VM name without "/" in it`,
        )
      }
      const length = Buffer.byteLength(JSON.stringify(path))
      if (length > longestPath && !told.has(type)) {
        told.add(type)
        mistakes.add([...pathsAt, type], `gives a path of ${length} bytes; expected at most ${longestPath}`)
      }
      const owner = owners.get(path)
      if (owner === undefined) owners.set(path, type)
      if (owner === undefined || told.has(`${owner}/${type}`)) continue
      told.add(`${owner}/${type}`)
      mistakes.add(
        [...pathsAt, type],
        `is the same file as ${owner} on ${keyText(vm.vmId)}; expected a file of its own`,
      )
    }
  }
}

function isRemotePath(path: string): boolean {
  const segments = path.split("/")
  if (segments.length < 2 || segments[0] !== "" || /\p{Cc}/u.test(path)) return false
  return segments.slice(1).every((segment) => segment !== "" && segment !== "." && segment !== "..")
}
