import type { Mistakes } from "./mistakes.ts"
import { editDistance, nearestHint } from "./nearest.ts"
import { remoteVmId } from "./remote-path.ts"
import { ourSections, settingsSchema } from "./schema.ts"
import type { Raw, Source } from "./source.ts"

/** What a later release will act on. To take it for granted and not do it would be a lie: set, it stops the start. */
const notActedOn: readonly { readonly path: readonly string[]; readonly remedy: string }[] = [
  {
    path: ["auth", "tokens"],
    remedy: "whoever reaches the service may use it, so keep it on loopback or behind a proxy that checks",
  },
  { path: ["schedules"], remedy: "start backups by POST /backups from a timer of your own" },
  { path: ["webhooks"], remedy: "nothing would be sent" },
  { path: ["config_management", "config_types", "*", "check_command"], remedy: "it would not be run" },
  { path: ["config_management", "config_types", "*", "reload_command"], remedy: "it would not be run" },
  { path: ["config_management", "config_types", "*", "health_command"], remedy: "it would not be run" },
]

/** Looking for a near name takes time where there are many names: after so many mistakes nobody needs hints any more. */
const maxHints = 50

/** Rules that look at several settings at once. They take values as they come: shapes are told of elsewhere. */
export function checkRules(source: Source, mistakes: Mistakes): void {
  checkSectionNames(source, mistakes)
  const { root } = source
  checkVms(root, mistakes)
  checkAllowedVms(root, mistakes)
  checkPaths(root, mistakes)
  checkTypes(root, mistakes)
  checkServer(root, mistakes)
  for (const { path, remedy } of notActedOn) {
    for (const found of valuesAt(root, path)) {
      if (isBlank(found.value)) continue
      mistakes.add(found.path, `is not acted on by this version: remove it (${remedy}); expected none`)
    }
  }
}

/** An unknown section that is all but one of ours, while ours is missing, is a slip and not another tool's section. */
function checkSectionNames(source: Source, mistakes: Mistakes): void {
  for (const name of source.names) {
    if (ourSections.has(name)) continue
    const near = [...ourSections].find((ours) => !source.names.includes(ours) && isSlip(name, ours, source))
    if (near) mistakes.add([name], `is one letter off a section of ours; expected ${near}, or a name less like it`)
  }
}

/** Short names (`ssh` and `ssl`, `auth` and `oauth`) are near to sections of other tools: there, the keys must be ours as well. */
function isSlip(name: string, ours: string, source: Source): boolean {
  if (Math.abs(name.length - ours.length) > 1 || editDistance(name, ours) !== 1) return false
  if (ours.length > 4 || settingsSchema.required?.includes(ours)) return true
  const known = Object.keys(settingsSchema.properties[ours]?.properties ?? {})
  const keys = source.keysOf(name)
  return keys.length > 0 && keys.every((key) => known.includes(key))
}

/** What stands beside the directories of VMs in backup_location, or in the place of its copies, and is none. */
const ownFiles: ReadonlySet<string> = new Set([
  ...["clock.json", "keyring.json", "notes.jsonl", "config-manager-copies.txt", "config-manager-service.txt"],
  ...["lock.db", "lock.db-journal", "lock.db-shm", "lock.db-wal"],
])

function checkVms(root: Raw, mistakes: Mistakes): void {
  for (const [vmId, vm] of entries(root.vms)) {
    // On some file systems names that differ in case only are one.
    if (ownFiles.has(vmId.toLowerCase())) {
      mistakes.add(
        ["vms", vmId],
        "cannot be a VM's id; expected another one (a file of ours in backup_location has it)",
      )
    }
    if (vmId === "default") {
      mistakes.add(["vms", vmId], `cannot be a VM's id; expected another one ("default" has a meaning in config_paths)`)
    }
    if (vmId === remoteVmId) {
      mistakes.add(["vms", vmId], "cannot be a VM's id; expected another one (the host of backup_remote_path has it)")
    }
    const { role, labels } = recordOf(vm)
    const label = recordOf(labels).role
    if (typeof label !== "string" || typeof role !== "string" || role === "" || label === role) continue
    mistakes.add(
      ["vms", vmId, "labels", "role"],
      "differs from the VM's role, which is the label role too; expected one of them",
    )
  }
}

