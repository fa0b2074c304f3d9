import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { parseJson } from "../../src/documents/json.ts"
import { attempt, cpuMs, json, jsonValues, read, refusal, sameDocument } from "./reading.ts"

const parse = (source: string | Uint8Array) => parseJson(typeof source === "string" ? Buffer.from(source) : source)

suite("parseJson reads", () => {
  test("what JSON.stringify writes, to the same value", () => {
    const spaces = fc.constantFrom(undefined, 2, "\t")
    fc.assert(
      fc.property(jsonValues, spaces, (value, space) => {
        const source = JSON.stringify(value, null, space)
        // Not held against JSON.parse: V8's takes an escaped key for one of an earlier text ({"":0,"\\\\n":1}, then {"":0,"\\n'":1}).
        assert.ok(sameDocument(parse(source).value, value))
      }),
      { numRuns: 2000 },
    )
  })

  test("the order of keys that look like integers, of every other one, and of what stands below them", () => {
    const integers = fc.oneof(fc.nat({ max: 30 }).map(String), fc.constantFrom("-1", "01", "4294967295", "a", "1e3"))
    const { value: texts } = fc.letrec<{ value: string; pair: [string, string] }>((tie) => ({
      value: fc.oneof(
        { depthSize: "small", withCrossShrink: true },
        fc.constantFrom("1", '"1"', "null", "[]", "{}"),
        fc.array(tie("value"), { maxLength: 4 }).map((items) => `[${items.join(",")}]`),
        fc
          .uniqueArray(tie("pair"), { maxLength: 5, selector: ([key]) => key })
          .map((pairs) => `{${pairs.map(([key, value]) => `"${key}":${value}`).join(",")}}`),
      ),
      pair: fc.tuple(integers, tie("value")),
    }))
    fc.assert(
      fc.property(texts, (source) => {
        const { value, ordered = value } = parse(source)
        assert.equal(JSON.stringify(ordered), source)
        assert.deepEqual(value, JSON.parse(source))
      }),
      { numRuns: 1000 },
    )
    assert.equal(JSON.stringify(parse('{"b":0,"\\u0031":1}').ordered), '{"b":0,"1":1}')
  })

  test("every escape and kind of blank", () => {
    assert.deepEqual(parse('\t\r\n {"\\u0061\\/\\b\\f\\n\\r\\t\\"\\\\" : "\\ud83d\\ude00" }\n').value, {
      'a/\b\f\n\r\t"\\': "😀",
    })
  })

  test("100 levels, and numbers at the edge", () => {
    parse("[".repeat(100) + "]".repeat(100))
    assert.deepEqual(
      parse("[9007199254740991,-9007199254740991,0,0.1,1e20,100000000000000000000]").value,
      [9007199254740991, -9007199254740991, 0, 0.1, 1e20, 1e20],
    )
    // Fractions are those of any reader, and how a number is written does not count.
    assert.deepEqual(
      parse("[0.10000000000000001,1e0,1.0,-1.50E20,10.0e22,9.007199254740992e15,1.7976931348623157e308]").value,
      [0.1, 1, 1, -1.5e20, 1e23, 2 ** 53, Number.MAX_VALUE],
    )
  })

  test("members named as those of Object.prototype", () => {
    const source = '{"constructor":1,"toString":{"valueOf":2},"hasOwnProperty":3}'
    assert.deepEqual(parse(source).value, JSON.parse(source))
  })
})

