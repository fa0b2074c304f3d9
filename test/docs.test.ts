import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { generatedParts, withParts } from "./support/docs.ts"

const root = join(import.meta.dirname, "..")
const readme = readFileSync(join(root, "README.md"), "utf8")
const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
  readonly scripts: Readonly<Record<string, string>>
}

suite("README.md", () => {
  test("has every setting, route and problem code of the code (npm run docs writes them)", () => {
    assert.equal(readme, withParts(readme, generatedParts()))
  })

  test("names only npm scripts that exist", () => {
    const named = [...readme.matchAll(/npm (?:run )?([a-z:]+)/g)].map(([, name]) => name ?? "")
    const unknown = named.filter((name) => !(name in scripts) && !["ci", "start", "test"].includes(name))
    assert.deepEqual(unknown, [])
  })

  test("links only to files that exist", () => {
    const files = new Set(readdirSync(root, { recursive: false, encoding: "utf8" }))
    const links = [...readme.matchAll(/\]\((?!https?:|#)([^)]+)\)/g)].map(([, target]) => target ?? "")
    assert.deepEqual(
      links.filter((target) => !files.has(target.split("/")[0] ?? "")),
      [],
    )
  })
})
