import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { suite, test } from "node:test"
import { fileURLToPath } from "node:url"
import { parseDocument } from "../../src/documents/document.ts"
import { AjvValidator } from "../../src/validation/validator.ts"

const schemaDir = fileURLToPath(new URL("../../configs/schemas", import.meta.url))
const exampleFile = new URL("../../configs/config.example.yml", import.meta.url)

interface Example {
  readonly vms: Readonly<Record<string, unknown>>
  readonly config_management: {
    readonly config_paths: Readonly<Record<string, unknown>>
    readonly config_schemas: Readonly<Record<string, string>>
  }
}

async function example(): Promise<Example> {
  const { value, warnings } = parseDocument(await readFile(exampleFile), { format: "yaml", yamlVersion: null })
  assert.deepEqual(warnings, [])
  return value as Example
}

async function withExamples(step: (validator: AjvValidator) => Promise<void>): Promise<void> {
  const validator = new AjvValidator({ schemaDir })
  try {
    await validator.load(new Map(Object.entries((await example()).config_management.config_schemas)))
    await step(validator)
  } finally {
    await validator.close()
  }
}

suite("configs/config.example.yml", () => {
  test("has the original's four VMs and three types, and a schema for each", async () => {
    const { vms, config_management } = await example()
    assert.deepEqual(Object.keys(vms), ["vm01", "vm02", "vm03", "vm04"])
    assert.deepEqual(Object.keys(config_management.config_paths), ["central", "vm_specific", "env"])
    assert.deepEqual(Object.keys(config_management.config_schemas), ["central", "vm_specific", "env"])
  })
})

suite("configs/schemas", () => {
  test("compile, with titles, and only env has secrets", () =>
    withExamples(async (validator) => {
      assert.deepEqual(
        validator.schemas().map(({ type, hasSecrets }) => [type, hasSecrets]),
        [
          ["central", false],
          ["env", true],
          ["vm_specific", false],
        ],
      )
      assert.ok(validator.schemas().every(({ title }) => title))
    }))

  test("take files with members that they do not describe", () =>
    withExamples(async (validator) => {
      const central = { config_version: "1", services: { n8n: { port: 5678, extra: [] } }, anything: { else: true } }
      assert.deepEqual((await validator.validate("central", central)).errors, [])
      assert.deepEqual((await validator.validate("vm_specific", { vm_id: "vm01", anything: 1 })).errors, [])
      assert.deepEqual((await validator.validate("env", { POSTGRES_PORT: "5432", ANYTHING: "" })).errors, [])
    }))

  test("refuse what is plainly wrong", () =>
    withExamples(async (validator) => {
      const pointers = async (type: string, value: unknown) =>
        (await validator.validate(type, value)).errors.map(({ pointer }) => pointer)
      assert.deepEqual(await pointers("central", { config_version: true, services: { n8n: { port: 70000 } } }), [
        "/config_version",
        "/services/n8n/port",
      ])
      assert.deepEqual(await pointers("central", {}), [""])
      assert.deepEqual(
        await pointers("vm_specific", { services: { jupyter: { port: "8888" } }, logging: { level: "loud" } }),
        ["/services/jupyter/port", "/logging/level"],
      )
      assert.deepEqual(await pointers("env", { POSTGRES_PORT: "many" }), ["/POSTGRES_PORT"])
    }))
})
