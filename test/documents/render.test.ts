import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { suite, test } from "node:test"
import { parse as dotenvParse } from "dotenv"
import fc from "fast-check"
import { load, YAML11_SCHEMA } from "js-yaml"
import { parse as parseWithYaml } from "yaml"
import {
  attempt,
  cpuMs,
  env,
  json,
  jsonValues,
  read,
  refusal,
  sameDocument,
  text,
  write,
  yaml,
  yaml11,
  yaml12,
} from "./reading.ts"

const runs = { numRuns: 1500 }

/** The values of some variables to a POSIX shell that has sourced a text. */
function readByShell(source: string, names: readonly string[]): readonly string[] {
  const show = names.map((name) => `printf '%s\\0' "$${name}"`).join("\n")
  const { stdout, stderr } = spawnSync("sh", ["-c", `${source}\n${show}`], { encoding: "utf8", env: {} })
  assert.equal(stderr, "")
  return stdout.split("\0").slice(0, -1)
}

suite("renderDocument writes what parses to the same value", () => {
  test("as YAML, under both versions and without a warning", () => {
    fc.assert(
      fc.property(jsonValues, fc.constantFrom(null, "\ufeffa: 1\r\n"), (value, live) => {
        const rendered = write(value, yaml, live)
        assert.ok(sameDocument(read(rendered, yaml12).value, value), "1.2")
        const older = read(rendered, yaml11)
        assert.ok(sameDocument(older.value, value), "1.1")
        assert.deepEqual(older.warnings, [])
      }),
      runs,
    )
  })

  test("as YAML, for other parsers too", () => {
    fc.assert(
      fc.property(jsonValues, fc.constantFrom(null, "a: 1\r\n"), (value, live) => {
        const rendered = write(value, yaml, live)
        assert.deepEqual(load(rendered, { schema: YAML11_SCHEMA }), value)
        assert.deepEqual(parseWithYaml(rendered, { version: "1.2" }), value)
      }),
      runs,
    )
  })

  test("as YAML, a document that is one text of several lines, which parsers indent differently", () => {
    for (const value of [" \n#", "a\nb\n", "\n"]) {
      assert.equal(parseWithYaml(write(value, yaml), { version: "1.2" }), value)
      assert.equal(load(write(value, yaml), { schema: YAML11_SCHEMA }), value)
    }
  })

  test("as JSON, in any layout of the live file", () => {
    const layouts = fc.constantFrom(
      null,
      "{}",
      '{\n    "a": 1\n}\n',
      '{\r\n\t"a": 1\r\n}\r\n',
      '{"a":1}',
      "[\n  1\n]",
      "not JSON",
    )
    fc.assert(
      fc.property(jsonValues, layouts, (value, live) => {
        assert.ok(sameDocument(read(write(value, json, live), json).value, value))
      }),
      runs,
    )
  })

  test("as env lines, which dotenv alone reads as the same", () => {
    const names = fc.stringMatching(/^[A-Za-z_][\w.-]{0,8}$/).filter((name) => name !== "__proto__")
    const values = fc.oneof(
      fc.string({ unit: fc.constantFrom(..." \t\n\r#='\"`\\nrx$"), maxLength: 10 }),
      fc.string({ maxLength: 20 }),
    )
    let written = 0
    fc.assert(
      fc.property(fc.dictionary(names, values, { maxKeys: 4, noNullPrototype: true }), (value) => {
        let rendered: string
        try {
          rendered = write(value, env)
        } catch (error) {
          assert.equal((error as { code?: unknown }).code, "invalid_body")
          return
        }
        written++
        assert.ok(sameDocument(read(rendered, env).value, value))
        assert.deepEqual({ ...dotenvParse(rendered) }, value)
      }),
      runs,
    )
    assert.ok(written > runs.numRuns / 2, `only ${written} could be written`)
  })
})

