import type { Warning } from "../domain/warning.ts"
import { type Place, shownPointer } from "./pointer.ts"
import { Unreadable } from "./text.ts"
import {
  differ,
  readPlain,
  readTagged,
  type ScalarReading,
  type ScalarType,
  whyNotJson,
  type YamlVersion,
} from "./yaml-scalar.ts"
import { nameOfTag, unsupportedTag, type YamlMapping, type YamlNode, type YamlScalar } from "./yaml-tree.ts"

const maxWarnings = 20
const scalarTypes: ReadonlySet<string> = new Set<ScalarType>(["null", "bool", "int", "float", "str"])

/** A value, and where it and its members stand. */
export interface Placed {
  readonly value: unknown
  readonly place: Place
}

/** A scalar that the two versions of YAML read differently; `offset` is turned into line and column by the caller. */
export interface Ambiguity {
  readonly warning: Warning
  readonly offset: number
}

/** Turns a tree into a value under one version, noting where the other would differ. */
export class YamlReader {
  readonly ambiguities: Ambiguity[] = []
  readonly #version: YamlVersion
  readonly #other: YamlVersion | null
  readonly #path: (string | number)[] = []
  /** Scalars that were told already: aliases come by again. */
  readonly #told = new Set<YamlScalar>()

  /** @param other the version to compare with; null: do not */
  constructor(version: YamlVersion, other: YamlVersion | null) {
    this.#version = version
    this.#other = other
  }

  /** @throws {Unreadable} */
  read(node: YamlNode): Placed {
    if (node.kind === "alias") return moved(this.read(node.target), node.at)
    if (node.kind === "scalar") return { value: this.#scalar(node).value, place: node.at }
    if (node.kind === "mapping") return this.#mapping(node)
    const items = node.items.map((item, index) => this.#child(index, item))
    return {
      value: items.map((item) => item.value),
      place: { at: node.at, children: items.map((item) => item.place) },
    }
  }

  #child(token: string | number, node: YamlNode): Placed {
    this.#path.push(token)
    const child = this.read(node)
    this.#path.pop()
    return child
  }

  #mapping(node: YamlMapping): Placed {
    const value: Record<string, unknown> = {}
    const children = new Map<string, Place>()
    const merged = new Set<string>()
    const typed = new Set<string>()
    let hasMerge = false
    for (const pair of node.pairs) {
      if (isMergeKey(pair.key)) {
        if (hasMerge) throw this.#refusal("duplicate key", pair.key.at)
        hasMerge = true
        if (this.#version === "1.2") this.#warn(pair.key, mergeKey, "<<")
        this.#merge(pair.value, value, children, merged)
        continue
      }
      const { key, identity } = this.#key(pair.key)
      const taken = Object.hasOwn(value, key) && !merged.delete(key)
      if (taken || (identity !== null && typed.has(identity))) throw this.#refusal("duplicate key", pair.key.at, key)
      if (identity !== null) typed.add(identity)
      const member = this.#child(key, pair.value)
      value[key] = member.value
      children.set(key, member.place)
    }
    return { value, place: { at: node.at, children } }
  }

  /** YAML's merge keys: members of the mapping itself win, then those of the first source that has them. */
  #merge(node: YamlNode, value: Record<string, unknown>, children: Map<string, Place>, merged: Set<string>): void {
    const target = node.kind === "alias" ? node.target : node
    const sources = target.kind === "sequence" ? target.items : [target]
    for (const source of sources) {
      const mapping = source.kind === "alias" ? source.target : source
      if (mapping.kind !== "mapping")
        throw this.#refusal("a merge key needs a mapping or a list of mappings", source.at)
      const read = this.#mapping(mapping)
      const places = typeof read.place === "number" ? null : read.place.children
      for (const [key, member] of Object.entries(read.value as Record<string, unknown>)) {
        if (Object.hasOwn(value, key)) continue
        value[key] = member
        merged.add(key)
        const place = places instanceof Map ? places.get(key) : undefined
        if (place !== undefined) children.set(key, place)
      }
    }
  }

