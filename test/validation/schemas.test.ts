import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { firstError, withSchemas } from "./harness.ts"

const draft07 = "http://json-schema.org/draft-07/schema#"
const draft2020 = "https://json-schema.org/draft/2020-12/schema"

suite("AjvValidator reads both drafts", () => {
  test("draft-07 where a schema says so, with or without the #", async () => {
    for (const $schema of [draft07, draft07.slice(0, -1)]) {
      const schema = { $schema, items: [{ type: "string" }], additionalItems: false }
      assert.equal((await firstError(schema, ["a", "b"]))?.keyword, "additionalItems")
    }
  })

  test("2020-12 where a schema says so or nothing", async () => {
    for (const own of [{ $schema: draft2020 }, {}]) {
      const schema = { ...own, prefixItems: [{ type: "string" }], items: false }
      assert.equal((await firstError(schema, ["a", "b"]))?.pointer, "")
    }
  })

  test("both side by side", () =>
    withSchemas(
      { "a.json": { $schema: draft07, type: "string" }, "b.json": { type: "number" } },
      { a: "a.json", b: "b.json" },
      async (validator) => {
        assert.deepEqual(
          (await validator.validate("a", 1)).errors.map(({ message }) => message),
          ["must be string"],
        )
        assert.deepEqual(
          (await validator.validate("b", "")).errors.map(({ message }) => message),
          ["must be number"],
        )
      },
    ))

  test("with formats, and with keywords that it does not know", async () => {
    const schema = {
      "x-note": "ours",
      custom: true,
      properties: { ip: { format: "ipv4" }, other: { format: "unheard-of" } },
    }
    assert.equal((await firstError(schema, { ip: "300.0.0.1", other: "x" }))?.message, 'must match format "ipv4"')
    assert.equal(await firstError(schema, { ip: "10.0.0.1", other: "x" }), undefined)
  })
})

suite("AjvValidator follows $ref", () => {
  const common = { $schema: draft07, definitions: { port: { type: "integer", maximum: 65535 } } }

  test("to a file beside, below and above, and on from there", () =>
    withSchemas(
      {
        "a.json": { $schema: draft07, properties: { b: { $ref: "sub/b.json" } } },
        "sub/b.json": { $schema: draft07, properties: { port: { $ref: "../common.json#/definitions/port" } } },
        "common.json": common,
      },
      { a: "a.json" },
      async (validator) => {
        assert.deepEqual((await validator.validate("a", { b: { port: 70000 } })).errors[0]?.pointer, "/b/port")
      },
    ))

  test("by absolute $id, wherever the file stands", () =>
    withSchemas(
      {
        "a.json": {
          $schema: draft07,
          $id: "https://example.com/a",
          $ref: "https://example.com/defs/c#/definitions/port",
        },
        "deep/below/c.json": { ...common, $id: "https://example.com/defs/c" },
      },
      { a: "a.json" },
      async (validator) => assert.equal((await validator.validate("a", 70000)).errors.length, 1),
    ))

  test("by file name from a schema that has an $id", () =>
    withSchemas(
      {
        "a.json": {
          $schema: draft07,
          $id: "https://example.com/schemas/a.json",
          $ref: "common.json#/definitions/port",
        },
        "common.json": common,
      },
      { a: "a.json" },
      async (validator) => assert.equal((await validator.validate("a", 70000)).errors.length, 1),
    ))

  test("inside a schema, to itself, in a circle and to its meta-schema", () =>
    withSchemas(
      {
        "tree.json": { type: "object", properties: { next: { $ref: "other.json" }, self: { $ref: "#" } } },
        "other.json": { type: "object", properties: { back: { $ref: "tree.json" }, schema: { $ref: draft2020 } } },
      },
      { a: "tree.json" },
      async (validator) => {
        const { errors } = await validator.validate("a", { self: { next: { back: { self: 1 }, schema: { type: 1 } } } })
        assert.ok(errors.some(({ pointer }) => pointer === "/self/next/back/self"))
        assert.ok(errors.some(({ pointer }) => pointer === "/self/next/schema/type"))
      },
    ))

  test("and finds secrets behind it", () =>
    withSchemas(
      {
        "a.json": { properties: { db: { $ref: "b.json" } } },
        "b.json": { properties: { password: { writeOnly: true } } },
        "c.json": { properties: { "x-secret": { const: { "x-secret": true } } } },
      },
      { a: "a.json", c: "c.json" },
      async (validator) =>
        assert.deepEqual(
          validator.schemas().map(({ hasSecrets }) => hasSecrets),
          [true, false],
        ),
    ))
})

