/** A `$ref` of a schema, as written and resolved. */
export interface SchemaRef {
  readonly written: string
  /** Absolute, without its fragment. */
  readonly target: string
}

export interface WalkedSchema {
  /** Every absolute id that the schema gives to itself or a part of it, without fragments. */
  readonly ids: ReadonlySet<string>
  readonly refs: readonly SchemaRef[]
  /** Whether any place is marked `x-secret: true` or `writeOnly: true`. */
  readonly hasSecrets: boolean
  /** Whether a keyword takes its value from the document (`$data`). */
  readonly usesData: boolean
}

const refKeywords = new Set(["$ref", "$dynamicRef", "$recursiveRef"])
/** Their values are data, not schemas. */
const valueKeywords = new Set(["const", "enum", "default", "examples"])
/** Their members are schemas, under names that are no keywords. */
const mapKeywords = new Set([
  "properties",
  "patternProperties",
  "$defs",
  "definitions",
  "dependentSchemas",
  "dependencies",
])

/**
 * What has to be known of a schema before it is compiled. @param base its absolute URI
 * @throws {TypeError} for a `$id` or `$ref` that is no URI reference
 */
export function walkSchema(schema: unknown, base: string): WalkedSchema {
  const ids = new Set([base])
  const refs: SchemaRef[] = []
  let hasSecrets = false
  let usesData = false

  const visit = (node: unknown, at: string): void => {
    if (Array.isArray(node)) for (const item of node) visit(item, at)
    if (!isRecord(node)) return
    const own = typeof node.$id === "string" ? withoutFragment(node.$id, at) : at
    ids.add(own)
    if (node["x-secret"] === true || node.writeOnly === true) hasSecrets = true
    for (const [keyword, value] of Object.entries(node)) {
      if (refKeywords.has(keyword) && typeof value === "string") {
        refs.push({ written: value, target: withoutFragment(value, own) })
      }
      if (isRecord(value) && typeof value.$data === "string") usesData = true
      if (valueKeywords.has(keyword)) continue
      if (mapKeywords.has(keyword) && isRecord(value)) for (const member of Object.values(value)) visit(member, own)
      else visit(value, own)
    }
  }
  visit(schema, base)
  return { ids, refs, hasSecrets, usesData }
}

export function withoutFragment(reference: string, base: string): string {
  const url = new URL(reference, base)
  url.hash = ""
  return url.href
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}
