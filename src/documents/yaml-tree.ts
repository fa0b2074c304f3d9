import {
  CHOMPING_MODE,
  type DocumentEvent,
  EVENT_ID,
  type Event,
  getScalarValue,
  parseEvents,
  SCALAR_STYLE,
  type ScalarEvent,
  YAMLException,
} from "js-yaml"
import { maxDepth } from "./json-scanner.ts"
import { Unreadable } from "./text.ts"

export interface YamlScalar {
  readonly kind: "scalar"
  readonly at: number
  readonly text: string
  /** Written without quotes: what it is depends on how it looks. */
  readonly plain: boolean
  /**
   * A block that the file ends in without a line end: its text has none either by the specification (and libyaml), which is read here;
   * js-yaml and yaml add one.
   */
  readonly unended: boolean
  /** One of the line ends that only YAML 1.1 has stands in it as it is. */
  readonly olderBreak: boolean
  /** As written, e.g. `!!str`; empty: none. */
  readonly tag: string
  readonly tagAt: number
}

export interface YamlSequence {
  readonly kind: "sequence"
  readonly at: number
  readonly items: YamlNode[]
}

export interface YamlMapping {
  readonly kind: "mapping"
  readonly at: number
  readonly pairs: { readonly key: YamlNode; readonly value: YamlNode }[]
}

export interface YamlAlias {
  readonly kind: "alias"
  readonly at: number
  readonly target: Exclude<YamlNode, YamlAlias>
}

export type YamlNode = YamlScalar | YamlSequence | YamlMapping | YamlAlias

const maxAliases = 50
/** With every alias replaced by what it stands for. */
export const maxNodes = 50_000
/** What aliases may add to a text, in UTF-16 units: few nodes can still repeat long strings. */
const maxRepeatedText = 4 * 1024 * 1024

/** What a node costs once its aliases are replaced. */
interface Cost {
  nodes: number
  text: number
  depth: number
}

interface Frame {
  readonly node: YamlSequence | YamlMapping
  readonly cost: Cost
  readonly anchor: string | null
  key: YamlNode | null
}

/** Ends a line in YAML 1.1 and not in 1.2. */
export const olderBreak = /[\u0085\u2028\u2029]/
const nonPrintable = /[^\P{Cc}\t\n\r\u0085]|[\ufffe\uffff]/u

/**
 * The one document of a YAML text as a tree with places, scalars still as they are written; null: the text is empty or comments.
 * @throws {Unreadable} for what is not YAML, not one document, or costs too much
 */
export function parseTree(text: string): YamlNode | null {
  const control = nonPrintable.exec(text)
  if (control) throw new Unreadable("a control character", control.index)
  return new TreeBuilder(text).build(eventsOf(text))
}

/** The flat events of js-yaml's parser. @throws {Unreadable} */
export function eventsOf(text: string): readonly Event[] {
  try {
    // Its depth counts a little differently; ours is the one that decides.
    return parseEvents(text, { maxDepth: maxDepth + 10 })
  } catch (error) {
    if (!(error instanceof YAMLException)) throw error
    const tooComplex = error.reason.startsWith("nesting exceeded")
    const message = tooComplex ? `nested more than ${maxDepth} deep` : withoutEcho(error.reason)
    throw new Unreadable(message, error.mark?.position ?? null, { tooComplex })
  }
}

/** Three of the parser's reasons repeat a tag of the text. */
function withoutEcho(reason: string): string {
  return /^(?:tag name|undeclared tag|there is a previously)/.test(reason) ? "a tag that is not allowed" : reason
}

class TreeBuilder {
  readonly #text: string
  readonly #hasOlderBreak: boolean
  readonly #frames: Frame[] = []
  readonly #anchors = new Map<string, { node: Exclude<YamlNode, YamlAlias>; cost: Cost; open: boolean }>()
  #root: YamlNode | null = null
  #documents = 0
  #aliases = 0
  #repeatedText = 0
  /** Where the last event ended: the place of a node that has no text of its own. */
  #last = 0

