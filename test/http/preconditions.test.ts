import assert from "node:assert/strict"
import { suite, test } from "node:test"
import type { FastifyRequest } from "fastify"
import { etagOf, isFresh, preconditionOf } from "../../src/http/preconditions.ts"

const digest = "ab".repeat(32)
const other = "cd".repeat(32)

function request(headers: Record<string, string>): FastifyRequest {
  return { headers } as unknown as FastifyRequest
}

suite("preconditionOf", () => {
  test("demands nothing where no header stands", () => {
    assert.deepEqual(preconditionOf(request({})), { ifMatch: null, createOnly: false })
  })

  const lists: readonly [string, "*" | readonly string[]][] = [
    ["*", "*"],
    [" * ", "*"],
    [`"${digest}"`, [digest]],
    [`"${digest}-json"`, [digest]],
    [`"${digest}-json-yaml-1.1"`, [digest]],
    [`"${digest}-json-env"`, [digest]],
    [`"${digest}-json-yaml-1.2"`, []],
    [`"${digest}-env"`, []],
    [`W/"${digest}"`, [digest]],
    [`"${digest}", "${other}-json"`, [digest, other]],
    [`, "${digest}" ,, W/"${other}",`, [digest, other]],
    ['"other"', []],
    ['""', []],
    [`"${digest}-yaml"`, []],
    [`"${digest.toUpperCase()}"`, []],
    [`"a,b", "${digest}"`, [digest]],
  ]
  for (const [header, ifMatch] of lists) {
    test(`reads If-Match: ${header}`, () => {
      assert.deepEqual(preconditionOf(request({ "if-match": header })).ifMatch, ifMatch)
    })
  }

  for (const header of [
    "",
    ",",
    digest,
    `"${digest}`,
    `${digest}"`,
    `w/"${digest}"`,
    `W/ "a"`,
    '*, "a"',
    '"a" "b"',
    '"a"x',
    "'a'",
    '"a b"',
  ]) {
    test(`refuses If-Match: ${header}`, () => {
      assert.throws(() => preconditionOf(request({ "if-match": header })), { code: "invalid_header" })
    })
  }

  test("takes If-None-Match: * as create only", () => {
    assert.deepEqual(preconditionOf(request({ "if-none-match": "*" })), { ifMatch: null, createOnly: true })
  })

  test("refuses tags in If-None-Match of a change, which could not be honoured", () => {
    assert.throws(() => preconditionOf(request({ "if-none-match": `"${digest}"` })), { code: "invalid_header" })
  })

  test("refuses If-Unmodified-Since, which could not be honoured, unless If-Match stands in its place", () => {
    const since = { "if-unmodified-since": "Fri, 02 Jan 2026 10:00:00 GMT" }
    assert.throws(() => preconditionOf(request(since)), { code: "invalid_header" })
    assert.deepEqual(preconditionOf(request({ ...since, "if-match": `"${digest}"` })).ifMatch, [digest])
  })

  test("reads a header of 16 KiB of quotes at once", () => {
    assert.throws(() => preconditionOf(request({ "if-match": '"'.repeat(16_000) })), { code: "invalid_header" })
    assert.throws(() => preconditionOf(request({ "if-match": `${",".repeat(16_000)}x` })), { code: "invalid_header" })
    assert.throws(() => preconditionOf(request({ "if-match": `"a"${" ".repeat(16_000)}x` })), {
      code: "invalid_header",
    })
  })
})

suite("isFresh", () => {
  test("tells the views of one file apart", () => {
    const held = request({ "if-none-match": `"x", W/${etagOf(digest, { format: "yaml", yamlVersion: null })}` })
    assert.equal(isFresh(held, etagOf(digest, { format: "yaml", yamlVersion: null })), true)
    assert.equal(isFresh(held, etagOf(digest)), false)
  })

  test("holds for * and not without the header", () => {
    assert.equal(isFresh(request({ "if-none-match": "*" }), etagOf(digest)), true)
    assert.equal(isFresh(request({}), etagOf(digest)), false)
  })
})
