import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { file } from "../fakes/memory-transport.ts"
import { anyone, caller, live, ref, withRig } from "./rig.ts"

const options = { validate: true, backup: true, dryRun: false, precondition: anyone }

suite("a JSON body over a YAML file with keys and dates that JSON does not have", () => {
  const text = "ports: {80: http, 443: https}\nvalid_until: 2027-01-01\nworkers: 2\n"
  const value = { ports: { 80: "http", 443: "https" }, valid_until: "2027-01-01" }

  test("says how many become text", async () => {
    await withRig({ files: { [live]: file(text) }, type: { yamlVersion: null } }, async ({ configs }) => {
      const { warnings } = await configs.put(ref, { value: { ...value, workers: 4 } }, options, caller())
      const [changed] = warnings.filter(({ code }) => code === "types_changed")
      assert.match(changed?.message ?? "", /^Keys and dates of the live file become text, 3 of them: /)
      // They are text by now.
      const again = await configs.put(ref, { value: { ...value, workers: 5 } }, options, caller())
      assert.ok(!again.warnings.some(({ code }) => code === "types_changed"))
    })
  })

  test("says nothing where it changes nothing, or is the text itself", async () => {
    await withRig({ files: { [live]: file(text) }, type: { yamlVersion: null } }, async ({ configs, put }) => {
      const same = await configs.put(ref, { value: { ...value, workers: 2 } }, options, caller())
      assert.deepEqual([same.outcome, same.warnings.map(({ code }) => code)], ["unchanged", ["no_schema"]])
      const { warnings } = await put(text.replace("2\n", "4\n"))
      assert.ok(!warnings.some(({ code }) => code === "types_changed"))
    })
  })
})