  constructor(text: string) {
    this.#text = text
    this.#hasOlderBreak = olderBreak.test(text)
  }

  build(events: readonly Event[]): YamlNode | null {
    for (const event of events) {
      if (event.type === EVENT_ID.DOCUMENT) this.#startDocument(event)
      else if (event.type === EVENT_ID.POP) this.#close()
      else if (event.type === EVENT_ID.SCALAR) this.#addScalar(event)
      else if (event.type === EVENT_ID.ALIAS) this.#addAlias(event.anchorStart, event.anchorEnd)
      else this.#open(event)
    }
    return this.#root
  }

  #startDocument({ directives, explicitStart }: DocumentEvent): void {
    const marker = /^---(?=\s|$)/gm
    marker.lastIndex = this.#last
    const start = explicitStart ? (marker.exec(this.#text)?.index ?? this.#last) : this.#last
    if (++this.#documents > 1) throw new Unreadable("more than one document", start)
    if (directives.some(({ kind }) => kind === "tag")) throw new Unreadable("a %TAG directive is not supported", 0)
    if (explicitStart) this.#last = start + 3
  }

  #open(event: Extract<Event, { start: number }>): void {
    const sequence = event.type === EVENT_ID.SEQUENCE
    if (this.#frames.length >= maxDepth) throw tooComplex(`nested more than ${maxDepth} deep`, event.start)
    const tag = this.#slice(event.tagStart, event.tagEnd)
    if (tag !== "" && tag !== "!" && nameOfTag(tag) !== (sequence ? "seq" : "map")) throw unsupportedTag(event.tagStart)
    const node: YamlSequence | YamlMapping = sequence
      ? { kind: "sequence", at: event.start, items: [] }
      : { kind: "mapping", at: event.start, pairs: [] }
    const anchor = event.anchorStart === -1 ? null : this.#slice(event.anchorStart, event.anchorEnd)
    const cost = { nodes: 1, text: 0, depth: 1 }
    if (anchor !== null) this.#anchors.set(anchor, { node, cost, open: true })
    this.#frames.push({ node, cost, anchor, key: null })
    this.#last = Math.max(this.#last, event.start)
  }

  #close(): void {
    const frame = this.#frames.pop()
    if (!frame) return
    const anchor = frame.anchor === null ? undefined : this.#anchors.get(frame.anchor)
    if (anchor?.node === frame.node) anchor.open = false
    this.#add(frame.node, frame.cost)
  }

  #addScalar(event: ScalarEvent): void {
    const value = getScalarValue(this.#text, event)
    const unended = value.endsWith("\n") && this.#isUnended(event)
    const text = unended ? value.slice(0, -1) : value
    const at = this.#placeOf(event)
    if (event.style === SCALAR_STYLE.DOUBLE_QUOTED && !text.isWellFormed()) {
      throw new Unreadable("a string holds half of a surrogate pair", at)
    }
    if (event.style === SCALAR_STYLE.DOUBLE_QUOTED && this.#hasDisputedBreak(event)) {
      throw new Unreadable("blank lines behind a line end that a backslash escapes, which readers take differently", at)
    }
    const tag = this.#slice(event.tagStart, event.tagEnd)
    const node = {
      kind: "scalar",
      at,
      text,
      plain: event.style === SCALAR_STYLE.PLAIN,
      unended,
      olderBreak: this.#hasOlderBreak && olderBreak.test(this.#slice(event.valueStart, event.valueEnd)),
      tag,
      tagAt: event.tagStart,
    } as const
    const cost = { nodes: 1, text: text.length, depth: 0 }
    if (event.anchorStart !== -1) {
      this.#anchors.set(this.#slice(event.anchorStart, event.anchorEnd), { node, cost, open: false })
    }
    this.#last = Math.max(this.#last, event.valueEnd, event.tagEnd, event.anchorEnd)
    this.#add(node, cost)
  }

  #isUnended({ style, valueEnd, chomping, indent }: ScalarEvent): boolean {
    const isBlock = style === SCALAR_STYLE.LITERAL_BLOCK || style === SCALAR_STYLE.FOLDED_BLOCK
    if (!isBlock || valueEnd < this.#text.length || chomping === CHOMPING_MODE.STRIP) return false
    // By no pattern anchored at the end: its time grows with the square of the line.
    const lastBreak = Math.max(this.#text.lastIndexOf("\n"), this.#text.lastIndexOf("\r"))
    // Of a last line of nothing but the indentation only a block that keeps all its line ends would make one.
    return this.#text.length - lastBreak - 1 > (chomping === CHOMPING_MODE.KEEP ? 0 : indent)
  }

  /** The specification makes a line feed of each such blank line; yaml makes one fewer, js-yaml none. */
  #hasDisputedBreak({ valueStart, valueEnd }: ScalarEvent): boolean {
    return /(?<!\\)(?:\\\\)*\\(?:\r\n|\n|\r(?!\n))[ \t]*[\r\n]/.test(this.#slice(valueStart, valueEnd))
  }

  #addAlias(start: number, end: number): void {
    const at = start - 1
    if (++this.#aliases > maxAliases) throw tooComplex(`more than ${maxAliases} aliases`, at)
    const anchor = this.#anchors.get(this.#slice(start, end))
    if (!anchor) throw new Unreadable("an alias without its anchor", at)
    if (anchor.open) throw new Unreadable("an alias inside what it stands for", at)
    this.#repeatedText += anchor.cost.text
    if (this.#repeatedText > maxRepeatedText) throw tooComplex("aliases repeat too much text", at)
    this.#last = end
    this.#add({ kind: "alias", at, target: anchor.node }, anchor.cost)
  }

  #add(node: YamlNode, cost: Cost): void {
    const frame = this.#frames.at(-1)
    if (!frame) {
      this.#root = node
      return
    }
    this.#charge(frame, node, cost)
    if (frame.node.kind === "sequence") frame.node.items.push(node)
    else if (frame.key) {
      frame.node.pairs.push({ key: frame.key, value: node })
      frame.key = null
    } else frame.key = node
  }

  #charge(frame: Frame, node: YamlNode, cost: Cost): void {
    frame.cost.nodes += cost.nodes
    frame.cost.text += cost.text
    frame.cost.depth = Math.max(frame.cost.depth, cost.depth + 1)
    if (frame.cost.nodes > maxNodes) throw tooComplex(`more than ${maxNodes} values`, node.at)
    if (this.#frames.length + cost.depth > maxDepth) throw tooComplex(`nested more than ${maxDepth} deep`, node.at)
  }

  /** Where a scalar begins, its quote or block mark included. */
  #placeOf(event: ScalarEvent): number {
    if (event.valueStart === -1) return Math.max(this.#last, 0)
    if (event.style === SCALAR_STYLE.PLAIN) return event.valueStart
    if (event.style === SCALAR_STYLE.LITERAL_BLOCK || event.style === SCALAR_STYLE.FOLDED_BLOCK) {
      const from = Math.max(this.#last, event.tagEnd, event.anchorEnd)
      const mark = /^(?:[^|>#]|#.*)*/.exec(this.#text.slice(from, event.valueStart))?.[0].length ?? 0
      return Math.min(from + mark, event.valueStart)
    }
    return event.valueStart - 1
  }

  #slice(start: number, end: number): string {
    return start === -1 ? "" : this.#text.slice(start, end)
  }
}

/** `!!str` and `!<tag:yaml.org,2002:str>` -> `str`; null: not one of YAML's own. */
export function nameOfTag(tag: string): string | null {
  return /^!(?:!|<tag:yaml\.org,2002:)([a-z]+)>?$/.exec(tag)?.[1] ?? null
}

export function unsupportedTag(at: number): Unreadable {
  return new Unreadable("a tag that is not one of !!str !!int !!float !!bool !!null !!map !!seq", at)
}

function tooComplex(message: string, at: number): Unreadable {
  return new Unreadable(message, at, { tooComplex: true })
}
