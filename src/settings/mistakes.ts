import { StartError } from "../domain/start-error.ts"

/** Keys and list positions that lead to a setting. */
export type SettingPath = readonly (string | number)[]

/** One thing that is wrong in a settings file. `text` reads "what is wrong; expected ..." and never holds a text value. */
export interface Mistake {
  readonly path: SettingPath
  readonly text: string
  /** From 1; null: no line of the file stands for it. */
  readonly line: number | null
}

/** A settings file that cannot be used: all of its mistakes, each with its line. */
export class SettingsError extends StartError {
  readonly file: string
  readonly mistakes: readonly Mistake[]

  constructor(file: string, mistakes: readonly Mistake[], options?: { readonly cause?: unknown }) {
    const sorted = [...mistakes].sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
    const count = sorted.length === 1 ? "1 mistake" : `${sorted.length} mistakes`
    super([`${file}: ${count}`, ...sorted.map(mistakeLine)].join("\n"), options)
    this.name = "SettingsError"
    this.file = file
    this.mistakes = sorted
  }
}

/** Gathers the mistakes of one file; the lines are found by `lineOf`. */
export class Mistakes {
  readonly found: Mistake[] = []
  readonly #lineOf: (path: SettingPath) => number | null
  readonly #places = new Set<string>()
  readonly #aboveThem = new Set<string>()

  constructor(lineOf: (path: SettingPath) => number | null) {
    this.#lineOf = lineOf
  }

  add(path: SettingPath, text: string, line = this.#lineOf(path)): void {
    this.found.push({ path, text, line })
    this.#places.add(positionKey(path))
    for (let length = path.length - 1; length > 0; length -= 1) this.#aboveThem.add(positionKey(path.slice(0, length)))
  }

  /** Whether a mistake was found at `path` itself. */
  exactlyAt(...path: SettingPath): boolean {
    return this.#places.has(positionKey(path))
  }

  /** Whether a mistake was found at `path` or above it: its value is not to be looked into. */
  at(...path: SettingPath): boolean {
    return path.some((_, index) => this.#places.has(positionKey(path.slice(0, index + 1))))
  }

  /** Whether a mistake was found at `path`, above or below it. */
  touch(...path: SettingPath): boolean {
    return this.#aboveThem.has(positionKey(path)) || this.at(...path)
  }
}

/** A path as the key of a map (as RFC 6901 has it, less the first slash). */
export function positionKey(path: SettingPath): string {
  return path.map((segment) => String(segment).replaceAll("~", "~0").replaceAll("/", "~1")).join("/")
}

/** `vms.vm01.labels."odd key"`, `auth.tokens[0].name`; the empty path is the file itself. */
export function pathText(path: SettingPath): string {
  const text = path.map((segment) => (typeof segment === "number" ? `[${segment}]` : `.${keyText(segment)}`)).join("")
  return text === "" ? "the file" : text.replace(/^\./, "")
}

/** A key as it can stand in a message: quoted and cut where it is odd, so that it stays on one line. */
export function keyText(key: string): string {
  if (/^[A-Za-z0-9_.=/-]{1,80}$/.test(key)) return key
  return JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}...` : key)
}

function mistakeLine(mistake: Mistake): string {
  const line = mistake.line === null ? "" : `line ${mistake.line}: `
  return `  ${line}${pathText(mistake.path)}: ${mistake.text}`
}
