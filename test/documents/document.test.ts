import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { countComments } from "../../src/documents/document.ts"
import { attempt, env, json, read, refusal, text, yaml } from "./reading.ts"

suite("parseDocument refuses what is not UTF-8", () => {
  const broken: readonly (readonly [what: string, bytes: number[], line: number, column: number])[] = [
    ["a byte that starts nothing", [0x61, 0x0a, 0x62, 0xff, 0x63], 2, 2],
    ["a sequence that is cut", [0x61, 0xe2, 0x82], 1, 2],
    ["a sequence that is too long", [0xc0, 0x80], 1, 1],
    ["a surrogate", [0x61, 0x0d, 0x0a, 0xed, 0xa0, 0x80], 2, 1],
    ["half of a replacement character", [0xef, 0xbf, 0xbd, 0xef, 0xbf, 0x41], 1, 2],
    ["UTF-16", [0xff, 0xfe, 0x61, 0x00], 1, 1],
    ["something behind a character of two units", [0xf0, 0x9f, 0x98, 0x80, 0x80], 1, 3],
  ]
  for (const kind of [yaml, json, env, text]) {
    for (const [what, bytes, line, column] of broken) {
      test(`${what}, in ${kind.format}, and says where`, () => {
        const { code, error } = refusal(() => read(Buffer.from(bytes), kind))
        assert.equal(code, "config_unparsable")
        assert.deepEqual({ line: error?.line, column: error?.column }, { line, column })
      })
    }
  }
})

suite("parseDocument", () => {
  test("gives text as it is, byte order mark and control characters included", () => {
    const document = read("\ufeffline\r\n\0", text)
    assert.equal(document.value, "\ufeffline\r\n\0")
    assert.deepEqual(document.locate(""), { line: 1, column: 1 })
  })

  test("finds no comments where the format has none", () => {
    assert.equal(countComments(Buffer.from("# x"), text), 0)
    assert.equal(countComments(Buffer.from("{}"), json), 0)
  })

  test("answers any bytes with a document or a fault", () => {
    const pieces = [
      "a",
      ":",
      " ",
      "\n",
      "- ",
      "&a ",
      "*a",
      "<<",
      "|",
      ">",
      "'",
      '"',
      "\\",
      "[",
      "]",
      "{",
      "}",
      ",",
      "#",
      "!",
      "!!",
      "?",
      "%",
      "---",
      "~",
      "1",
      "=",
      "\t",
      "\r",
      "\u0000",
      "é",
      "\u2028",
    ]
    const soup = fc.oneof(
      fc.array(fc.constantFrom(...pieces), { maxLength: 30 }).map((parts) => Buffer.from(parts.join(""))),
      fc.uint8Array({ maxLength: 40 }),
    )
    fc.assert(
      fc.property(soup, fc.constantFrom(yaml, json, env, text), (bytes, kind) => {
        attempt(() => {
          const { value, locate, warnings } = read(bytes, kind)
          JSON.stringify(value)
          assert.ok(locate("/a/0"))
          assert.ok(warnings.every((warning) => warning.line && warning.column))
        })
        countComments(bytes, kind)
      }),
      { numRuns: 10_000 },
    )
  })
})
