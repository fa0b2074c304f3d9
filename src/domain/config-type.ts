/** How a config is written down. */
export type FormatName = "yaml" | "json" | "env" | "text"

/** A kind of config file, every default filled in. */
export interface ConfigType {
  readonly type: string
  readonly format: FormatName
  /** File of its JSON Schema under `schema_dir`; null: none. */
  readonly schemaFile: string | null
  /** How the program on the VM reads YAML; null: not said, so 1.2 decides and differences to 1.1 are warned of. */
  readonly yamlVersion: "1.1" | "1.2" | null
  /** Permission bits of a file that is created. */
  readonly mode: number
  readonly keepOwner: boolean
  readonly maxBytes: number
  readonly requireIfMatch: boolean
  readonly followSymlinks: boolean
  readonly become: boolean
  /** Path of `sftp-server` on the VM for `become`; null: found among the usual three. */
  readonly sftpServer: string | null
}

/** Names one config: the one file of a type on a VM. */
export interface ConfigRef {
  readonly vmId: string
  readonly type: string
}

/** The same as one text: ids hold no slash. */
export function keyOf({ vmId, type }: ConfigRef): string {
  return `${vmId}/${type}`
}
