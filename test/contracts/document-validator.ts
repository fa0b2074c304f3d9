import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { digestOf } from "../../src/domain/digest.ts"
import type { DocumentValidator } from "../../src/domain/document-validator.ts"

/** A validator with a place for its schema files. */
export interface ValidatorHarness {
  readonly validator: DocumentValidator
  /** Puts a schema file where `load` will look for it. */
  writeSchema(file: string, text: string): Promise<void>
  /** Removes everything; the validator is closed already. */
  dispose(): Promise<void>
}

const serverSchema = JSON.stringify({
  title: "A server",
  type: "object",
  properties: { port: { type: "integer", minimum: 1 }, tags: { type: "array", items: { type: "string" } } },
  required: ["port"],
})
const secretSchema = JSON.stringify({ type: "object", additionalProperties: { type: "string", "x-secret": true } })

/** What every DocumentValidator does. */
export function documentValidatorContract(name: string, make: () => Promise<ValidatorHarness>): void {
  const withHarness = async (step: (harness: ValidatorHarness) => Promise<void>): Promise<void> => {
    const harness = await make()
    try {
      await harness.writeSchema("server.json", serverSchema)
      await harness.writeSchema("secret.json", secretSchema)
      await step(harness)
    } finally {
      await harness.validator.close()
      await harness.dispose()
    }
  }

  suite(`${name} keeps the contract of DocumentValidator`, () => {
    test("nothing is in force before the first load", () =>
      withHarness(async ({ validator }) => {
        assert.deepEqual(validator.schemas(), [])
        assert.equal(validator.schemaText("central"), null)
      }))

    test("a type without a schema has no errors", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        assert.deepEqual(await validator.validate("other", { any: "thing" }), { errors: [], truncated: false })
      }))

    test("tells what is in force, by type", () =>
      withHarness(async ({ validator }) => {
        await validator.load(
          new Map([
            ["env", "secret.json"],
            ["central", "server.json"],
          ]),
        )
        assert.deepEqual(validator.schemas(), [
          {
            type: "central",
            file: "server.json",
            digest: digestOf(Buffer.from(serverSchema)),
            title: "A server",
            hasSecrets: false,
          },
          {
            type: "env",
            file: "secret.json",
            digest: digestOf(Buffer.from(secretSchema)),
            title: null,
            hasSecrets: true,
          },
        ])
        assert.equal(validator.schemaText("central")?.toString(), serverSchema)
      }))

    test("a document that keeps its schema has no errors", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        assert.deepEqual(await validator.validate("central", { port: 80 }), { errors: [], truncated: false })
      }))

    test("each error has its pointer and keyword, and none repeats a value", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        const { errors } = await validator.validate("central", { port: "s3cret", tags: ["a", 7] })
        assert.deepEqual(
          errors.map(({ pointer, keyword }) => ({ pointer, keyword })),
          [
            { pointer: "/port", keyword: "type" },
            { pointer: "/tags/1", keyword: "type" },
          ],
        )
        assert.doesNotMatch(JSON.stringify(errors), /s3cret/)
      }))

    test("a missing member is an error of its object", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        const { errors } = await validator.validate("central", {})
        assert.equal(errors[0]?.pointer, "")
        assert.match(errors[0]?.message ?? "", /port/)
      }))

    test("values are neither coerced nor filled in", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        const value = { port: "80" }
        assert.equal((await validator.validate("central", value)).errors.length, 1)
        assert.deepEqual(value, { port: "80" })
      }))

    test("no more than 100 errors are told, and that there were more", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        const { errors, truncated } = await validator.validate("central", { port: 1, tags: Array(200_000).fill(1) })
        assert.equal(errors.length, 100)
        assert.equal(truncated, true)
        assert.equal((await validator.validate("central", { port: 1, tags: Array(100).fill(1) })).truncated, false)
      }))

    test("a load with one broken file names it and leaves all as it was", () =>
      withHarness(async ({ validator, writeSchema }) => {
        await validator.load(new Map([["central", "server.json"]]))
        await writeSchema("broken.json", '{"type":"strin"}')
        await assert.rejects(
          validator.load(
            new Map([
              ["central", "secret.json"],
              ["env", "broken.json"],
            ]),
          ),
          /broken\.json/,
        )
        assert.deepEqual(
          validator.schemas().map(({ file }) => file),
          ["server.json"],
        )
        assert.equal((await validator.validate("central", { port: 0 })).errors.length, 1)
      }))

    test("a load with a missing file says what to do", () =>
      withHarness(async ({ validator }) => {
        await assert.rejects(validator.load(new Map([["env", "gone.json"]])), {
          message: "config_schemas.env: gone.json does not exist; create it or set config_types.env.schema: none",
        })
      }))

    test("a load replaces all that was in force", () =>
      withHarness(async ({ validator, writeSchema }) => {
        await validator.load(
          new Map([
            ["central", "server.json"],
            ["env", "secret.json"],
          ]),
        )
        await writeSchema("server.json", '{"type":"array"}')
        await validator.load(new Map([["central", "server.json"]]))
        assert.deepEqual(
          validator.schemas().map(({ type }) => type),
          ["central"],
        )
        assert.equal((await validator.validate("central", {})).errors.length, 1)
        assert.equal((await validator.validate("env", { A: 1 })).errors.length, 0)
      }))

    test("a load changes nothing for those that are validated meanwhile", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        const running = Array.from({ length: 20 }, () => validator.validate("central", {}))
        await validator.load(new Map([["central", "secret.json"]]))
        for (const { errors } of await Promise.all(running)) assert.equal(errors.length, 1)
      }))

    test("a closed validator validates no more", () =>
      withHarness(async ({ validator }) => {
        await validator.load(new Map([["central", "server.json"]]))
        await validator.close()
        await assert.rejects(validator.validate("central", {}), { code: "shutting_down" })
        await validator.close()
      }))
  })
}
