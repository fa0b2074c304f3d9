import assert from "node:assert/strict"
import { test } from "node:test"
import { Ajv2020 } from "ajv/dist/2020.js"
import { settingsSchema } from "../../src/settings/schema.ts"

// A start does not check the schema itself: this does.
test("the schema of the settings is a schema of draft 2020-12 that Ajv compiles", () => {
  const ajv = new Ajv2020({
    strictTypes: true,
    allowUnionTypes: true,
    keywords: ["x-expected"],
    validateFormats: false,
  })
  assert.equal(ajv.validateSchema(settingsSchema), true, ajv.errorsText())
  assert.equal(typeof ajv.compile(settingsSchema), "function")
})
