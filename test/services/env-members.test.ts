import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { parseJson } from "../../src/documents/json.ts"
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
})
