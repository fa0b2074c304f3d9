import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { faces } from "../../src/http/problem.ts"
import { raw, serve } from "./serving.ts"
import { backupId, standIns } from "./stand-ins.ts"

const runs = Number(process.env.FUZZ_RUNS ?? 400)

const nasty = fc.constantFrom(
  "%00",
  "%0d%0a",
  "..%2f",
  "__proto__",
  "%zz",
  "%ff",
  "%EF%BC%91",
  "'\"<>",
  "a".repeat(300),
  "",
)
const text = fc.oneof(
  nasty,
  fc.string({ maxLength: 30 }).map(encodeURIComponentSafely),
  fc.webFragments({ size: "small" }),
)
const segment = fc.oneof(
  fc.constantFrom("vms", "vm01", "configs", "central", "motd", "check", "validate", "diff", "backups", backupId),
  fc.constantFrom("content", "verify", "restore", "operations", "schemas", "problems", "docs", "healthz", "readyz"),
  text,
)
const path = fc.array(segment, { maxLength: 6 }).map((segments) => `/${segments.join("/")}`)
const pair = fc.tuple(
  fc.oneof(fc.constantFrom("limit", "cursor", "label", "dryRun", "validate", "since", "at", "vmId", "against"), text),
  fc.oneof(fc.constantFrom("true", "1", "5", "2026-01-01T00:00:00Z", "role=edge"), text),
)
const query = fc
  .array(pair, { maxLength: 4 })
  .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join("&"))
const headerValue = fc
  .array(
    fc.integer({ min: 0x20, max: 0xff }).filter((code) => code !== 0x7f),
    { maxLength: 40 },
  )
  .map((codes) => String.fromCharCode(...codes))
const header = fc.tuple(
  fc.constantFrom(
    "accept",
    "if-match",
    "if-none-match",
    "x-change-reason",
    "x-request-id",
    "content-type",
    "content-encoding",
  ),
  fc.oneof(
    headerValue,
    fc.constantFrom("*", '"a"', "application/json", "text/yaml", "text/x-diff", "gzip", "identity"),
  ),
)
const body = fc.oneof(
  fc.constant(""),
  fc.constantFrom("{}", "{", "null", '{"vmId":"vm01","type":"central"}'),
  fc.json(),
  fc.string(),
)
const method = fc.constantFrom("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")

suite("any request", () => {
  test("never ends in a 5xx, and every refusal is a problem", async (t) => {
    const base = await serve(t, standIns())
    const request = fc.record({ method, path, query, headers: fc.array(header, { maxLength: 4 }), body })
    await fc.assert(
      fc.asyncProperty(request, async (given) => {
        const answer = await raw(base, bytesOf(given))
        const end = answer.indexOf("\r\n\r\n")
        const head = answer.slice(0, end)
        const status = Number(/^HTTP\/1.1 (\d{3}) /.exec(head)?.[1])
        assert.ok(status >= 200 && status < 500, answer)
        assert.match(head, /^x-request-id: ./im)
        if (status < 400) return
        assert.match(head, /^content-type: application\/problem\+json\r?$/im)
        if (given.method === "HEAD" && end + 4 === answer.length) return
        const problem = JSON.parse(Buffer.from(answer.slice(end + 4), "latin1").toString("utf8"))
        assert.ok(Object.hasOwn(faces, problem.code))
        assert.equal(problem.status, status)
      }),
      { numRuns: runs },
    )
  })
})

interface Given {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
}

function bytesOf({ method, path, query, headers, body }: Given): Buffer {
  const content = Buffer.from(body)
  const lines = [
    `${method} ${path.replaceAll(/[^\x21-\x7e]/g, "")}?${query.replaceAll(/[^\x21-\x7e]/g, "")} HTTP/1.1`,
    ...["Host: x", "Connection: close", `Content-Length: ${content.length}`],
    ...headers.map(([name, value]) => `${name}: ${value}`),
  ]
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), content])
}

function encodeURIComponentSafely(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}
