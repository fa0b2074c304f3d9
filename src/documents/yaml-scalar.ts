import {
  boolCoreTag,
  boolYaml11Tag,
  floatCoreTag,
  floatYaml11Tag,
  intCoreTag,
  intYaml11Tag,
  NOT_RESOLVED,
  nullCoreTag,
  nullYaml11Tag,
  type ScalarTagDefinition,
  timestampTag,
} from "js-yaml"
import { changesWhenRead } from "./text.ts"

export type YamlVersion = "1.1" | "1.2"

/** What a reader takes a scalar for. */
export type ScalarType = "null" | "bool" | "int" | "float" | "timestamp" | "str"

export interface ScalarReading {
  readonly type: ScalarType
  readonly value: string | number | boolean | null
}

interface TypedTag {
  readonly type: ScalarType
  readonly tag: ScalarTagDefinition
}

/**
 * `y` and `n` are booleans in the text of YAML 1.1 and in js-yaml, and text in what its users run (PyYAML, libyaml, SnakeYAML): here too,
 * or every `y:` of a coordinate would be warned of. Rendering quotes them all the same.
 */
const boolAsPractised: ScalarTagDefinition = {
  ...boolYaml11Tag,
  resolve: (text, isExplicit, tagName) =>
    text.length === 1 ? NOT_RESOLVED : boolYaml11Tag.resolve(text, isExplicit, tagName),
}

/** In base 60 the first digit is no 0 (yaml.org/type/int): `02:30` is text to PyYAML, too, and 150 to js-yaml. */
const intAsDefined: ScalarTagDefinition = {
  ...intYaml11Tag,
  resolve: (text, isExplicit, tagName) =>
    !isExplicit && /^[-+]?0[\d_]*:/.test(text) ? NOT_RESOLVED : intYaml11Tag.resolve(text, isExplicit, tagName),
}

/** A fraction that begins with a sign and a point is a number in the text of YAML 1.1, and text to PyYAML. */
const floatAsPractised: ScalarTagDefinition = {
  ...floatYaml11Tag,
  resolve: (text, isExplicit, tagName) =>
    !isExplicit && /^[-+]\.\d/.test(text) ? NOT_RESOLVED : floatYaml11Tag.resolve(text, isExplicit, tagName),
}

/** The tags a plain scalar may turn out to have, in the order in which they are tried. */
const implicitTags: Readonly<Record<YamlVersion, readonly TypedTag[]>> = {
  "1.2": [
    { type: "null", tag: nullCoreTag },
    { type: "bool", tag: boolCoreTag },
    { type: "int", tag: intCoreTag },
    { type: "float", tag: floatCoreTag },
  ],
  "1.1": [
    { type: "null", tag: nullYaml11Tag },
    { type: "bool", tag: boolAsPractised },
    { type: "int", tag: intAsDefined },
    { type: "float", tag: floatAsPractised },
    { type: "timestamp", tag: timestampTag },
  ],
}

const byFirstChar = {
  "1.1": groupByFirstChar(implicitTags["1.1"]),
  "1.2": groupByFirstChar(implicitTags["1.2"]),
}

function groupByFirstChar(tags: readonly TypedTag[]): ReadonlyMap<string, readonly TypedTag[]> {
  const groups = new Map<string, TypedTag[]>()
  for (const tag of tags) {
    for (const char of tag.tag.implicitFirstChars ?? []) groups.set(char, [...(groups.get(char) ?? []), tag])
  }
  return groups
}

/** What `text` is, written plain and without a tag. */
export function readPlain(text: string, version: YamlVersion): ScalarReading {
  for (const { type, tag } of byFirstChar[version].get(text.charAt(0)) ?? []) {
    const value: unknown = tag.resolve(text, false, tag.tagName)
    if (value !== NOT_RESOLVED) return reading(type, value, text)
  }
  return { type: "str", value: text }
}

/** What `text` is under an explicit tag, or null where it does not fit the tag. */
export function readTagged(text: string, type: ScalarType, version: YamlVersion): ScalarReading | null {
  if (type === "str") return { type, value: text }
  const tag = implicitTags[version].find((candidate) => candidate.type === type)?.tag
  const value: unknown = tag?.resolve(text, true, tag.tagName) ?? null
  return value === NOT_RESOLVED ? null : reading(type, value, text)
}

function reading(type: ScalarType, value: unknown, text: string): ScalarReading {
  if (type === "null") return { type, value: null }
  if (typeof value === "boolean") return { type, value }
  // -0 is the same number to every reader of JSON.
  if (typeof value === "number") return { type, value: value === 0 ? 0 : value }
  return { type, value: text }
}

/** Whether a program that reads the other version would see something else. */
export function differ(one: ScalarReading, other: ScalarReading): boolean {
  return one.value !== other.value || (one.type === "timestamp") !== (other.type === "timestamp")
}

/** A clause that says why a reading cannot be held in JSON, or null. */
export function whyNotJson(text: string, found: ScalarReading): string | null {
  if (typeof found.value !== "number") return overflows(text) && found.type === "str" ? outOfRange : null
  const literal = text.replaceAll("_", "")
  if (found.type === "int") {
    const holds =
      Number.isSafeInteger(found.value) || (/^[-+]?\d+$/.test(literal) && !changesWhenRead(literal, found.value))
    return holds ? null : "an integer cannot be held exactly; quote it"
  }
  if (/^[-+]?\.(?:inf|nan)$/i.test(text)) return ".inf and .nan have no place in a JSON value; quote it"
  return changesWhenRead(literal, found.value) ? outOfRange : null
}

const outOfRange = "a number is out of range, or has more digits than can be held; quote it"

/** js-yaml takes a float that does not fit for text; other readers take it for infinity. */
function overflows(text: string): boolean {
  return /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/.test(text) && !Number.isFinite(Number(text))
}