suite("parseJson refuses", () => {
  const refused: readonly (readonly [what: string, source: string, column: number, pointer: string])[] = [
    ["an empty text", "", 1, ""],
    ["an open brace", "{", 2, ""],
    ["a key without quotes", "{a:1}", 2, ""],
    ["single quotes", "{'a':1}", 2, ""],
    ["a key without a value", '{"a":}', 6, "/a"],
    ["a missing colon", '{"a" 1}', 6, ""],
    ["a comma before the end of an object", '{"a":1,}', 8, ""],
    ["a comma before the end of a list", "[1,]", 4, ""],
    ["a missing comma", '{"a":[1 2]}', 9, "/a"],
    ["a comment", "[1] // x", 5, ""],
    ["two values", "1 2", 3, ""],
    ["NaN", '{"a":NaN}', 6, "/a"],
    ["-Infinity", "[-Infinity]", 2, "/0"],
    ["a leading zero", "[01]", 2, "/0"],
    ["a leading plus", "[+1]", 2, "/0"],
    ["a bare point", "[1.]", 2, "/0"],
    ["hexadecimal", "[0x1]", 2, "/0"],
    ["a literal in capitals", "[True]", 2, "/0"],
    ["duplicate keys", '{"a":1,"a":1}', 8, "/a"],
    ["duplicate keys behind an escape", '{"a":1,"\\u0061":1}', 8, "/a"],
    ["duplicate keys deep inside", '{"x":[{"a":{"b":1,"b":2}}]}', 19, "/x/0/a/b"],
    ["the key __proto__", '{"a":{"__proto__":{}}}', 7, "/a"],
    ["the key __proto__ behind an escape", '{"\\u005f_proto__":1}', 2, ""],
    ["2^53 + 1", "[9007199254740993]", 2, "/0"],
    ["2^60, whose digits JavaScript rounds", "[1152921504606846976]", 2, "/0"],
    ["2^53 + 1 with a point", "[9007199254740993.0]", 2, "/0"],
    ["2^53 + 1 with an exponent", "[-9.007199254740993E15]", 2, "/0"],
    ["2^53 + 0.5", "[9007199254740992.5]", 2, "/0"],
    ["more digits than a double has, with an exponent", "[12345678901234567890e-1]", 2, "/0"],
    ["more digits than a double has, and many of them 0", `[1${"0".repeat(300_000)}1e-299900]`, 2, "/0"],
    ["-0", "[-0]", 2, "/0"],
    ["-0.0e5", "[-0.0e5]", 2, "/0"],
    ["a number beyond a double", "[1e400]", 2, "/0"],
    ["a number that becomes zero", "[1e-400]", 2, "/0"],
    ["a lone surrogate", '["\\ud800"]', 2, "/0"],
    ["surrogates the wrong way round", '["\\udc00\\ud800"]', 2, "/0"],
    ["a lone surrogate in a key", '{"\\ud800":1}', 2, ""],
    ["an unknown escape", '["\\x"]', 3, "/0"],
    ["a short escape", '["\\u12"]', 3, "/0"],
    ["a tab in a string", '["\t"]', 3, "/0"],
    ["an unclosed string", '["a', 2, "/0"],
    ["a byte order mark", "\ufeff1", 1, ""],
    ["a blank that is none of JSON's", "\u00a01", 1, ""],
    ["a NUL", "1\0", 2, ""],
    ["101 levels", "[".repeat(101) + "]".repeat(101), 101, "/0".repeat(100)],
    ["10 000 levels", "[".repeat(10_000), 101, "/0".repeat(100)],
  ]
  for (const [what, source, column, pointer] of refused) {
    test(`${what}, and says where`, () => {
      const { code, error } = refusal(() => parse(source))
      assert.equal(code, "malformed_json")
      assert.deepEqual(
        { line: error?.line, column: error?.column, pointer: error?.pointer },
        { line: 1, column, pointer },
      )
    })
  }

  test("bytes that are not UTF-8, with line and column", () => {
    const { code, error } = refusal(() => parse(Buffer.from([0x7b, 0x0d, 0x0a, 0x22, 0xc3, 0xa4, 0xff, 0x22])))
    assert.equal(code, "malformed_json")
    assert.deepEqual([error?.line, error?.column], [2, 3])
  })

  test("whatever JSON.parse refuses, and nothing with another error than a fault", () => {
    const soup = fc.string({
      unit: fc.constantFrom(...'{}[]",:\\0123456789.eE+-truefalsn \n\tu\u0001é'),
      maxLength: 30,
    })
    fc.assert(
      fc.property(soup, (source) => {
        let value: unknown
        try {
          value = JSON.parse(source)
        } catch {
          assert.equal(refusal(() => parse(source)).code, "malformed_json")
          return
        }
        attempt(() => assert.deepEqual(parse(source).value, value))
      }),
      { numRuns: 5000 },
    )
  })

  test("without repeating any value", () => {
    for (const source of ['{"a":"s3cret" "b"}', '["s3cret', '{"a":s3cret}', '["\\xs3cret"]']) {
      const { message, error } = refusal(() => parse(source))
      assert.doesNotMatch(message + JSON.stringify(error), /s3cret/)
    }
  })

  test("with a pointer of bounded length", () => {
    const { error } = refusal(() => parse(`{"a":{"${"k".repeat(5000)}":x}}`))
    assert.equal(error?.pointer, "/a")
  })

  test("a MiB without long thought", () => {
    for (const piece of ["[", "1,", '{"a":', '"', "9", " ", "\\", '"a",', "[],", '{"a":1},']) {
      const source = piece.repeat(Math.floor((1 << 20) / piece.length))
      for (const start of ["", "[", '"']) {
        const used = cpuMs(() => attempt(() => parse(start + source)))
        assert.ok(used < 1500, `${JSON.stringify(start + piece)} took ${used.toFixed(0)} ms of CPU`)
      }
    }
  })
})

suite("a JSON text knows where its values stand", () => {
  const { locate } = parse('{\n  "a": [1, {"b/c": "x",\n    "~": null}],\n  "d": {}\n}\n')
  for (const [pointer, line, column] of [
    ["", 1, 1],
    ["/a", 2, 8],
    ["/a/0", 2, 9],
    ["/a/1/b~1c", 2, 20],
    ["/a/1/~0", 3, 10],
    ["/d", 4, 8],
    ["/d/gone", 4, 8],
    ["/a/7", 2, 8],
    ["/a/-", 2, 8],
  ] as const) {
    test(`${JSON.stringify(pointer)} at ${line}:${column}`, () => assert.deepEqual(locate(pointer), { line, column }))
  }
})

suite("parseDocument reads JSON", () => {
  test("as strictly as a body, but for a byte order mark", () => {
    assert.deepEqual(read('\ufeff{"a":1}', json).value, { a: 1 })
    const { code, error } = refusal(() => read('{"a":1,\n"a":2}', json))
    assert.deepEqual([code, error?.line, error?.column], ["config_unparsable", 2, 1])
  })

  test("and calls what is too deep too complex", () => {
    assert.equal(refusal(() => read("[".repeat(101), json)).code, "config_too_complex")
  })
})
