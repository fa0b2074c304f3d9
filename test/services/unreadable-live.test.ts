import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { FormatName } from "../../src/domain/config-type.ts"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, ref, withRig } from "./rig.ts"

const options = { validate: true, backup: true, dryRun: false, precondition: anyone }

/** Codes and counts of the warnings of a JSON body over a live file. */
async function told(format: FormatName, before: string | Uint8Array, value: unknown): Promise<readonly string[]> {
  let lines: readonly string[] = []
  await withRig({ files: { [live]: file(before) }, type: { format, yamlVersion: null } }, async ({ configs }) => {
    const { warnings } = await configs.put(ref, { value }, options, caller())
    lines = warnings.map(({ code, message }) => (code === "comments_lost" ? `${code} ${/^\d+/.exec(message)}` : code))
  })
  return lines.filter((line) => line !== "no_schema")
}

suite("a JSON body over a live file that cannot be parsed", () => {
  test("says that it goes whole, and how many comments go, as far as they can be told", async () => {
    const shared = "# database\nA=1\n# the rest is shared\n. ./other.env\nB=2 # two\nC=a#b\n"
    assert.deepEqual(await told("env", shared, { A: "1" }), ["comments_lost 3", "not_parsable"])
    assert.deepEqual(await told("env", "# one\nA=1\nA=2\n", { A: "2" }), ["comments_lost 1", "not_parsable"])
    assert.deepEqual(await told("yaml", "# head\na: 1 # one\n\tb: 2\n", { a: 1 }), ["comments_lost 2", "not_parsable"])
    assert.deepEqual(await told("yaml", "# head\na: *x # one\n", { a: 1 }), ["comments_lost 2", "not_parsable"])
    const commented = '// head\n{"a": "http://x", // one\n /* two */ "b": 1}\n'
    assert.deepEqual(await told("json", commented, { a: 1 }), ["comments_lost 3", "not_parsable"])
    assert.deepEqual(await told("json", '{"a":1,}', { a: 1 }), ["not_parsable"])
    assert.deepEqual(await told("yaml", Buffer.from([0x61, 0x3a, 0x20, 0xff]), { a: 1 }), ["not_parsable"])
  })

  test("says where the mistake is and nothing of the file, and nothing where nothing stood", async () => {
    const before = "A=s3cret\ns3cret s3cret\n"
    await withRig({ files: { [live]: file(before) }, type: { format: "env" } }, async (rig) => {
      const { warnings } = await rig.configs.put(ref, { value: { A: "1" } }, options, caller())
      const { message = "" } = warnings.find(({ code }) => code === "not_parsable") ?? {}
      assert.match(message, /\(line 2, column 1\)/)
      assert.doesNotMatch(message, /s3cret/)
      assert.equal(rig.text(), "A=1\n")
    })
    for (const format of ["json", "env", "yaml"] as const) assert.deepEqual(await told(format, "", { a: "1" }), [])
  })
})
