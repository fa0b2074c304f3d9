import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { parseJson } from "../../src/documents/json.ts"
import { Fault } from "../../src/domain/fault.ts"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, ref, withRig } from "./rig.ts"

const options = { validate: true, backup: true, dryRun: false, precondition: anyone }

suite("a JSON body over an env file", () => {
  test("changes the lines of no other members, and tells how many comments go", async () => {
    const before = "# head\nexport MODE=prod # why\nPW='pa$HOME`id`'\nPORT=1 # old\nGONE=1 # with it\n"
    await withRig({ files: { [live]: file(before) }, type: { format: "env" } }, async (rig) => {
      const value = { MODE: "prod", PW: "pa$HOME`id`", PORT: "2", GONE: "1" }
      const all = await rig.configs.put(ref, { value }, options, caller())
      assert.equal(rig.text(), before.replace("PORT=1", "PORT=2"))
      assert.ok(!all.warnings.some(({ code }) => code === "comments_lost"))

      const fewer = parseJson(Buffer.from('{"10":"a","2":"b","MODE":"test","PW":"it\'s"}'))
      const { warnings } = await rig.configs.put(ref, fewer, options, caller())
      assert.equal(rig.text(), '# head\nexport MODE=test # why\nPW="it\'s"\n10=a\n2=b\n')
      assert.match(warnings.find(({ code }) => code === "comments_lost")?.message ?? "", /^2 comments /)
    })
  })

  const put = async (before: string, value: unknown) => {
    let after: string | null = null
    await withRig({ files: { [live]: file(before) }, type: { format: "env" } }, async (rig) => {
      await rig.configs.put(ref, { value }, options, caller())
      after = rig.text()
    })
    return after
  }

  test("refuses to write behind a line that a shell reads on", async () => {
    const backslash = "A=C:\\dir\\"
    const A = "C:\\dir\\"
    for (const [before, value, pointer] of [
      [`${backslash}\n`, { A, C: "y" }, "/C"],
      [backslash, { A, C: "y" }, "/C"],
      [`${backslash}\nB=2\nC=3\n`, { A, B: "two", C: "3" }, "/B"],
      // Without B it would be C that the shell does not see.
      [`${backslash}\nB=2\nC=3\n`, { A, C: "3" }, "/B"],
      ["# note\rB=2\n", { B: "two" }, "/B"],
      ["A=1\rB=2\n", { A: "1", B: "two" }, "/B"],
    ] as const) {
      await assert.rejects(put(before, value), (error) => {
        assert.ok(error instanceof Fault)
        assert.equal(error.code, "invalid_body")
        const [told] = error.details.errors ?? []
        assert.deepEqual([told?.pointer, /shell/.test(told?.message ?? "")], [pointer, true], JSON.stringify(before))
        return true
      })
    }
  })

  test("writes before such a line, in its place, and behind one that only looks like it", async () => {
    const backslash = "DIR=C:\\dir\\"
    const DIR = "C:\\dir\\"
    for (const [before, value, after] of [
      [`A=1\n${backslash}\nB=2\n`, { A: "x", DIR, B: "2" }, `A=x\n${backslash}\nB=2\n`],
      [`${backslash}\nB=2\n`, { DIR: "/dir", B: "two" }, "DIR=/dir\nB=two\n"],
      [`${backslash}\n\nB=2\n`, { DIR, B: "two" }, `${backslash}\n\nB=two\n`],
      [
        `A=1 # ${DIR}\n# ${DIR}\nB=2 # ${DIR}\nC=3\n`,
        { A: "1", B: "2", C: "x" },
        `A=1 # ${DIR}\n# ${DIR}\nB=2 # ${DIR}\nC=x\n`,
      ],
      [`A=1 # ${DIR}\nB=2\n`, { A: "1", B: "x" }, `A=1 # ${DIR}\nB=x\n`],
    ] as const) {
      assert.equal(await put(before, value), after)
    }
  })
})