suite("AjvValidator.load refuses", () => {
  const refused: readonly (readonly [what: string, files: Readonly<Record<string, unknown>>, message: RegExp])[] = [
    [
      "a $ref from 2020-12 to draft-07",
      { "s.json": { $ref: "o.json" }, "o.json": { $schema: draft07 } },
      /s\.json: \$ref to o\.json leads from 2020-12 to draft-07/,
    ],
    ["a $ref to the other draft's meta-schema", { "s.json": { $ref: draft07 } }, /s\.json: .*nothing is fetched/],
    [
      "a remote $ref",
      { "s.json": { $ref: "https://example.com/x.json" } },
      /s\.json: \$ref "https:\/\/example\.com\/x\.json" .*nothing is fetched/,
    ],
    ["a $ref to another scheme", { "s.json": { $ref: "file:///etc/passwd" } }, /nothing is fetched/],
    [
      "a $ref out of schema_dir",
      { "s.json": { $ref: "../../etc/passwd" } },
      /s\.json: \$ref "\.\.\/\.\.\/etc\/passwd" leads out of schema_dir/,
    ],
    [
      "a percent-encoded $ref out of schema_dir",
      { "s.json": { $ref: "%2e%2e/%2e%2e/etc/passwd" } },
      /leads out of schema_dir/,
    ],
    [
      "a $ref to a file that is not there",
      { "s.json": { $ref: "gone.json" } },
      /s\.json: \$ref "gone\.json" does not exist/,
    ],
    [
      "a $ref to a place that is not there",
      { "s.json": { $ref: "#/definitions/gone" } },
      /s\.json: .*#\/definitions\/gone/,
    ],
    [
      "a $ref to a file that is not JSON",
      { "s.json": { $ref: "o.json" }, "o.json": "{" },
      /s\.json: \$ref "o\.json": is not JSON/,
    ],
    ["a $ref that is no URI", { "s.json": { $ref: "https://[" } }, /s\.json: .*no URI reference/],
    [
      "draft-04",
      { "s.json": { $schema: "http://json-schema.org/draft-04/schema#" } },
      /s\.json: \$schema "http:\/\/json-schema\.org\/draft-04\/schema#" is not supported/,
    ],
    [
      "2019-09",
      { "s.json": { $schema: "https://json-schema.org/draft/2019-09/schema" } },
      /2019-09.* is not supported/,
    ],
    ["a $schema that is no text", { "s.json": { $schema: 7 } }, /\$schema 7 is not supported/],
    ["$data", { "s.json": { properties: { a: { const: { $data: "1/b" } } } } }, /s\.json: \$data is not supported/],
    ["what is not JSON", { "s.json": "type: object" }, /s\.json: is not JSON/],
    ["what is no schema", { "s.json": "[]" }, /s\.json: is not a JSON Schema/],
    ["an unknown type", { "s.json": { type: "strin" } }, /s\.json: schema is invalid: data\/type/],
    ["a broken pattern", { "s.json": { pattern: "(" } }, /s\.json: .*\(/],
    ["an x-secret that is neither true nor false", { "s.json": { "x-secret": "yes" } }, /s\.json: .*x-secret/],
  ]
  for (const [what, files, message] of refused) {
    test(`${what}, and says so`, () =>
      assert.rejects(
        withSchemas(files, { t: "s.json" }, async () => assert.fail("it was taken")),
        message,
      ))
  }

  test("a file out of schema_dir", () =>
    assert.rejects(
      withSchemas({}, { t: "../s.json" }, async () => assert.fail("it was taken")),
      { message: "config_schemas.t: ../s.json: leads out of schema_dir" },
    ))

  test("with one line for each broken file", async () => {
    const files = { "a.json": "{", "b.json": { $ref: "http://x/" }, "ok.json": {} }
    const types = { a: "a.json", b: "b.json", c: "gone.json", ok: "ok.json" }
    await assert.rejects(
      withSchemas(files, types, async () => assert.fail("it was taken")),
      (error: Error) =>
        error.message
          .split("\n")
          .map((line) => line.split(":", 1)[0])
          .join() === "config_schemas.a,config_schemas.b,config_schemas.c",
    )
  })
})
