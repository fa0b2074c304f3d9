import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { parseArguments } from "../../src/cli/arguments.ts"
import { faces } from "../../src/http/problem.ts"

const root = join(import.meta.dirname, "..", "..")
const text = readFileSync(join(root, "docs", "operate.md"), "utf8")
const blocks = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block ?? "")

function distinct(pattern: RegExp, within = text): readonly string[] {
  return [...new Set([...within.matchAll(pattern)].map(([, found]) => found ?? ""))]
}

suite("docs/operate.md", () => {
  test("has blocks that a shell can read", () => {
    const unreadable = blocks.map((block) => spawnSync("bash", ["-n"], { input: block, encoding: "utf8" }).stderr)
    assert.ok(unreadable.length > 10)
    assert.deepEqual(
      unreadable.filter((complaint) => complaint !== ""),
      [],
    )
  })

  test("links to headings and files that exist", () => {
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, "")
        .replaceAll(" ", "-"),
    )
    const links = distinct(/\]\(([^)]+)\)/g)
    const broken = links.filter((link) =>
      link.startsWith("#") ? !headings.includes(link.slice(1)) : !existsSync(join(root, "docs", link)),
    )
    assert.deepEqual(broken, [])
  })

  test("names only files of the checkout that exist", () => {
    const named = [
      ...distinct(/\/opt\/config-manager\/([\w./-]*\w)/g),
      ...distinct(/(?:^|\s)((?:deploy|bin|scripts|configs|node_modules\/\.bin)\/[\w./-]*\w)/gm),
    ]
    assert.deepEqual(
      named.filter((path) => path !== "configs/schemas/" && !existsSync(join(root, path))),
      [],
    )
  })

  test("gives only commands that the command line understands", () => {
    const commands = blocks
      .flatMap((block) => block.split("\n"))
      .flatMap((line) => /^(?:config-manager|\S+\/node \S*bin\/config-manager\.js) (.*)$/.exec(line)?.[1] ?? [])
      .map((command) => command.replace(/ >.*| +#.*/, ""))
    assert.ok(commands.length >= 8)
    const refused = commands.filter((command) => parseArguments(command.split(" ")).command === "refused")
    assert.deepEqual(refused, [])
  })

  test("names only problem codes that exist", () => {
    const codes = distinct(/\b(?:409|502|503|507) `([a-z_]+)`/g)
    assert.ok(codes.length >= 3)
    assert.deepEqual(
      codes.filter((code) => !Object.hasOwn(faces, code)),
      [],
    )
  })

  test("keeps to the places that the unit, the compose file and the image have", () => {
    for (const file of ["deploy/systemd/config-manager.service", "deploy/compose.yml", "Dockerfile"]) {
      const content = readFileSync(join(root, file), "utf8")
      for (const place of ["/etc/config-manager", "/var/lib/config-manager", "/var/backups/config-manager"]) {
        assert.ok(text.includes(place) && content.includes(place), `${place} in ${file}`)
      }
    }
  })
})
