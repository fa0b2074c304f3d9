import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { problemOf, raw, serve } from "./serving.ts"
import { standIns } from "./stand-ins.ts"

const central = "/vms/vm01/configs/central"
const head = `PUT ${central} HTTP/1.1\r\nHost: x\r\n`

function put(base: string, body: string): Promise<Response> {
  return fetch(`${base}${central}`, { method: "PUT", body })
}

suite("limits.body_bytes", () => {
  test("counts as it stands when a request comes: a reload lowers and raises it", async (t) => {
    const limits = { bodyBytes: 1024 }
    const base = await serve(t, standIns(), { bodyBytes: () => limits.bodyBytes })
    assert.equal((await put(base, "a".repeat(1025))).status, 413)
    limits.bodyBytes = 4096
    assert.equal((await put(base, "a".repeat(4096))).status, 200)
    limits.bodyBytes = 2048
    const problem = await problemOf(await put(base, "a".repeat(4096)))
    assert.equal(problem.code, "body_too_large")
    assert.match(String(problem.detail), /2048 bytes \(limits\.body_bytes\)/)
  })

  // Nothing more is sent and the sockets stay open: whoever waited for the rest would wait for the test's end.
  for (const [what, sent] of [
    ["declares one byte too many, before a byte of it came", "Content-Length: 1025\r\n\r\n"],
    ["declares more than a number holds", `Content-Length: ${"9".repeat(18)}\r\n\r\n`],
    ["has one byte too many, before its end", `Transfer-Encoding: chunked\r\n\r\n401\r\n${"a".repeat(1025)}`],
    [
      "has one byte too many over several chunks, before its end",
      `Transfer-Encoding: chunked\r\n\r\n${`100\r\n${"a".repeat(256)}\r\n`.repeat(4)}1\r\na`,
    ],
  ] as const) {
    test(`refuses a body that ${what}, and ends the connection`, async (t) => {
      const base = await serve(t, standIns(), { bodyBytes: () => 1024 })
      const answer = await raw(base, `${head}${sent}`, true)
      assert.match(answer, /^HTTP\/1.1 413 /)
      assert.match(answer, /^connection: close\r$/im)
      assert.match(answer, /"code":"body_too_large"/)
    })
  }

  test("leaves the connection of a body that fits open for the next request", async (t) => {
    const base = await serve(t, standIns(), { bodyBytes: () => 1024 })
    const fits = `${head}Content-Length: 1024\r\n\r\n${"a".repeat(1024)}`
    const answer = await raw(base, `${fits}${fits}${head}Connection: close\r\nContent-Length: 1\r\n\r\na`)
    assert.equal(answer.match(/HTTP\/1.1 200 OK/g)?.length, 3)
  })
})
