import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { parseJson } from "../../src/documents/json.ts"
import type { FormatName } from "../../src/domain/config-type.ts"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, ref, withRig } from "./rig.ts"

const options = { validate: true, backup: true, dryRun: false, precondition: anyone }

suite("a JSON body", () => {
  const body = '{"rules":[{"b":1,"10":{"2":0,"1":0},"\\u0039":3}],"8":4}'
  const written: readonly (readonly [FormatName, string, string])[] = [
    ["json", "{}", body.replace("\\u0039", "9")],
    ["yaml", "", "rules:\n  - b: 1\n    '10':\n      '2': 0\n      '1': 0\n    '9': 3\n'8': 4\n"],
  ]
  for (const [format, before, after] of written) {
    test(`is written with its keys in the order in which they were sent, as ${format}`, async () => {
      await withRig({ files: { [live]: file(before) }, type: { format } }, async (rig) => {
        await rig.configs.put(ref, parseJson(Buffer.from(body)), options, caller())
        assert.equal(rig.text()?.replaceAll(format === "json" ? /\s/g : /\r/g, ""), after)
      })
    })
  }
})
