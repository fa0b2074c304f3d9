import { resolveSchema, type SettingSchema, settingsSchema } from "./schema.ts"

/** A row of the table of settings in the docs. */
export interface SettingRow {
  /** `remote_execution.default_timeout`, `vms.<vmId>.ip`, `auth.tokens[].name` */
  readonly name: string
  /** As YAML (flow style); `required`; empty where leaving it out has a meaning of its own. */
  readonly default: string
  readonly text: string
}

/** What stands for the names that users choose. */
const placeholders: Readonly<Record<string, string>> = {
  vms: "<vmId>",
  "vms.<vmId>.labels": "<label>",
  "config_management.config_paths": "<type>",
  "config_management.config_paths.<type>": "<vmId, label=value or default>",
  "config_management.config_schemas": "<type>",
  "config_management.config_types": "<type>",
  "schedules[].select.labels": "<label>",
}

/** Every setting, in the order of the schema. */
export function settingsTable(): readonly SettingRow[] {
  return rowsOf(["", settingsSchema, true])
}

type Setting = readonly [name: string, schema: SettingSchema, required: boolean]

function rowsOf([name, given, required]: Setting): SettingRow[] {
  const schema = resolveSchema(given)
  const members = membersOf([name, schema, required])
  if (members.length > 0) return members.flatMap(rowsOf)
  return [{ name, default: defaultText(schema, required), text: schema.description ?? "" }]
}

/** What a mapping or a list of mappings is made of; none: a value. */
function membersOf([name, schema, required]: Setting): readonly Setting[] {
  const { properties, additionalProperties: others, items } = schema
  if (properties) {
    const prefix = name === "" ? "" : `${name}.`
    return Object.entries(properties).map(([key, own]) => [
      `${prefix}${key}`,
      own,
      schema.required?.includes(key) ?? false,
    ])
  }
  if (typeof others === "object") return [[`${name}.${placeholders[name] ?? "<name>"}`, others, required]]
  return items && resolveSchema(items).properties ? [[`${name}[]`, items, false]] : []
}

function defaultText(schema: SettingSchema, required: boolean): string {
  if (required) return "required"
  return schema.default === undefined ? "" : JSON.stringify(schema.default)
}
