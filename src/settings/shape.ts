import { Ajv2020, type ErrorObject } from "ajv/dist/2020.js"
import { isHost, parseProxyJump } from "./addresses.ts"
import type { Mistakes, SettingPath } from "./mistakes.ts"
import { nearestHint } from "./nearest.ts"
import { parseRemotePath } from "./remote-path.ts"
import { resolveSchema, type SettingSchema, settingsSchema } from "./schema.ts"
import type { Raw } from "./source.ts"

// The schema is ours and held by a test; it is run once a start, so that neither checking nor optimising it pays.
const ajv = new Ajv2020({
  allErrors: true,
  verbose: true,
  useDefaults: true,
  allowUnionTypes: true,
  validateSchema: false,
  code: { optimize: false },
})
ajv.addKeyword("x-expected")
ajv.addFormat("host", isHost)
ajv.addFormat("proxy_jump", (text: string) => text === "" || parseProxyJump(text) !== null)
ajv.addFormat(
  "remote_path",
  (text: string) => text === "" || parseRemotePath(text, { port: 22, proxyJump: null }) !== null,
)
const validateShape = ajv.compile(settingsSchema)
const validateType = ajv.compile({ $ref: `${settingsSchema.$id}#/$defs/configType` })

/** Checks each setting by itself, and fills in defaults (in `root`). */
export function checkShape(root: Raw, mistakes: Mistakes): void {
  validateShape(root)
  for (const error of validateShape.errors ?? []) {
    if (error.keyword === "propertyNames") continue // the name's own error stands beside it
    const path = pathOf(error, root)
    if (mistakes.exactlyAt(...path)) continue // one is enough: of a wrong type, it is not in the enum either
    mistakes.add(path, sentenceOf(error))
  }
}

/** Options of a config type that names none. */
export function defaultTypeOptions(): Raw {
  const options: Raw = {}
  validateType(options)
  return options
}

/** Where the mistake is: for keys that are missing or unknown, the key itself. */
function pathOf(error: ErrorObject, root: Raw): SettingPath {
  const path: (string | number)[] = []
  let value: unknown = root
  for (const segment of error.instancePath.split("/").slice(1)) {
    const key = segment.replaceAll("~1", "/").replaceAll("~0", "~")
    path.push(Array.isArray(value) ? Number(key) : key)
    value = (value as Raw | null | undefined)?.[key]
  }
  if (error.propertyName !== undefined) return [...path, error.propertyName]
  if (error.keyword === "required") return [...path, String(error.params.missingProperty)]
  if (error.keyword === "additionalProperties") return [...path, String(error.params.additionalProperty)]
  return path
}

function sentenceOf(error: ErrorObject): string {
  const schema = (error.parentSchema ?? {}) as SettingSchema
  if (error.propertyName !== undefined) return `cannot be a name here; expected ${expectedOf(schema)}`
  switch (error.keyword) {
    case "required": {
      const missing = schema.properties?.[String(error.params.missingProperty)]
      return `is missing; expected ${missing ? expectedOf(missing) : "a value"}`
    }
    case "additionalProperties":
      return unknownSetting(String(error.params.additionalProperty), Object.keys(schema.properties ?? {}))
    case "type":
      return `${typeText(error.data)}; expected ${expectedOf(schema)}${booleanHint(error.data, schema)}`
    case "minLength":
    case "minItems":
    case "minProperties":
      return `is empty; expected ${expectedOf(schema)}`
    case "maxLength":
    case "maxItems":
      return `is too long; expected ${expectedOf(schema)}`
    case "uniqueItems":
      return `names the same twice; expected ${expectedOf(schema)}`
    case "enum":
      return `is not supported; expected ${expectedOf(schema)}`
    case "minimum":
    case "maximum":
      return `is ${String(error.data)}; expected ${expectedOf(schema)}`
    default:
      return `is ${error.data === "" ? "empty" : "not in the right form"}; expected ${expectedOf(schema)}`
  }
}

function unknownSetting(key: string, known: readonly string[]): string {
  const hint = nearestHint(key, known)
  return `is not a known setting; expected one of ${hint === "" ? known.join(", ") : `the known ones${hint}`}`
}

function expectedOf(given: SettingSchema): string {
  const schema = resolveSchema(given)
  if (schema["x-expected"]) return schema["x-expected"]
  if (schema.enum) return `one of ${schema.enum.map(String).join(", ")}`
  const { minimum: least, maximum: most } = schema
  if (schema.type === "integer") return `a whole number from ${least} to ${most}`
  if (schema.type === "number") return `a number from ${least} to ${most}`
  const words: Readonly<Record<string, string>> = { boolean: "true or false", array: "a list", object: "a mapping" }
  return words[String(schema.type)] ?? "text"
}

/** What stands there, in words that give nothing away but numbers. */
function typeText(value: unknown): string {
  if (value === null || value === undefined) return "has no value"
  if (typeof value === "string") return "is text"
  if (Array.isArray(value)) return "is a list"
  return typeof value === "object" ? "is a mapping" : `is ${String(value)}`
}

/** PyYAML, which read this file before, takes these words for booleans (YAML 1.1). */
function booleanHint(value: unknown, schema: SettingSchema): string {
  const is11Boolean = typeof value === "string" && /^(yes|no|on|off|y|n)$/i.test(value)
  return schema.type === "boolean" && is11Boolean ? " (yes, no, on and off are text in YAML 1.2)" : ""
}