function checkAllowedVms(root: Raw, mistakes: Mistakes): void {
  const known = new Set(Object.keys(recordOf(root.vms)))
  const allowed = recordOf(root.remote_execution).allowed_vm_ids
  if (!Array.isArray(allowed)) return
  for (const [index, vmId] of allowed.entries()) {
    if (typeof vmId !== "string" || known.has(vmId)) continue
    mistakes.add(["remote_execution", "allowed_vm_ids", index], unknownVm(vmId, known, "", mistakes))
  }
}

function checkPaths(root: Raw, mistakes: Mistakes): void {
  const known = new Set(Object.keys(recordOf(root.vms)))
  for (const [type, rules] of entries(recordOf(root.config_management).config_paths)) {
    for (const [key, path] of entries(rules)) {
      const at = ["config_management", "config_paths", type, key]
      checkPathKey(key, at, known, mistakes)
      if (typeof path !== "string" || !/[{}]/.test(path.replaceAll("{vmId}", "").replaceAll("{name}", ""))) continue
      mistakes.add(at, "has a placeholder that is not filled in; expected {vmId} or {name}, and no other braces")
    }
  }
}

function checkPathKey(key: string, at: readonly string[], known: ReadonlySet<string>, mistakes: Mistakes): void {
  if (key === "default" || known.has(key)) return
  const equals = key.indexOf("=")
  if (equals === -1) {
    mistakes.add(at, unknownVm(key, ["default", ...known], `, "label=value" or "default"`, mistakes))
    return
  }
  if (/^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}=\P{Cc}{1,128}$/u.test(key)) return
  mistakes.add(at, `is not in the right form; expected "label=value", both given`)
}

function checkTypes(root: Raw, mistakes: Mistakes): void {
  const management = recordOf(root.config_management)
  const types = Object.keys(recordOf(management.config_paths))
  for (const section of ["config_schemas", "config_types"]) {
    for (const [type] of entries(management[section])) {
      if (types.includes(type)) continue
      const hint = nearestHint(type, types)
      mistakes.add(
        ["config_management", section, type],
        `is not a config type; expected one that config_paths names${hint}`,
      )
    }
  }
}

function checkServer(root: Raw, mistakes: Mistakes): void {
  const server = recordOf(root.server)
  for (const [one, other] of [
    ["tls_cert_path", "tls_key_path"],
    ["tls_key_path", "tls_cert_path"],
  ] as const) {
    if (isBlank(server[one]) || !isBlank(server[other])) continue
    mistakes.add(["server", one], `stands without ${other}; expected both or neither`)
  }
}

function unknownVm(vmId: string, known: Iterable<string>, others: string, mistakes: Mistakes): string {
  const hint = mistakes.found.length < maxHints ? nearestHint(vmId, known) : ""
  return `is not a VM of vms; expected a VM id${others}${hint}`
}

/** Every value at a path in which `*` stands for any key. */
function valuesAt(root: unknown, path: readonly string[]): { readonly path: string[]; readonly value: unknown }[] {
  const [key, ...rest] = path
  if (key === undefined) return [{ path: [], value: root }]
  const keys = key === "*" ? Object.keys(recordOf(root)) : [key]
  return keys.flatMap((each) =>
    valuesAt(recordOf(root)[each], rest).map((found) => ({ path: [each, ...found.path], value: found.value })),
  )
}

function isBlank(value: unknown): boolean {
  return value === undefined || value === null || value === "" || (Array.isArray(value) && value.length === 0)
}

function recordOf(value: unknown): Raw {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {}
}

function entries(value: unknown): [string, unknown][] {
  return Object.entries(recordOf(value))
}
