import { differ, readPlain, type YamlVersion } from "./yaml-scalar.ts"
import { nameOfTag, parseTree, type YamlNode, type YamlScalar } from "./yaml-tree.ts"

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

/** Stands for what cannot be told: which item of a list is which. */
const unknown = Symbol("unknown")

/**
 * Values that YAML 1.1 (or, of a block that ends the file without a line end, some reader) reads otherwise than 1.2, and that are in
 * `written` what 1.2 reads: written down, all read that.
 * @throws {Unreadable}
 */
export function countYamlRetyped(text: string, written: unknown): number {
  const tree = parseTree(text)
  return tree ? retypedIn(tree, written) : 0
}

function retypedIn(node: YamlNode, written: unknown): number {
  if (node.kind === "alias") return 0
  if (node.kind === "scalar") return isRetyped(node, written) ? 1 : 0
  if (node.kind === "sequence") {
    const items = Array.isArray(written) && written.length === node.items.length ? written : null
    const item = Array.isArray(written) || written === unknown ? unknown : undefined
    return node.items.reduce((sum, each, index) => sum + retypedIn(each, items ? items[index] : item), 0)
  }
  return node.pairs.reduce((sum, { key, value }) => sum + retypedIn(value, memberOf(written, key)), 0)
}

function isRetyped({ text, plain, tag, unended }: YamlScalar, written: unknown): boolean {
  if (unended) return written === unknown || written === text
  if (!plain || tag !== "") return false
  const [older, newer] = [readPlain(text, "1.1"), readPlain(text, "1.2")]
  const isDate = older.type === "timestamp"
  return !isDate && differ(older, newer) && (written === unknown || written === newer.value)
}

/** Members of a merged mapping are those of the mapping that it is merged into. */
function memberOf(written: unknown, key: YamlNode): unknown {
  if (written === unknown || key.kind !== "scalar") return unknown
  if (key.text === "<<") return written
  const isRecord = typeof written === "object" && written !== null
  return isRecord ? (written as Readonly<Record<string, unknown>>)[key.text] : undefined
}

function typeOf({ text, plain, tag }: YamlScalar, version: YamlVersion): string {
  if (tag !== "") return nameOfTag(tag) ?? "str"
  return plain ? readPlain(text, version).type : "str"
}
