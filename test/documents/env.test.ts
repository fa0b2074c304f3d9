import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { parse as dotenvParse } from "dotenv"
import fc from "fast-check"
import { countComments } from "../../src/documents/document.ts"
import { attempt, cpuMs, env, read, refusal } from "./reading.ts"

suite("parseDocument reads env files", () => {
  const source = `# head
export HOST=db.example.com # where
PORT = 5432
EMPTY=
  QUOTED="two\\nlines" # note
SINGLE='a "b" \\n'
TICK=\`it's "it"\`
MULTI="one
two"
HASH=a#b
`
  const value = {
    HOST: "db.example.com",
    PORT: "5432",
    EMPTY: "",
    QUOTED: "two\nlines",
    SINGLE: 'a "b" \\n',
    TICK: `it's "it"`,
    MULTI: "one\ntwo",
    HASH: "a",
  }

  test("as dotenv does", () => {
    assert.deepEqual(read(source, env).value, value)
    assert.deepEqual({ ...dotenvParse(source) }, value)
  })

  test("with CRLF and a byte order mark", () => {
    assert.deepEqual(read(`\ufeff${source.replaceAll("\n", "\r\n")}`, env).value, value)
  })

  test("with blanks of Unicode before a quote, of which dotenv takes no notice", () => {
    for (const [blank, rest] of [
      ["\u00a0", "\nC=2"],
      ["\ufeff \u2003", ""],
      ["\u2028", "\n"],
    ] as const) {
      const text = `B=${blank}'one\ntwo=2' # c${rest}`
      assert.deepEqual(read(text, env).value, { ...dotenvParse(text) })
      assert.equal((read(text, env).value as { B: string }).B, "one\ntwo=2")
    }
  })

  test("to nothing where there is nothing", () => {
    for (const nothing of ["", "\n\n", "# x", " \t\n"]) assert.deepEqual(read(nothing, env).value, {})
  })

  test("and knows where the values stand", () => {
    const { locate } = read(source, env)
    assert.deepEqual(locate("/HOST"), { line: 2, column: 13 })
    assert.deepEqual(locate("/PORT"), { line: 3, column: 8 })
    assert.deepEqual(locate("/MULTI"), { line: 8, column: 7 })
    assert.deepEqual(locate("/HASH"), { line: 10, column: 6 })
    assert.deepEqual(locate("/GONE"), { line: 1, column: 1 })
  })

  test("and counts their comments, not the # of quoted values", () => {
    assert.equal(countComments(Buffer.from(source), env), 4)
    assert.equal(countComments(Buffer.from('A="# no"\nB="x\n# no\n"\n'), env), 0)
    assert.equal(countComments(Buffer.from("# by its looks\nnon#sense\n"), env), 1)
  })

  test("never otherwise than dotenv, whatever they hold", () => {
    const lines = fc.string({ unit: fc.constantFrom(..."AB=='\"`# \\n\n\rx\u00a0\u2028"), maxLength: 25 })
    let accepted = 0
    fc.assert(
      fc.property(lines, (tail) => {
        const text = `A=${tail}`
        attempt(() => {
          const found = read(text, env).value
          accepted++
          assert.deepEqual(found, { ...dotenvParse(text) }, JSON.stringify(text))
        })
      }),
      { numRuns: 10_000 },
    )
    assert.ok(accepted > 500, `only ${accepted} were accepted`)
  })
})

suite("parseDocument refuses env files", () => {
  const refused: readonly (readonly [what: string, source: string, line: number, column: number])[] = [
    ["with a line that is no assignment", "A=1\nnonsense\n", 2, 1],
    ["with a key alone", "A=1\n\nexport B\n", 3, 1],
    ["with a colon for an equals sign", "A: 1\n", 1, 1],
    ["with a key of other characters", "A-B=1\nA B=1\n", 2, 1],
    ["without a key", "=1\n", 1, 1],
    ["with duplicate keys", "A=1\n# x\nexport A=1\n", 3, 1],
    ["with an unclosed quote", "A=1\nB='x\nC=2\n", 2, 3],
    ["with text behind a closing quote", 'A="x" y\n', 1, 6],
    ["with a NUL", "A=1\nB=\0\n", 2, 3],
    ["with an escape sequence of a terminal", "A=\u001b[31m\n", 1, 3],
    ["with the key __proto__", "__proto__=1\n", 1, 1],
    ["with a comment that hides a variable of dotenv's behind U+2028", "A=1\n# c\u2028B=2\n", 2, 4],
    ["with a comment behind a value that hides one", "A=1 # c\u2029B=2\n", 1, 8],
  ]
  for (const [what, source, line, column] of refused) {
    test(`${what}, and says where`, () => {
      const { code, error } = refusal(() => read(source, env))
      assert.equal(code, "config_unparsable")
      assert.deepEqual([error?.line, error?.column], [line, column])
    })
  }

  test("without repeating a value", () => {
    for (const source of ["A='s3cret\n", 'A="s3cret" s3cret\n', "s3cret s3cret\n"]) {
      const { message, error } = refusal(() => read(source, env))
      assert.doesNotMatch(message + JSON.stringify(error), /s3cret/)
    }
  })

  test("with more variables than are read within a moment, and where they begin", () => {
    const lines = (count: number) => Array.from({ length: count }, (_, at) => `K${at}=v\n`).join("")
    assert.equal(Object.keys(read(lines(10_000), env).value as object).length, 10_000)
    const { code, message, error } = refusal(() => read(lines(10_001), env))
    assert.equal(code, "config_too_complex")
    assert.match(message, /more than 10000 variables/)
    assert.deepEqual([error?.line, error?.column], [10_001, 1])
  })

  test("of a MiB without long thought", () => {
    for (const piece of ["\n", "\r", " ", "A=1\n", "#\n", "A", "=", "'", "\\'", "A='", 'A="x" ', "export "]) {
      const source = piece.repeat(Math.floor((1 << 20) / piece.length))
      for (const start of ["", "A=", "A='"]) {
        const used = cpuMs(() => attempt(() => read(`${start}${source}!`, env)))
        assert.ok(used < 1500, `${JSON.stringify(start + piece)} took ${used.toFixed(0)} ms of CPU`)
      }
    }
  })
})