suite("renderDocument", () => {
  test("quotes what a 1.1 reader would read as something else", () => {
    const rendered = write({ a: "no", b: "0777", c: "12:30", d: "2001-01-01", e: "=", f: "y", g: "2001-99-99" }, yaml)
    assert.equal(rendered, "a: 'no'\nb: '0777'\nc: '12:30'\nd: '2001-01-01'\ne: '='\nf: 'y'\ng: '2001-99-99'\n")
  })

  test("quotes what would be the mark of a document where a line begins with it", () => {
    assert.equal(
      write({ "... x": 1, "--- a": { "... b": "... c" }, "---": "x\n... y" }, yaml),
      "'... x': 1\n'--- a':\n  '... b': ... c\n'---': |-\n  x\n  ... y\n",
    )
    for (const value of ["... x", "--- a", "---", "x\n... y\n--- z", ["... x", "x\n--- a"], { "x\n... y": 1 }]) {
      for (const kind of [yaml, yaml11, yaml12]) assert.deepEqual(read(write(value, yaml), kind).value, value)
      assert.deepEqual(parseWithYaml(write(value, yaml), { version: "1.2" }), value)
    }
  })

  test("quotes text that looks like a number, however large", () => {
    const digits = "9".repeat(617)
    for (const text of [
      "5e12345",
      "-1E999",
      "1e400",
      "1.5e+1000",
      ".5e400",
      digits,
      `-${digits}`,
      `0x${"f".repeat(400)}`,
      `0o${"7".repeat(400)}`,
      `0b${"1".repeat(1100)}`,
      `0${"7".repeat(400)}`,
      "1_0e400",
      `${digits}:30`,
      `${digits}:30.5`,
    ]) {
      assert.equal(write([text], yaml), `- '${text}'\n`)
    }
    assert.equal(write({ "1e400": 1 }, yaml), "'1e400': 1\n")
    assert.equal(write(["1.2.3", "10.0.0.1", "0xg", "1e400x"], yaml), "- 1.2.3\n- 10.0.0.1\n- 0xg\n- 1e400x\n")
  })

  test("escapes line breaks of Unicode also in text that begins like a date", () => {
    for (const [char, escaped] of [
      ["\u0085", "\\N"],
      ["\u2028", "\\L"],
      ["\u2029", "\\P"],
      ["\ufeff", "\\uFEFF"],
      ["\uffff", "\\uFFFF"],
    ]) {
      assert.equal(write([`2001-01-01${char}x`], yaml), `- "2001-01-01${escaped}x"\n`)
      assert.equal(write([`x${char}x`], yaml), `- "x${escaped}x"\n`)
    }
  })

  test("escapes blanks that end a text of several lines, which parsers leave out", () => {
    for (const text of [" *\n ", "a\n\t", "a\n \n  "]) {
      assert.equal(parseWithYaml(write([text], yaml), { version: "1.2" })[0], text)
      assert.deepEqual(load(write([text], yaml), { schema: YAML11_SCHEMA }), [text])
    }
  })

  test("neither folds lines nor makes aliases in YAML, and keeps the order of keys", () => {
    const shared = { long: "word ".repeat(60).trim() }
    assert.equal(write({ z: shared, a: shared }, yaml), `z:\n  long: ${shared.long}\na:\n  long: ${shared.long}\n`)
  })

  test("keeps indentation, line ends and final newline of a live JSON file", () => {
    assert.equal(write({ a: [1] }, json), '{\n  "a": [\n    1\n  ]\n}\n')
    assert.equal(write({ a: 1 }, json, '{\n    "b": 2\n}\n'), '{\n    "a": 1\n}\n')
    assert.equal(write({ a: 1 }, json, '{\n\t"b": 2\n}'), '{\n\t"a": 1\n}')
    assert.equal(write({ a: 1 }, json, '{"b":2}\n'), '{"a":1}\n')
    assert.equal(write({ a: 1 }, json, '{\r\n  "b": 2\r\n}\r\n'), '{\r\n  "a": 1\r\n}\r\n')
  })

  test("keeps the indentation of a live JSON file whose first line is blank", () => {
    assert.equal(write({ a: 1 }, json, '{\n\n    "b": 2\n}\n'), '{\n    "a": 1\n}\n')
    assert.equal(write([1], json, "[\r\n \t\r\n\t2\r\n]"), "[\r\n\t1\r\n]")
    assert.equal(write({ a: 1 }, json, '{\n  \n"b": 2\n}'), '{"a":1}')
  })

  test("keeps the byte order mark of a live file, and adds none", () => {
    assert.equal(write({ a: 1 }, json, '\ufeff{\n    "b": 2\n}\n'), '\ufeff{\n    "a": 1\n}\n')
    assert.equal(write({ a: 1 }, yaml, "\ufeffb: 2\n"), "\ufeffa: 1\n")
    assert.equal(write({ A: "1", B: "2" }, env, "\ufeffA=1\n"), "\ufeffA=1\nB=2\n")
    for (const kind of [json, yaml, env])
      assert.deepEqual(read(write({ a: "1" }, kind, "\ufeff"), kind).value, { a: "1" })
    assert.equal(write("a", text, "\ufeffb"), "a")
    assert.equal(write("\ufeffa", text, "\ufeffb"), "\ufeffa")
  })

  test("ends lines in CRLF where all of a live YAML file do", () => {
    const value = { a: "x\ny\n", b: [1, "a\r\nb"], c: "\n" }
    const rendered = write(value, yaml, "a: 1\r\nb: 2\r\n")
    assert.equal(rendered, write(value, yaml).replaceAll("\n", "\r\n"))
    for (const kind of [yaml11, yaml12]) assert.deepEqual(read(rendered, kind).value, value)
    assert.equal(write({ a: 1 }, yaml, "a: 1\r\nb: 2\n"), "a: 1\n")
  })

  test("takes in the layout of a live JSON file of a million blank lines", () => {
    for (const blank of ["\n", "\n ", " ", "\t\r\n"]) {
      const used = cpuMs(() => write({ a: 2 }, json, `{${blank.repeat(1_000_000)}"a":1}`))
      assert.ok(used < 1500, `${JSON.stringify(blank)} took ${used.toFixed(0)} ms of CPU`)
    }
    assert.equal(write({ a: 2 }, json, `{${"\n".repeat(1_000_000)}"a":1}`), '{"a":2}')
  })

  test("quotes env values only where they need it, so that dotenv and a shell read the same", () => {
    const value = {
      A: "plain",
      B: "two words",
      C: "",
      D: "line\nline",
      E: 'say "hi"',
      F: "it's",
      G: "a#b",
      H: "$A`id`",
    }
    const rendered = write(value, env)
    assert.equal(
      rendered,
      "A=plain\nB='two words'\nC=\nD='line\nline'\nE='say \"hi\"'\nF=\"it's\"\nG='a#b'\nH='$A`id`'\n",
    )
    assert.deepEqual(readByShell(rendered, Object.keys(value)), Object.values(value))
  })

  test("leaves the lines of env members alone that do not change, with their comments, and keeps the order of the file", () => {
    const before = "# head\r\nexport B='pa$A' # why\r\n10=x\r\n\r\n2 = \"y\" # two\r\n# tail\r\nGONE=1 # with it"
    assert.equal(
      write({ 2: "it's", 10: "x", B: "pa$A", NEW: "$1", 5: "" }, env, before),
      "# head\r\nexport B='pa$A' # why\r\n10=x\r\n\r\n2=\"it's\" # two\r\n# tail\r\n5=\r\nNEW='$1'\r\n",
    )
    assert.equal(write({ B: "b" }, env, "  export\tB = a"), "  export\tB=b")
    assert.equal(write({ A: "1", B: "2" }, env, "A=1"), "A=1\nB=2\n")
    assert.equal(write({}, env, "A=1\n"), "")
    assert.equal(write({ A: "1" }, env, "no env file"), "A=1\n")
    // To a shell that was no comment: what may be half of a password does not stay.
    assert.equal(write({ A: "new" }, env, "A=s3cr#et\n"), "A=new\n")
  })

  test("ends what it writes into an env file of mixed line ends so that a shell reads no CR into it", () => {
    const value = { A: "1", B: "two", C: "three" }
    for (const [before, after] of [
      ["A=1\n# pasted\r\nB=2\n", "A=1\n# pasted\r\nB=two\nC=three\n"],
      ["A=1\nB=2 # why\r\nC=3\r\n", "A=1\nB=two # why\nC=three\n"],
      ["A=1\nB=2\r\n", "A=1\nB=two\nC=three\n"],
      ["A=1\nB=2\r", "A=1\nB=two\nC=three\n"],
      ["A=1\nB=two\n#\r", "A=1\nB=two\n#\r\nC=three\n"],
    ] as const) {
      const rendered = write(value, env, before)
      assert.equal(rendered, after)
      assert.deepEqual(readByShell(rendered, ["A", "B", "C"]), ["1", "two", "three"])
    }
  })

  test("writes env members into any env file so that they are read again, by a shell too", () => {
    const keys = fc.constantFrom("A", "B", "C", "_1")
    const values = fc.string({ unit: fc.constantFrom(..." \n#='\"`\\nrx$"), maxLength: 6 })
    const members = fc.dictionary(keys, values, { noNullPrototype: true })
    const files = fc.string({
      unit: fc.constantFrom("A=", "export B=", " C = ", "'", '"', "`", "x", " #", "\\", "\n", "\r\n"),
      maxLength: 12,
    })
    const shown: { readonly rendered: string; readonly value: Readonly<Record<string, string>> }[] = []
    fc.assert(
      fc.property(files, members, (before, value) => {
        attempt(() => {
          const rendered = write(value, env, before)
          assert.deepEqual(read(rendered, env).value, value)
          const lines = write(value, env)
          if (shown.length < 200) shown.push({ rendered: lines, value })
        })
      }),
      runs,
    )
    assert.ok(shown.length === 200)
    for (const { rendered, value } of shown.slice(0, 40)) {
      assert.deepEqual(readByShell(rendered, Object.keys(value)), Object.values(value), JSON.stringify(rendered))
    }
  })

  test("refuses an env value that is no string, and names it", () => {
    const { code, error } = refusal(() => write({ A: "x", PORT: 5432 }, env))
    assert.equal(code, "invalid_body")
    assert.equal(error?.pointer, "/PORT")
  })

  for (const [what, value] of [
    ["a boolean", { A: true }],
    ["null", { A: null }],
    ["an object", { A: {} }],
    ["a key with a blank", { "A B": "x" }],
    ["a key with a line end", { "A\nB": "x" }],
    ["the key __proto__", JSON.parse('{"__proto__":"x"}')],
    ["a value with every kind of quote", { A: "'\"`" }],
    ["a value that a shell would expand between the only quotes", { A: "it's $HOME" }],
    ["a value that a shell would run between the only quotes", { A: "it's `id`" }],
    ["a value whose backslash a shell would take", { A: "it's \\" }],
    ["a value with a carriage return", { A: "a\rb" }],
    ["a value with a NUL", { A: "\0" }],
    ["a list", ["x"]],
    ["a string", "A=x"],
  ] as const) {
    test(`refuses to write ${what} as an env file`, () => {
      assert.equal(refusal(() => write(value, env)).code, "invalid_body")
    })
  }

  test("never shows the value that it refuses", () => {
    const { message, error } = refusal(() => write({ TOKEN: "s3cret'\"`" }, env))
    assert.doesNotMatch(message + error?.message, /s3cret/)
  })

  test("writes text as it is, and nothing but text", () => {
    assert.equal(write("any\r\ntext", text), "any\r\ntext")
    assert.equal(refusal(() => write({ a: 1 }, text)).code, "invalid_body")
  })

  test("refuses a value that could not be parsed again as YAML", () => {
    let deep: unknown = 1
    for (let depth = 0; depth < 101; depth++) deep = [deep]
    assert.equal(refusal(() => write(deep, yaml)).code, "config_too_complex")
    assert.equal(refusal(() => write(Array(50_001).fill(0), yaml)).code, "config_too_complex")
  })

  test("refuses more env variables than could be read again", () => {
    const variables = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, at) => [`K${at}`, "v"]))
    assert.equal(write(variables(10_000), env).split("\n").length, 10_001)
    const { code, error } = refusal(() => write(variables(10_001), env))
    assert.deepEqual([code, error?.message], ["config_too_complex", "more than 10000 variables"])
  })

  test("refuses many small values deep down before they are written, which would take seconds", () => {
    const deep = (count: number): unknown => {
      let value: unknown = Array(count).fill(1)
      for (let depth = 0; depth < 97; depth++) value = [value]
      return value
    }
    const asYaml = cpuMs(() => assert.equal(refusal(() => write(deep(200_000), yaml)).code, "config_too_complex"))
    assert.ok(asYaml < 500, `YAML took ${asYaml.toFixed(0)} ms of CPU`)
    const live = "[\n          1\n]\n"
    assert.equal(refusal(() => write(deep(200_000), json, live)).code, "body_too_large")
    assert.equal(write(deep(20_000), json, live).length > 19_000_000, true)
  })
})
