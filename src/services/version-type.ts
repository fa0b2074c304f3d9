import type { ConfigType } from "../domain/config-type.ts"
import type { Inventory } from "../domain/inventory.ts"

/** How a version is to be read: as its type says; one whose type left the settings is shown as text. */
export function typeOfVersion(inventory: Inventory, type: string): ConfigType {
  return inventory.typeOr(type, textType(type))
}

function textType(type: string): ConfigType {
  return {
    type,
    format: "text",
    schemaFile: null,
    yamlVersion: null,
    mode: 0o640,
    keepOwner: true,
    maxBytes: Number.MAX_SAFE_INTEGER,
    requireIfMatch: false,
    followSymlinks: false,
    become: false,
    sftpServer: null,
  }
}
