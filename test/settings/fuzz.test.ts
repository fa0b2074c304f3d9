import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { stringify } from "yaml"
import { Mistakes, SettingsError } from "../../src/settings/mistakes.ts"
import { settingsSchema } from "../../src/settings/schema.ts"
import { settingsTable } from "../../src/settings/table.ts"
import { leastSettings, makeWorkspace, originalSettings, type Workspace } from "./workspace.ts"

/** Words that mean something here, so that the fuzz gets past the first check. */
const words = [
  ...new Set([
    ...settingsTable().flatMap(({ name }) => name.split(/[.[\]]+/)),
    ...Object.keys(settingsSchema.properties),
  ]),
  ...[
    "vm01",
    "central",
    "default",
    "role=edge",
    "__proto__",
    "constructor",
    "<<",
    "none",
    "yaml",
    "AES",
    "/a.yml",
    "0640",
  ],
]
const word = fc.constantFrom(...words)
const value = fc.letrec((tie) => ({
  node: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    word,
    fc.integer({ min: -1, max: 100_000 }),
    fc.boolean(),
    fc.constant(null),
    fc.string(),
    fc.array(tie("node"), { maxLength: 3 }),
    fc.dictionary(fc.oneof({ weight: 5, arbitrary: word }, { weight: 1, arbitrary: fc.string() }), tie("node"), {
      maxKeys: 5,
    }),
  ),
})).node

/** Settings that are right but for one place somewhere. */
const nearlyRight = fc
  .tuple(fc.constantFrom(leastSettings, originalSettings), fc.nat(), fc.nat(20), fc.oneof(fc.string(), word))
  .map(([text, at, length, put]) => text.slice(0, at % text.length) + put + text.slice((at % text.length) + length))

/** Whatever the file holds: settings, or a SettingsError whose every line is one line and names a place. */
async function holds(workspace: Workspace, text: string | Uint8Array): Promise<void> {
  try {
    await workspace.load(text)
  } catch (error) {
    assert.ok(error instanceof SettingsError, `not a SettingsError: ${String(error)}`)
    const [first, ...lines] = error.message.split("\n")
    assert.match(first ?? "", /: [0-9]+ mistakes?$/)
    assert.equal(lines.length, error.mistakes.length)
    for (const line of lines) assert.match(line, /^ {2}(line [0-9]+: )?\P{Cc}+: \P{Cc}+; expected \P{Cc}+$/u)
  }
}

suite("loadSettings only ever throws SettingsError", () => {
  test("for any bytes", async (t) => {
    const workspace = await makeWorkspace(t)
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), (bytes) => holds(workspace, bytes)),
      { numRuns: 300 },
    )
  })

  test("for any tree of words that mean something here", async (t) => {
    const workspace = await makeWorkspace(t)
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...Object.keys(settingsSchema.properties)), value), (root) =>
        holds(workspace, stringify(root)),
      ),
      { numRuns: 400 },
    )
  })

  test("for right settings with something put in the wrong place", async (t) => {
    const workspace = await makeWorkspace(t)
    await fc.assert(
      fc.asyncProperty(nearlyRight, (text) => holds(workspace, text)),
      { numRuns: 400 },
    )
  })
})

test("Mistakes.at and touch tell what is above, at and below a mistake", () => {
  const mistakes = new Mistakes(() => null)
  mistakes.add(["vms", "a/b", "ip"], "is missing; expected one")
  assert.deepEqual(
    [["vms"], ["vms", "a/b"], ["vms", "a/b", "ip"], ["vms", "a/b", "ip", "x"], ["vms", "a"]].map((path) => [
      mistakes.at(...path),
      mistakes.touch(...path),
      mistakes.exactlyAt(...path),
    ]),
    [
      [false, true, false],
      [false, true, false],
      [true, true, true],
      [true, true, false],
      [false, false, false],
    ],
  )
})
