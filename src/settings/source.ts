import {
  type Alias,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseAllDocuments,
  type Scalar,
  visit,
  type YAMLMap,
} from "yaml"
import { type Mistakes, positionKey, type SettingPath } from "./mistakes.ts"

/** Bounds of what our sections may hold once aliases are followed. */
const maxDepth = 32
const maxNodes = 500_000

/** What the parser's errors mean; its own texts can hold parts of the file. */
const syntaxSentences: Readonly<Record<string, string>> = {
  BAD_DQ_ESCAPE: "an unknown escape in double quotes; expected one that YAML knows (or single quotes)",
  BAD_INDENT: "the indentation does not fit the lines before; expected that of its neighbours",
  BAD_SCALAR_START: "a plain text cannot begin like this; expected quotes around it",
  BLOCK_AS_IMPLICIT_KEY: "a mapping within one line; expected quotes around a text that holds a colon",
  MISSING_CHAR: "a character is missing; expected the closing quote, bracket, comma or colon",
  MULTILINE_IMPLICIT_KEY: "a key over several lines; expected `key: value`",
  TAB_AS_INDENT: "a tab as indentation; expected spaces",
}

/** A value of the settings file: records have no prototype. */
export type Raw = Record<string, unknown>

/** Our sections of a settings file, and where each of their values stands. */
export interface Source {
  readonly root: Raw
  /** Names of all top-level sections as they were written, ours or not. */
  readonly names: readonly string[]
  /** Keys of a section that may not be ours; empty where it is not a mapping. */
  keysOf(name: string): readonly string[]
}

/**
 * Reads YAML 1.2 (core schema, merge keys). Only the sections in `ours` are looked into: what others hold is none of our business.
 * @param positions takes the line of each value, by `positionKey`
 * @returns null where the text is no YAML at all; the mistakes say why
 */
export function readSource(
  text: string,
  ours: ReadonlySet<string>,
  positions: Map<string, number>,
  mistakes: Mistakes,
): Source | null {
  const lines = new LineCounter()
  const lineAt = (offset: number | undefined) => (offset === undefined ? null : Math.max(1, lines.linePos(offset).line))
  const documents = parseAllDocuments(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false,
    version: "1.2",
    schema: "core",
    resolveKnownTags: false,
    logLevel: "silent",
  })
  const [document, second] = documents
  const [error] = documents.flatMap((each) => each.errors)
  if (error) {
    // Only the first: what the parser says after it is mostly its own confusion.
    const what = syntaxSentences[error.code] ?? "unexpected text; expected `key: value`"
    mistakes.add([], `is not YAML from here on: ${what}`, lineAt(error.pos[0]))
    return null
  }
  if (second) {
    mistakes.add([], "holds several documents; expected one", lineAt(second.range?.[0]))
    return null
  }
  const contents: unknown = document?.contents ?? null
  if (!isMap(contents)) {
    const what = contents === null || (isScalar(contents) && contents.value === null) ? "is empty" : "is not a mapping"
    mistakes.add([], `${what}; expected a mapping with vms and config_management`, null)
    return null
  }
  const reader = new Reader(anchorsOf(contents), lineAt, positions, mistakes)
  return reader.readSections(contents, ours)
}

/** Which node each alias stands for: the nearest one before it with that anchor. One pass, where `Alias.resolve` makes one each. */
function anchorsOf(root: YAMLMap): ReadonlyMap<Alias, unknown> {
  const anchors = new Map<string, unknown>()
  const resolved = new Map<Alias, unknown>()
  visit(root, {
    Alias: (_, alias) => {
      resolved.set(alias, anchors.get(alias.source))
    },
    Node: (_, node) => {
      if (!isAlias(node) && node.anchor) anchors.set(node.anchor, node)
    },
  })
  return resolved
}

class TooMuch extends Error {}

class Reader {
  readonly #aliases: ReadonlyMap<Alias, unknown>
  readonly #lineAt: (offset: number | undefined) => number | null
  readonly #positions: Map<string, number>
  readonly #mistakes: Mistakes
  #nodes = 0

  constructor(
    aliases: ReadonlyMap<Alias, unknown>,
    lineAt: (offset: number | undefined) => number | null,
    positions: Map<string, number>,
    mistakes: Mistakes,
  ) {
    this.#aliases = aliases
    this.#lineAt = lineAt
    this.#positions = positions
    this.#mistakes = mistakes
  }

  readSections(map: YAMLMap, ours: ReadonlySet<string>): Source | null {
    const root = record()
    const foreign = new Map<string, unknown>()
    for (const pair of map.items) {
      const name = keyOf(pair)
      if (name === null) continue
      if (!ours.has(name)) {
        foreign.set(name, pair.value)
        this.#note([name], pair.key)
        continue
      }
      try {
        this.#take(root, pair, name, [], 0)
      } catch (error) {
        if (!(error instanceof TooMuch)) throw error
        this.#mistakes.add([name], error.message)
        return null
      }
    }
    const keysOf = (name: string) => {
      const node = foreign.get(name)
      return isMap(node) ? node.items.flatMap((pair) => keyOf(pair) ?? []) : []
    }
    return { root, names: [...Object.keys(root), ...foreign.keys()], keysOf }
  }

