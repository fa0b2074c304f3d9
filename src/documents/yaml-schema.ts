import { DUMP_SCHEMA, realMapTag, type ScalarTagDefinition } from "js-yaml"
import { NumberLiteral } from "./exact-json.ts"

/** js-yaml's schema for writing, which quotes what any reader could mistake, and exact values besides: maps and number literals. */
export const writingSchema = DUMP_SCHEMA.withTags(
  realMapTag,
  withLiterals("tag:yaml.org,2002:int", (text) => /^-?\d+$/.test(text)),
  withLiterals("tag:yaml.org,2002:float", (text) => !/^-?\d+$/.test(text)),
)

function withLiterals(tagName: string, fits: (text: string) => boolean): ScalarTagDefinition {
  const tag = DUMP_SCHEMA.tags.find((each) => each.tagName === tagName)
  if (tag?.nodeKind !== "scalar") throw new Error(`js-yaml has no scalar tag ${tagName} any more.`)
  return {
    ...tag,
    identify: (value) => (value instanceof NumberLiteral ? fits(value.text) : tag.identify(value)),
    represent: (value) => (value instanceof NumberLiteral ? plainOf(value) : tag.represent(value)),
  }
}

/** As readers of both versions take it for the same number: in 1.1 a float has a point, and its exponent a sign. */
function plainOf({ text, finite }: NumberLiteral): string {
  if (!finite) return text === "NaN" ? ".nan" : text.replace("Infinity", ".inf")
  return text.replace(/^(-?\d+)(?=[eE])/, "$1.0").replace(/([eE])(?=\d)/, "$1+")
}
