import { readPlain, type YamlVersion } from "./yaml-scalar.ts"
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

function typeOf({ text, plain, tag }: YamlScalar, version: YamlVersion): string {
  if (tag !== "") return nameOfTag(tag) ?? "str"
  return plain ? readPlain(text, version).type : "str"
}
