import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { anyone, caller, ref, refusal, withRig } from "./rig.ts"

suite("Configs.validate says of a value what its PUT says", () => {
  const refused: readonly [string, Partial<ConfigType>, unknown, RegExp][] = [
    ["a number in an env file", { format: "env" }, { A: 1 }, /^must be a string/],
    ["a text that no env quoting gives back", { format: "env" }, { A: "'\"`" }, /no quoting gives it back$/],
    ["more values than YAML is read with", { format: "yaml" }, Array(60_000).fill(1), /^more than 50000 values$/],
  ]
  for (const [what, type, value, message] of refused) {
    test(`${what}: not valid, and why`, async () => {
      await withRig({ type }, async ({ configs }) => {
        const report = await configs.validate(ref, { value })
        const { details } = await refusal(configs.put(ref, { value }, options, caller()))
        assert.equal(report.valid, false)
        assert.match(report.errors[0]?.message ?? "", message)
        assert.deepEqual(report.errors, details.errors)
      })
    })
  }

  test("more bytes than its type allows, in any layout: refused", async () => {
    await withRig({ type: { format: "json", maxBytes: 14 } }, async ({ configs }) => {
      const { code } = await refusal(configs.validate(ref, { value: { long: "1234" } }))
      assert.equal(code, "body_too_large")
      // It fits where the live file has no line breaks.
      assert.equal((await configs.validate(ref, { value: { long: "123" } })).valid, true)
    })
  })
})

const options = { validate: true, backup: true, dryRun: false, precondition: anyone }