  /** Reads a pair's value into `into`, noting its line; the second of two equal keys is a mistake. */
  #take(into: Raw, pair: Pair, key: string, path: SettingPath, depth: number): void {
    const own = [...path, key]
    if (Object.hasOwn(into, key)) {
      const first = this.#positions.get(positionKey(own))
      const where = first === undefined ? "" : ` (first in line ${first})`
      this.#mistakes.add(own, `is there twice${where}; expected each key once`, this.#lineOf(pair.key))
      return
    }
    this.#note(own, pair.key)
    into[key] = this.#read(pair.value, own, depth + 1)
  }

  #read(node: unknown, path: SettingPath, depth: number): unknown {
    this.#step(depth)
    if (isAlias(node)) return this.#read(this.#target(node, path), path, depth + 1)
    if (isScalar(node) || isCollection(node)) this.#refuseTag(node.tag, path)
    if (isScalar(node)) return this.#readScalar(node, path)
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        this.#note([...path, index], item)
        return this.#read(item, [...path, index], depth + 1)
      })
    }
    return isMap(node) ? this.#readMap(node, path, depth) : null
  }

  #readScalar({ value, source }: Scalar, path: SettingPath): unknown {
    if (typeof value === "number" && /^[-+]?0[0-9]/.test(source ?? "")) {
      const text = "is a number with a leading zero, which is octal in YAML 1.1 and decimal in 1.2"
      this.#mistakes.add(path, `${text}; expected no such zero, or quotes where text is meant`)
    }
    return value
  }

  #readMap(map: YAMLMap, path: SettingPath, depth: number): Raw {
    const result = record()
    const merged: unknown[] = []
    for (const pair of map.items) {
      const key = keyOf(pair)
      if (key === null) this.#mistakes.add(path, "has a key that is not text; expected names", this.#lineOf(pair.key))
      else if (isMergeKey(pair)) merged.push(pair.value)
      else this.#take(result, pair, key, path, depth)
    }
    for (const node of merged) this.#merge(result, node, path, depth)
    return result
  }

  /** `<<: *defaults` or a list of them: keys that are there already win, then the earlier mapping does. */
  #merge(into: Raw, node: unknown, path: SettingPath, depth: number): void {
    this.#step(depth)
    if (isAlias(node)) {
      this.#merge(into, this.#target(node, path), path, depth + 1)
      return
    }
    if (isSeq(node)) {
      for (const item of node.items) this.#merge(into, item, path, depth + 1)
      return
    }
    if (!isMap(node)) {
      this.#mistakes.add(path, "merges (<<) something that is not a mapping; expected a mapping", this.#lineOf(node))
      return
    }
    for (const pair of node.items) {
      const key = keyOf(pair)
      if (key === null) continue
      if (isMergeKey(pair)) this.#merge(into, pair.value, path, depth + 1)
      else if (!Object.hasOwn(into, key)) this.#take(into, pair, key, path, depth)
    }
  }

  #target(alias: Alias, path: SettingPath): unknown {
    const node = this.#aliases.get(alias)
    if (node === undefined) {
      this.#mistakes.add(path, "is an alias (*name) without its anchor (&name); expected the anchor before it")
    }
    return node
  }

  /** Bounds the work: aliases can stand for themselves, or multiply. */
  #step(depth: number): void {
    this.#nodes += 1
    if (depth > maxDepth) throw new TooMuch(`nests deeper than ${maxDepth} levels; expected plain settings`)
    if (this.#nodes > maxNodes) throw new TooMuch(`holds more than ${maxNodes} values; expected fewer aliases`)
  }

  #refuseTag(tag: string | undefined, path: SettingPath): void {
    if (!tag || /^(!|tag:yaml\.org,2002:(str|int|float|bool|null|map|seq))$/.test(tag)) return
    this.#mistakes.add(path, "has an unknown tag (!...); expected a plain value")
  }

  #note(path: SettingPath, node: unknown): void {
    const line = this.#lineOf(node)
    if (line !== null) this.#positions.set(positionKey(path), line)
  }

  #lineOf(node: unknown): number | null {
    const range = isAlias(node) || isScalar(node) || isCollection(node) ? node.range : undefined
    return this.#lineAt(range?.[0])
  }
}

/** A key as it was written (`01` stays `01`), or null for one that is no text. */
function keyOf(pair: unknown): string | null {
  if (!isPair(pair) || !isScalar(pair.key)) return null
  const { key } = pair
  if (typeof key.value === "string") return key.value
  return key.source ?? (key.value === null ? null : String(key.value))
}

function isMergeKey(pair: Pair): boolean {
  return isScalar(pair.key) && pair.key.value === "<<" && pair.key.type === "PLAIN"
}

/** Without a prototype, so that `__proto__` and `constructor` are keys as any other. */
function record(): Raw {
  return Object.create(null) as Raw
}
