import { readFileSync } from "node:fs"
import { join } from "node:path"
import { load } from "js-yaml"
import { faces } from "../../src/http/problem.ts"
import { settingsTable } from "../../src/settings/table.ts"

const root = join(import.meta.dirname, "..", "..")

interface Operation {
  readonly summary?: string
}

/** Tables of README.md by the name of their place there. */
export function generatedParts(): Readonly<Record<string, string>> {
  return { settings: settingsPart(), routes: routesPart(), problems: problemsPart() }
}

/** The text with each `<!-- name -->...<!-- /name -->` filled in. @throws {Error} where a place is missing */
export function withParts(text: string, parts: Readonly<Record<string, string>>): string {
  return Object.entries(parts).reduce((all, [name, part]) => {
    const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
    const [from, to] = [all.indexOf(begin), all.indexOf(end)]
    if (from < 0 || to < from) throw new Error(`README.md has no place for the ${name}: ${begin} ... ${end}`)
    return `${all.slice(0, from + begin.length)}\n\n${part}\n\n${all.slice(to)}`
  }, text)
}

function settingsPart(): string {
  const rows = settingsTable().map(({ name, default: value, text }) => {
    const shown = value === "" ? "" : value === "required" ? "required" : `\`${value}\``
    return `| \`${name}\` | ${shown} | ${cell(text)} |`
  })
  return ["| Setting | Default | Means |", "| --- | --- | --- |", ...rows].join("\n")
}

function routesPart(): string {
  const { paths } = load(readFileSync(join(root, "openapi.yaml"), "utf8")) as {
    readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  }
  const rows = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([method]) => ["get", "put", "post", "patch", "delete"].includes(method))
      .map(([method, { summary }]) => `| \`${method.toUpperCase()} ${path}\` | ${cell(summary ?? "")} |`),
  )
  return ["| Call | Does |", "| --- | --- |", ...rows].join("\n")
}

function problemsPart(): string {
  const byStatus = Map.groupBy(Object.entries(faces), ([, { status }]) => status)
  const rows = [...byStatus]
    .sort(([a], [b]) => a - b)
    .map(([status, codes]) => `| ${status} | ${codes.map(([code]) => `\`${code}\``).join(", ")} |`)
  return ["| Status | Codes |", "| --- | --- |", ...rows].join("\n")
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;").replaceAll("\n", " ")
}
