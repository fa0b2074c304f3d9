import { stat } from "node:fs/promises"
import { join } from "node:path"
import { schemaFileOf } from "./fleet.ts"
import type { Mistakes } from "./mistakes.ts"
import type { LocalPath } from "./paths.ts"
import type { RawSettings } from "./raw.ts"

const section = "config_management"

/** A schema file that is named must be there: without it a type would silently go unchecked. */
export async function checkSchemaFiles(raw: RawSettings, local: LocalPath, mistakes: Mistakes): Promise<void> {
  const places = ["schema_dir", "config_schemas", "config_types"]
  if (places.some((place) => mistakes.at(section, place))) return
  const dir = local(raw.config_management.schema_dir)
  for (const type of Object.keys(raw.config_management.config_schemas)) {
    const file = schemaFileOf(raw, type)
    const at = [section, "config_schemas", type]
    if (file === null || mistakes.at(...at) || mistakes.at(section, "config_types", type, "schema")) continue
    const found = await stat(join(dir, file)).catch(() => null)
    if (found?.isFile()) continue
    const what = found ? "is not a file" : "does not exist"
    mistakes.add(at, `${join(dir, file)} ${what}; expected the schema there, or config_types.${type}.schema: none`)
  }
}

/** Each of the two directories has a lock of its own; in one directory they would be the same file. */
export function checkDirectories(raw: RawSettings, local: LocalPath, mistakes: Mistakes): void {
  if (mistakes.at("state_dir") || mistakes.at(section, "backup_location")) return
  const { backup_location: location, backup_remote_path: remote } = raw.config_management
  if (local(raw.state_dir) === local(location)) {
    mistakes.add(["state_dir"], `is the same directory as ${section}.backup_location; expected one of its own`)
  }
  if (mistakes.at(section, "backup_remote_path") || !remote.startsWith("/")) return
  const below = (path: string) => `${join(path)}/`
  if (![local(location), local(raw.state_dir)].some((path) => below(remote).startsWith(below(path)))) return
  const at = [section, "backup_remote_path"]
  mistakes.add(
    at,
    "is a directory of this service's own; expected one off this host: a copy beside the original is none",
  )
}

/** What of the fleet is free of mistakes, so that it can be looked at as a whole; null: too little. */
export function soundFleet(raw: RawSettings, mistakes: Mistakes): RawSettings | null {
  const needed = [["vms"], ["ssh"], ["remote_execution"], [section, "config_paths"], [section, "config_types"]]
  if (needed.some((place) => mistakes.at(...place))) return null
  const { config_management: management, remote_execution: execution } = raw
  const isSound = (type: string) =>
    !mistakes.touch(section, "config_paths", type) && !mistakes.touch(section, "config_types", type)
  return {
    ...raw,
    vms: pick(raw.vms, (vmId) => !mistakes.touch("vms", vmId)),
    remote_execution: mistakes.touch("remote_execution", "allowed_vm_ids")
      ? { ...execution, allowed_vm_ids: undefined }
      : execution,
    config_management: {
      ...management,
      config_paths: pick(management.config_paths, isSound),
      config_schemas: mistakes.at(section, "config_schemas") ? {} : management.config_schemas,
    },
  }
}

function pick<T>(record: Readonly<Record<string, T>>, keep: (key: string) => boolean): Record<string, T> {
  const kept: Record<string, T> = Object.create(null)
  for (const [key, value] of Object.entries(record)) if (keep(key)) kept[key] = value
  return kept
}
