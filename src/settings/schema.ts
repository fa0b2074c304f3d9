import { readFileSync } from "node:fs"

/** The parts of JSON Schema that settings.schema.json is written in. */
export interface SettingSchema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, SettingSchema>>
  readonly additionalProperties?: SettingSchema | boolean
  readonly items?: SettingSchema
  /** Ours: what a mistake says was expected here. */
  readonly "x-expected"?: string
}

export interface SettingsSchema extends SettingSchema {
  readonly $id: string
  readonly properties: Readonly<Record<string, SettingSchema>>
  readonly $defs: Readonly<Record<string, SettingSchema>>
}

/** schemas/settings.schema.json: every setting, its default, its limits. The one place where they stand. */
export const settingsSchema: SettingsSchema = JSON.parse(
  readFileSync(new URL("../../schemas/settings.schema.json", import.meta.url), "utf8"),
)

/** Top-level sections that are ours. */
export const ourSections: ReadonlySet<string> = new Set(Object.keys(settingsSchema.properties))

/** The schema itself where `schema` is a `#/$defs/...` reference; a description beside the reference wins. */
export function resolveSchema(schema: SettingSchema): SettingSchema {
  if (!schema.$ref) return schema
  const { $ref, ...beside } = schema
  return { ...settingsSchema.$defs[$ref.slice("#/$defs/".length)], ...beside }
}
