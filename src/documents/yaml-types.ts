import { isMergeKey } from "./yaml-reader.ts"
import { differ, readPlain, readTagged, type ScalarReading, type ScalarType, type YamlVersion } from "./yaml-scalar.ts"
import { nameOfTag, parseTree, type YamlAlias, type YamlNode, type YamlScalar } from "./yaml-tree.ts"

/**
 * Keys that are no text and values that are dates, each counted where it is written: types that JSON does not have, so that a JSON
 * value which is written back makes text of them.
 * @param version null: not said, so what either version reads counts @throws {Unreadable}
 */
export function countYamlTypes(text: string, version: YamlVersion | null): number {
  const versions: readonly YamlVersion[] = version === null ? ["1.1", "1.2"] : [version]
  const isKeyLost = (node: YamlNode): boolean =>
    node.kind === "scalar" && versions.some((each) => typeOf(node, each) !== "str")
  const isDate = (node: YamlScalar): boolean => versions.some((each) => typeOf(node, each) === "timestamp")
  const countIn = (node: YamlNode): number => {
    // What an alias stands for is counted where it is written.
    if (node.kind === "alias") return 0
    if (node.kind === "scalar") return isDate(node) ? 1 : 0
    if (node.kind === "sequence") return node.items.reduce((sum, item) => sum + countIn(item), 0)
    return node.pairs.reduce((sum, { key, value }) => sum + (isKeyLost(key) ? 1 : 0) + countIn(value), 0)
  }
  const tree = parseTree(text)
  return tree ? countIn(tree) : 0
}

/**
 * Values that YAML 1.1 (or, of a block that ends the file without a line end, some reader) reads otherwise than 1.2, and that are in
 * `value` what 1.2 reads: written down, all read that. Each counts once, through aliases and merges too, and wherever in its list it is
 * now; where its key is gone, anywhere (one too many is told rather than none).
 * @throws {Unreadable}
 */
export function countYamlRetyped(text: string, value: unknown): number {
  const tree = parseTree(text)
  if (!tree) return 0
  const retyped = new Set<YamlScalar>()
  const anywhere = new Set(scalarsOf(value))
  /** @param places what `value` has where the nodes stood; null: their key is gone */
  const collect = (nodes: readonly YamlNode[], places: readonly unknown[] | null): void => {
    const written = places === null ? anywhere : new Set(places)
    const targets = nodes.map(targetOf)
    for (const node of targets) {
      if (node.kind === "scalar" && written.has(retypedValue(node))) retyped.add(node)
    }
    const items = targets.flatMap((node) => (node.kind === "sequence" ? node.items : []))
    if (items.length > 0) collect(items, places?.filter(Array.isArray).flat() ?? null)
    const all = targets.flatMap((node) => (node.kind === "mapping" ? node.pairs : []))
    const { merges = [], pairs = [] } = Object.groupBy(all, ({ key }) => (isMergeKey(key) ? "merges" : "pairs"))
    const merged = merges.map((pair) => targetOf(pair.value))
    const sources = merged.flatMap((node) => (node.kind === "sequence" ? node.items : node))
    if (sources.length > 0) collect(sources, places)
    const records = places?.filter(isRecord) ?? null
    const members = Map.groupBy(records?.flatMap(Object.entries<unknown>) ?? [], ([key]) => key)
    for (const [key, group] of Map.groupBy(pairs, ({ key }) => textOf(key))) {
      const found = members.get(key)?.map(([, member]) => member)
      const below = group.map((pair) => pair.value)
      // Where a text took the place of the whole mapping, that is another value.
      collect(below, found ?? (records?.length === 0 ? [] : null))
    }
  }
  collect([tree], [value])
  return retyped.size
}

/** What 1.2 reads where another reader reads something else; undefined: all read the same, or a date, which counts as a type. */
function retypedValue(node: YamlScalar): unknown {
  if (node.unended || node.olderBreak) return node.text
  const [older, newer] = [readingOf(node, "1.1"), readingOf(node, "1.2")]
  return older && newer && older.type !== "timestamp" && differ(older, newer) ? newer.value : undefined
}

/** null: it does not fit its tag. */
function readingOf({ text, plain, tag }: YamlScalar, version: YamlVersion): ScalarReading | null {
  const name = nameOfTag(tag)
  if (name !== null) return readTagged(text, name as ScalarType, version)
  return plain && tag === "" ? readPlain(text, version) : { type: "str", value: text }
}

function targetOf(node: YamlNode): Exclude<YamlNode, YamlAlias> {
  return node.kind === "alias" ? node.target : node
}

/** Of a key that is a list or a mapping, which no text has that can be parsed, nothing. */
function textOf(key: YamlNode): string {
  const target = targetOf(key)
  return target.kind === "scalar" ? target.text : ""
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

function scalarsOf(value: unknown): readonly unknown[] {
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(scalarsOf) : [value]
}

function typeOf({ text, plain, tag }: YamlScalar, version: YamlVersion): string {
  if (tag !== "") return nameOfTag(tag) ?? "str"
  return plain ? readPlain(text, version).type : "str"
}
