/** One instruction of a Dockerfile, its continued lines joined. */
export interface Instruction {
  /** In capitals. */
  readonly name: string
  readonly value: string
}

export interface Stage {
  readonly from: string
  readonly as: string | null
  readonly instructions: readonly Instruction[]
}

/** The stages of a Dockerfile, first to last. */
export function stagesOf(text: string): readonly Stage[] {
  const lines = text
    .replaceAll(/^\s*#.*\n/gm, "")
    .replaceAll("\\\n", " ")
    .split("\n")
    .map((line) => line.trim().replaceAll(/\s+/g, " "))
  const stages: { from: string; as: string | null; instructions: Instruction[] }[] = []
  for (const line of lines.filter((line) => line !== "")) {
    const [, name = "", value = ""] = /^(\S+) (.*)$/.exec(line) ?? []
    if (name.toUpperCase() === "FROM") {
      const [, from = "", as] = /^(\S+)(?: AS (\S+))?$/i.exec(value) ?? []
      stages.push({ from, as: as ?? null, instructions: [] })
    } else {
      stages.at(-1)?.instructions.push({ name: name.toUpperCase(), value })
    }
  }
  return stages
}

/** What COPYs of a stage take out of the checkout, and where it goes. */
export function copiedFrom({ instructions }: Stage): readonly { readonly source: string; readonly target: string }[] {
  return instructions
    .filter(({ name, value }) => name === "COPY" && !value.startsWith("--from="))
    .flatMap(({ value }) => {
      const parts = value.split(" ")
      const target = parts.at(-1) ?? ""
      return parts.slice(0, -1).map((source) => ({ source, target: target.endsWith("/") ? source : target }))
    })
}

/** Whether a .dockerignore lets a path of the checkout into the build: the last pattern that fits decides. */
export function letsIn(dockerignore: string, path: string): boolean {
  const patterns = dockerignore.split("\n").filter((line) => line !== "" && !line.startsWith("#"))
  return patterns.reduce((isIn, pattern) => {
    const fits = fitting(pattern.replace(/^!/, ""), path)
    return fits ? pattern.startsWith("!") : isIn
  }, true)
}

/** A pattern fits a path, or a directory above it. `**` is any number of directories, `*` any run within one. */
function fitting(pattern: string, path: string): boolean {
  const expression = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("**/", "\0")
    .replaceAll("*", "[^/]*")
    .replaceAll("\0", "(?:.*/)?")
  return new RegExp(`^${expression}(?:/|$)`).test(path)
}