  /**
   * A key is its text: JSON knows no others. `identity` tells keys apart that are written differently and are the same to a reader
   * of YAML (`1` and `0x1`); null for text.
   */
  #key(node: YamlNode): { key: string; identity: string | null } {
    const scalar = node.kind === "alias" ? node.target : node
    if (scalar.kind !== "scalar") throw this.#refusal("a key that is a list or a mapping", node.at)
    if (scalar.text === "__proto__") throw this.#refusal('the key "__proto__" is not allowed', node.at)
    this.#path.push(scalar.text)
    const { type, value } = this.#scalar(scalar)
    this.#path.pop()
    return { key: scalar.text, identity: type === "str" ? null : `${type} ${value}` }
  }

  #scalar(node: YamlScalar): ScalarReading {
    if (node.unended) this.#warn(node, unendedBlock)
    if (node.tag !== "" && node.tag !== "!") return this.#tagged(node)
    if (!node.plain || node.tag === "!") return { type: "str", value: node.text }
    const found = readPlain(node.text, this.#version)
    if (this.#other !== null) this.#compare(node, found, readPlain(node.text, this.#other))
    return this.#holdable(node, found)
  }

  #tagged(node: YamlScalar): ScalarReading {
    const name = nameOfTag(node.tag)
    if (name === null || !scalarTypes.has(name)) throw unsupportedTag(node.tagAt)
    const found = readTagged(node.text, name as ScalarType, this.#version)
    if (!found) throw this.#refusal("a value does not fit its tag", node.tagAt)
    const other = this.#other !== null && readTagged(node.text, name as ScalarType, this.#other)
    if (other) this.#compare(node, found, other)
    else this.#warn(node, `YAML ${this.#other} does not take this for what its tag says; write it so that both agree.`)
    return this.#holdable(node, found)
  }

  #holdable(node: YamlScalar, found: ScalarReading): ScalarReading {
    const why = whyNotJson(node.text, found)
    if (why !== null) throw this.#refusal(why, node.at)
    return found
  }

  #compare(node: YamlScalar, found: ScalarReading, other: ScalarReading): void {
    if (!differ(found, other)) return
    const [older, newer] = this.#version === "1.1" ? [found, other] : [other, found]
    const message = `YAML 1.1 reads this as ${words[older.type]}, YAML 1.2 as ${words[newer.type]}${older.type === newer.type ? " of another value" : ""}; quote it or write it so that both agree.`
    this.#warn(node, message)
  }

  #warn(node: YamlScalar, message: string, ...key: readonly string[]): void {
    if (this.#other === null || this.#told.has(node) || this.ambiguities.length >= maxWarnings) return
    this.#told.add(node)
    const pointer = shownPointer([...this.#path, ...key])
    this.ambiguities.push({ offset: node.at, warning: { code: "ambiguous_yaml", message, pointer } })
  }

  #refusal(message: string, at: number, key?: string): Unreadable {
    return new Unreadable(message, at, { pointer: shownPointer(key === undefined ? this.#path : [...this.#path, key]) })
  }
}

const unendedBlock =
  "The file ends in this block without a line end: YAML takes its text for one without, some readers (js-yaml) add one; end the file with a line end, or write |- or >-."

const words: Readonly<Record<ScalarType, string>> = {
  null: "null",
  bool: "a boolean",
  int: "an integer",
  float: "a number",
  timestamp: "a date",
  str: "text",
}

const mergeKey =
  'What stands here is merged, as YAML 1.1 and many readers of 1.2 do; others of 1.2 (js-yaml 5, yaml) take "<<" for a key: write the members out.'

export function isMergeKey(node: YamlNode): node is YamlScalar {
  return node.kind === "scalar" && node.plain && node.tag === "" && node.text === "<<"
}

/** An aliased value stands where its alias does; its members where they are written. */
function moved(placed: Placed, at: number): Placed {
  return { value: placed.value, place: typeof placed.place === "number" ? at : { ...placed.place, at } }
}
