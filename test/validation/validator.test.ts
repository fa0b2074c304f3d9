import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { suite, test } from "node:test"
import { promisify } from "node:util"
import type { Worker } from "node:worker_threads"
import type { SchemaPlan } from "../../src/validation/schema-set.ts"
import { SchemaWorker } from "../../src/validation/schema-worker.ts"
import { documentValidatorContract } from "../contracts/document-validator.ts"
import { firstError, harness, withSchemas } from "./harness.ts"

const run = promisify(execFile)

documentValidatorContract("AjvValidator", () => harness())

suite("AjvValidator's messages", () => {
  test("name a property that must not be there, cut where it is long", async () => {
    const key = "k".repeat(5000)
    const error = await firstError({ additionalProperties: false }, { [key]: "s3cret" })
    assert.deepEqual(error, {
      pointer: "",
      message: `must not have the property "${"k".repeat(100)}..."`,
      keyword: "additionalProperties",
    })
    assert.match((await firstError({ unevaluatedProperties: false }, { odd: 1 }))?.message ?? "", /"odd"/)
    assert.match(
      (await firstError({ propertyNames: { pattern: "^[A-Z]+$" } }, { odd: 1 }))?.message ?? "",
      /"odd".*pattern/,
    )
  })

  test("list the values that a schema allows, cut where they are many", async () => {
    assert.equal((await firstError({ enum: ["a", 1] }, "s3cret"))?.message, 'must be one of "a", 1')
    assert.equal((await firstError({ const: "on" }, "s3cret"))?.message, 'must be "on"')
    const long = await firstError({ enum: Array.from({ length: 1000 }, (_, id) => id) }, "s3cret")
    assert.ok((long?.message.length ?? 0) < 350)
  })

  test("never repeat a value", async () => {
    const rules = [
      { type: "number" },
      { enum: ["a"] },
      { const: "a" },
      { pattern: "^a$" },
      { maxLength: 1 },
      { format: "ipv4" },
      { not: {} },
      false,
      { anyOf: [{ type: "null" }] },
    ]
    for (const rule of rules) {
      const error = await firstError({ properties: { a: rule } }, { a: "s3cret" })
      assert.equal(error?.pointer, "/a")
      assert.doesNotMatch(JSON.stringify(error), /s3cret/)
    }
    assert.doesNotMatch(JSON.stringify(await firstError({ uniqueItems: true }, ["s3cret", "s3cret"])), /s3cret/)
  })

  test("are of the keys that a document has, and not of those that one before it had", () =>
    withSchemas({ "s.json": { properties: { "\n'": false } } }, { t: "s.json" }, async (validator) => {
      assert.equal((await validator.validate("t", { "": 0, "\\n": 1 })).errors.length, 0)
      const { errors } = await validator.validate("t", { "": 0, "\n'": 1 })
      assert.deepEqual(
        errors.map(({ pointer }) => pointer),
        ["/\n'"],
      )
    }))

  test("have a pointer of bounded length", async () => {
    const error = await firstError(
      { additionalProperties: { additionalProperties: { type: "null" } } },
      { a: { ["k".repeat(5000)]: 1 } },
    )
    assert.equal(error?.pointer, "/a")
  })
})

