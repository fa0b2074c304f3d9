import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { parseDocument } from "../../src/documents/document.ts"
import { parseExactly, renderExactly } from "../../src/documents/exact-document.ts"

const parse = (text: string) => parseExactly(Buffer.from(text))
const rendered = (text: string, format: "yaml" | "json" | "env"): string => {
  const value = parse(text)
  assert.notEqual(value, undefined, "it was not taken for JSON")
  return renderExactly(value ?? null, format).toString()
}

suite("What Python's json wrote, rendered", () => {
  test("keeps the order of keys, also of those that look like numbers", () => {
    const text = '{"b": 1, "443": {"2": 1, "1": 2}, "80": 3, "a": 4}'
    assert.equal(rendered(text, "yaml"), "b: 1\n'443':\n  '2': 1\n  '1': 2\n'80': 3\na: 4\n")
    assert.equal(
      rendered(text, "json").replaceAll(/\s+/g, " "),
      '{ "b": 1, "443": { "2": 1, "1": 2 }, "80": 3, "a": 4 } ',
    )
    assert.equal(rendered('{"B": "1", "2": "x", "1": "y"}', "json"), '{\n  "B": "1",\n  "2": "x",\n  "1": "y"\n}\n')
  })

  test("keeps numbers as they are written, however many digits they have", () => {
    const numbers =
      "[1.0, 100, -0.5, 9007199254740993, 123456789012345678901234567890, 3.14159265358979323846, 0.0, -0]"
    const items = numbers.slice(1, -1).split(", ")
    assert.equal(rendered(numbers, "yaml"), items.map((item) => `- ${item}\n`).join(""))
    assert.equal(rendered(numbers, "json"), `[\n${items.map((item) => `  ${item}`).join(",\n")}\n]\n`)
  })

  test("writes an exponent so that readers of YAML 1.1 take it for a number, too", () => {
    assert.equal(rendered("[1e16, 1E+5, 1e-07, -2.5e3]", "yaml"), "- 1.0e+16\n- 1.0E+5\n- 1.0e-07\n- -2.5e+3\n")
    assert.equal(rendered("[1e16, 1E+5]", "json"), "[\n  1e16,\n  1E+5\n]\n")
  })

  test("writes NaN and Infinity as YAML knows them", () => {
    assert.equal(rendered("[NaN, Infinity, -Infinity]", "yaml"), "- .nan\n- .inf\n- -.inf\n")
  })

  test("keeps text that looks like something else a text", () => {
    const text =
      '{"a": "1.0", "b": "no", "c": "NaN", "d": "2024-01-01", "e": ".inf", "f": "1e5", "g": "\\u00fc\\ud83d\\ude00"}'
    const expected = "a: '1.0'\nb: 'no'\nc: NaN\nd: '2024-01-01'\ne: '.inf'\nf: '1e5'\ng: ü😀\n"
    assert.equal(rendered(text, "yaml"), expected)
  })

  test("writes an env file of texts", () => {
    assert.equal(rendered('{"HOST": "db 1", "PORT": "80"}', "env"), "HOST='db 1'\nPORT=80\n")
  })

  test("says the same as the text it was read from, whatever that says", () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: "binary" }), (value) => {
        const text = JSON.stringify(value)
        // Written down all the same, but no document that is read may hold it.
        fc.pre(!text.includes("__proto__"))
        const same = JSON.parse(text) as unknown
        assert.deepEqual(JSON.parse(rendered(text, "json")), same)
        const yaml = Buffer.from(rendered(text, "yaml"))
        for (const yamlVersion of ["1.1", "1.2"] as const) {
          assert.deepEqual(parseDocument(yaml, { format: "yaml", yamlVersion }).value, same)
        }
      }),
      { numRuns: 300 },
    )
  })
})

suite("What is JSON, and cannot be a config", () => {
  for (const [what, text, code] of [
    ["equal keys", '{"a": 1, "a": 2}', "config_unparsable"],
    ["equal keys far inside", '{"a": [{"b": 1, "b": 1}]}', "config_unparsable"],
    ["half of a surrogate pair", '["\\ud800"]', "config_unparsable"],
    ["half of a surrogate pair in a key", '{"\\udfff": 1}', "config_unparsable"],
    ["lists in lists without end", "[".repeat(20_000) + "]".repeat(20_000), "config_too_complex"],
    ["101 levels", `${'{"a":'.repeat(101)}1${"}".repeat(101)}`, "config_too_complex"],
  ] as const) {
    test(`is refused: ${what}`, () => {
      assert.throws(() => parse(text), { name: "Fault", code })
    })
  }

  test("refuses NaN and Infinity in JSON, and says so", () => {
    for (const text of ["NaN", "[Infinity]", '{"a": -Infinity}']) {
      assert.throws(() => rendered(text, "json"), { code: "config_unparsable", message: /NaN and Infinity/ })
    }
  })

  for (const text of ["[]", "1", "null", '{"A": 1}', '{"A": null}', '{"A": {}}', '{"a b": "x"}']) {
    test(`refuses to write ${text} as an env file, and not as the fault of a body`, () => {
      assert.throws(() => rendered(text, "env"), { code: "config_unparsable", message: /env file/ })
    })
  }

  test("refuses more levels than YAML is read with", () => {
    const text = `${"[".repeat(100)}${"]".repeat(100)}`
    assert.doesNotThrow(() => rendered(text, "yaml"))
    assert.doesNotThrow(() => rendered(text, "json"))
  })
})

suite("What is not JSON", () => {
  for (const text of [
    "",
    " ",
    "port: 80\n",
    "{port: 80}",
    '{"a": 1} # comment',
    '{"a": 1}{"b": 2}',
    '{"a": 1,}',
    '{"a": 1 "b": 2}',
    '{"a"; 1}',
    "{1: 2}",
    "{,}",
    "[1,,2]",
    "[1,]",
    "[1 2]",
    "[",
    "]",
    '"open',
    '"a\nb"',
    '"\\x41"',
    '"\\u00g0"',
    '"\\',
    "'a'",
    "01",
    "+1",
    "1.",
    ".5",
    "0x10",
    "1e",
    "--1",
    "nan",
    "+Infinity",
    "Infinityx",
    "True",
    "truefalse",
    "undefined",
    "constructor",
    "\ufeff{}",
    "\u00a0{}",
    "9".repeat(5001),
  ]) {
    test(`is told by ${JSON.stringify(text.slice(0, 20))}`, () => {
      assert.equal(parse(text), undefined)
    })
  }

  test("is told by bytes that are no text", () => {
    assert.equal(parseExactly(Buffer.from([0x7b, 0xff, 0x7d])), undefined)
  })

  test("agrees with JSON.parse on any text", () => {
    const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(...'{}[],:"\\tru1e-.0 nfalsNI') }))
    fc.assert(
      fc.property(text, (candidate) => {
        let expected = true
        try {
          JSON.parse(candidate)
        } catch {
          expected = false
        }
        let found: boolean
        try {
          found = parse(candidate) !== undefined
        } catch {
          // Equal keys, which JSON.parse folds.
          found = true
        }
        if (!/NaN|Infinity/.test(candidate)) assert.equal(found, expected)
      }),
      { numRuns: 5000 },
    )
  })

  test("takes time in proportion to its length", () => {
    const startedAt = performance.now()
    parse(JSON.stringify({ _raw: "port: 80\n".repeat(1_000_000) }))
    parse(`[${"1,".repeat(500_000)}`)
    parse(" ".repeat(4_000_000))
    assert.ok(performance.now() - startedAt < 5000)
  })
})
