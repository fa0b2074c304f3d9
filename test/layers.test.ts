import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { test } from "node:test"

const src = join(import.meta.dirname, "..", "src")

/** Which top-level parts of src/ each part may import, besides itself and domain. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  documents: [],
  validation: [],
  ssh: [],
  blobs: [],
  sqlite: [],
  services: ["documents"],
  jobs: ["services"],
  http: ["services", "documents"],
  settings: ["settings.ts"],
  "settings.ts": ["settings"],
  cli: ["settings", "settings.ts"],
  "log.ts": ["log-output.ts"],
  metrics: [],
}

/** Parts that import everything: they wire. */
const wiring = new Set(["main.ts", "compose.ts", "compose"])

/** Packages that only one part may know. */
const owners: Readonly<Record<string, string>> = {
  fastify: "http",
  ssh2: "ssh",
  "better-sqlite3": "sqlite",
  ajv: "validation settings http",
  "prom-client": "metrics",
  "js-yaml": "documents http",
}

test("imports follow the arrows of CONTRIBUTING.md", () => {
  const wrong = imports().flatMap(({ file, part, target }) => {
    const [to = ""] = target.split("/")
    const allowed = part === to || to === "domain" || wiring.has(part) || arrows[part]?.includes(to)
    return allowed ? [] : [`src/${file} imports src/${target}`]
  })
  assert.deepEqual(wrong, [])
})

test("every part of src/ has its arrows", () => {
  const parts = new Set(imports().map(({ part }) => part))
  const unknown = [...parts].filter((part) => !wiring.has(part) && !(part in arrows))
  assert.deepEqual(unknown, [])
})

test("a technology is known in its own part only", () => {
  const wrong = sources().flatMap(({ file, part, text }) => {
    if (wiring.has(part)) return []
    return packagesOf(text).flatMap((name) => {
      const owner = owners[name]
      return owner === undefined || owner.split(" ").includes(part) ? [] : [`src/${file} imports ${name}`]
    })
  })
  assert.deepEqual(wrong, [])
})

test("the domain imports no technology and reads no files", () => {
  const wrong = sources()
    .filter(({ part }) => part === "domain")
    .flatMap(({ file, text }) =>
      packagesOf(text)
        .filter((name) => name !== "node:crypto")
        .map((name) => `${file}: ${name}`),
    )
  assert.deepEqual(wrong, [])
})

test("the environment is read in main.ts only", () => {
  const readers = sources()
    .filter(({ text }) => /process\.(env|argv)\b/.test(text))
    .map(({ file }) => file)
  assert.deepEqual(readers, ["main.ts"])
})

function sources() {
  return readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .sort()
    .map((file) => ({ file, part: file.split("/")[0] ?? file, text: readFileSync(join(src, file), "utf8") }))
}

function imports() {
  return sources().flatMap(({ file, part, text }) =>
    specifiersOf(text)
      .filter((name) => name.startsWith("."))
      .map((name) => ({ file, part, target: normalize(join(dirname(file), name)) })),
  )
}

function packagesOf(text: string): readonly string[] {
  return specifiersOf(text)
    .filter((name) => !name.startsWith("."))
    .map((name) =>
      name.startsWith("@")
        ? name.split("/").slice(0, 2).join("/")
        : name.startsWith("node:")
          ? name
          : (name.split("/")[0] ?? name),
    )
}

function specifiersOf(text: string): readonly string[] {
  const found = text.matchAll(
    /(?:^|\n)(?:import|export)\s[^"]*?from\s+"([^"]+)"|import\("([^"]+)"\)|(?:^|\n)import\s+"([^"]+)"/g,
  )
  return [...found].map((match) => match[1] ?? match[2] ?? match[3] ?? "")
}