suite("AjvValidator bounds a run", () => {
  const catastrophic = { properties: { name: { type: "string", pattern: "^(a+)+$" } } }
  const endless = { name: `${"a".repeat(60)}!` }

  test("that does not come to an end, and goes on with those behind it", () =>
    withSchemas(
      { "s.json": catastrophic },
      { t: "s.json" },
      async (validator) => {
        const started = performance.now()
        const stuck = assert.rejects(validator.validate("t", endless), { code: "config_too_complex" })
        const behind = Array.from({ length: 50 }, (_, id) => validator.validate("t", { name: id }))
        await stuck
        assert.ok(performance.now() - started < 5000)
        for (const { errors } of await Promise.all(behind)) assert.equal(errors.length, 1)
        assert.equal((await validator.validate("t", { name: "aa" })).errors.length, 0)
      },
      200,
    ))

  test("that does not come to an end, again and again: what waits too long for its turn is refused", async () => {
    const plan: SchemaPlan = {
      draft: "2020-12",
      documents: [{ file: "s.json", uris: ["x:/s"], schema: { ...catastrophic, $id: "x:/s" } }],
      types: [{ type: "t", file: "s.json", uri: "x:/s" }],
    }
    const worker = new SchemaWorker([plan], 200, 100)
    try {
      await worker.start()
      const stuck = assert.rejects(worker.validate("t", endless), { code: "config_too_complex" })
      const behind = [endless, { name: "a" }].map((value) => worker.validate("t", value))
      await Promise.all([stuck, ...behind.map((each) => assert.rejects(each, { code: "config_busy" }))])
      assert.deepEqual((await worker.validate("t", { name: 1 })).errors.length, 1)
    } finally {
      await worker.close()
    }
  })

  test("that does not come to an end while new schemas are loaded", () =>
    withSchemas(
      { "s.json": catastrophic },
      { t: "s.json" },
      async (validator) => {
        const stuck = assert.rejects(validator.validate("t", endless), { code: "config_too_complex" })
        const behind = validator.validate("t", { name: 1 })
        await validator.load(new Map([["t", "s.json"]]))
        assert.equal((await validator.validate("t", { name: 1 })).errors.length, 1)
        await stuck
        assert.equal((await behind).errors.length, 1)
      },
      200,
    ))

  for (const [what, branch] of [
    ["in every branch", (id: number) => ({ items: { const: `${id}` } })],
    ["behind $ref", (id: number) => ({ items: { $ref: "#/$defs/node" }, minItems: id })],
  ] as const) {
    test(`with millions of errors ${what}`, () => {
      const node = { type: "object", properties: { next: { $ref: "#/$defs/node" } } }
      const schema = { anyOf: Array.from({ length: 30 }, (_, id) => branch(id)), $defs: { node } }
      return withSchemas(
        { "s.json": schema },
        { t: "s.json" },
        async (validator) => {
          const before = process.memoryUsage().rss
          const { errors, truncated } = await validator.validate("t", Array(200_000).fill(1))
          assert.deepEqual([errors.length, truncated], [100, true])
          const grown = (process.memoryUsage().rss - before) / 2 ** 20
          assert.ok(grown < 300, `${grown.toFixed(0)} MiB were taken`)
        },
        5000,
      )
    })
  }

  test("that one branch would refuse a thousand times and another takes", () => {
    const schema = { anyOf: [{ items: { type: "string" } }, { items: { type: "integer" } }] }
    return withSchemas({ "s.json": schema }, { t: "s.json" }, async (validator) => {
      assert.deepEqual(await validator.validate("t", Array(5000).fill(1)), { errors: [], truncated: false })
    })
  })

  test("that kills the thread, and starts another", () => {
    const refTo = (name: string) => ({ allOf: [{ $ref: `#/$defs/${name}` }] })
    const schema = { properties: { loop: refTo("a") }, $defs: { a: refTo("b"), b: refTo("a") } }
    return withSchemas({ "s.json": schema }, { t: "s.json" }, async (validator) => {
      await assert.rejects(validator.validate("t", { loop: 1 }), { code: "config_too_complex" })
      assert.deepEqual((await validator.validate("t", {})).errors, [])
    })
  })

  test("and the number of those that wait", () =>
    withSchemas({ "s.json": catastrophic }, { t: "s.json" }, async (validator) => {
      const runs = await Promise.allSettled(Array.from({ length: 1500 }, () => validator.validate("t", { name: "a" })))
      const refused = runs.filter((run) => run.status === "rejected")
      assert.ok(refused.length > 400 && refused.length < 500, `${refused.length} were refused`)
      for (const { reason } of refused) assert.equal(reason.code, "config_busy")
    }))

  test("that is under way when it is closed", async () => {
    await withSchemas({ "s.json": catastrophic }, { t: "s.json" }, async (validator) => {
      const left = [endless, { name: "a" }].map((value) =>
        assert.rejects(validator.validate("t", value), { code: "shutting_down" }),
      )
      await validator.close()
      await Promise.all(left)
    })
  })
})

suite("AjvValidator's thread", () => {
  /** What a process prints that opens a validator, does `steps`, and then has nothing left to do. */
  const printed = (steps: string): Promise<string> =>
    withSchemasFile(async (schemaDir) => {
      const module = new URL("../../src/validation/validator.ts", import.meta.url).href
      const script = `import { AjvValidator } from ${JSON.stringify(module)}
        const validator = new AjvValidator({ schemaDir: ${JSON.stringify(schemaDir)} })
        await validator.load(new Map([["t", "s.json"]]))
        ${steps}`
      const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", script], { timeout: 15_000 })
      return stdout
    })

  test("ends when others have taken its place", () =>
    withSchemas({ "s.json": {} }, {}, async (validator) => {
      const started: Worker[] = []
      const note = (worker: Worker): unknown => started.push(worker)
      process.on("worker", note)
      try {
        await validator.load(new Map([["t", "s.json"]]))
        const [first] = started
        assert.ok(first)
        const ended = once(first, "exit")
        await validator.load(new Map([["t", "s.json"]]))
        await ended
        assert.equal(started.length, 2)
      } finally {
        process.off("worker", note)
      }
    }))

  test("does not keep a process alive that has nothing else to do", async () => {
    assert.equal(await printed('console.log("loaded")'), "loaded\n")
  })

  test("does keep it alive until an answer is there", async () => {
    const steps = 'validator.validate("t", 1).then(({ errors }) => console.log(errors.length))'
    assert.equal(await printed(steps), "1\n")
  })
})

async function withSchemasFile<Result>(step: (schemaDir: string) => Promise<Result>): Promise<Result> {
  const schemaDir = await mkdtemp(join(tmpdir(), "cm-schemas-"))
  try {
    await writeFile(join(schemaDir, "s.json"), '{"type":"string"}')
    return await step(schemaDir)
  } finally {
    await rm(schemaDir, { recursive: true })
  }
}
