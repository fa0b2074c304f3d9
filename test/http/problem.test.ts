import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault, type FaultCode } from "../../src/domain/fault.ts"
import { faces, faultToProblem, problemHeaders } from "../../src/http/problem.ts"
import { problemText } from "../../src/http/problem-texts.ts"
import { problemOf, serve } from "./serving.ts"
import { standIns } from "./stand-ins.ts"

const digest = "ab".repeat(32)

suite("faultToProblem", () => {
  test("keeps the members in the order of the contract", () => {
    const fault = new Fault("config_invalid", "2 errors", {
      retryAfterSeconds: 3,
      currentDigest: null,
      backupId: null,
      operationId: "o",
      fileState: "unchanged",
      truncated: true,
      errors: [{ message: "m" }],
    })
    assert.deepEqual(Object.keys(faultToProblem(fault, "r")), [
      ...["type", "code", "title", "status", "detail", "instance", "errors", "truncated", "fileState"],
      ...["operationId", "backupId", "currentDigest", "retryAfterSeconds"],
    ])
  })

  test("leaves out what is not known", () => {
    const problem = faultToProblem(new Fault("vm_not_found", "No VM."), "id 1")
    assert.deepEqual(problem, {
      type: "/problems/vm_not_found",
      code: "vm_not_found",
      title: "No such VM",
      status: 404,
      detail: "No VM.",
      instance: "urn:request:id%201",
    })
  })

  test("never shows a cause", () => {
    const fault = new Fault("vm_unreachable", "No way.", { cause: new Error("secret") })
    assert.doesNotMatch(JSON.stringify(faultToProblem(fault, "r")), /secret/)
  })
})

suite("problemHeaders", () => {
  test("a failed precondition carries the ETag of what stands there", () => {
    assert.equal(problemHeaders(new Fault("precondition_failed", "", { currentDigest: digest })).etag, `"${digest}"`)
    assert.equal(problemHeaders(new Fault("precondition_failed", "", { currentDigest: null })).etag, undefined)
  })

  test("429 always says when to come back, 405 what is allowed", () => {
    assert.equal(problemHeaders(new Fault("config_busy", ""))["retry-after"], "1")
    assert.equal(problemHeaders(new Fault("rate_limited", "", { retryAfterSeconds: 7 }))["retry-after"], "7")
    assert.equal(problemHeaders(new Fault("method_not_allowed", "", { allow: ["GET", "HEAD"] })).allow, "GET, HEAD")
    assert.equal(problemHeaders(new Fault("vm_not_found", ""))["retry-after"], undefined)
  })
})

suite("GET /problems/:code", () => {
  test("every code has a page that says what to do", () => {
    for (const code of Object.keys(faces)) assert.match(problemText(code) ?? "", /What to do: ./, code)
  })

  for (const code of ["nope", "__proto__", "constructor", "toString"]) {
    test(`has no page for ${code}`, async (t) => {
      const answer = await fetch(`${await serve(t)}/problems/${code}`)
      assert.equal(answer.status, 404)
      assert.equal((await problemOf(answer)).code, "not_found")
    })
  }

  test("the type of a problem leads to its page", async (t) => {
    const base = await serve(t)
    const problem = await problemOf(await fetch(`${base}/vms/nope`))
    const page = await fetch(new URL(String(problem.type), base))
    assert.equal(page.headers.get("content-type"), "text/plain; charset=utf-8")
    assert.match(await page.text(), /^vm_not_found \(404\)\n/)
  })
})

suite("errors of services", () => {
  for (const code of [
    "config_invalid",
    "vm_unreachable",
    "host_key_mismatch",
    "outcome_unknown",
    "storage_full",
  ] as const) {
    test(`${code} is answered with its own status`, async (t) => {
      const base = await serve(
        t,
        failing(new Fault(code satisfies FaultCode, "A sentence.", { fileState: "unchanged" })),
      )
      const answer = await fetch(`${base}/vms/vm01/configs/central`)
      const problem = await problemOf(answer)
      assert.equal(answer.status, faces[code].status)
      assert.equal(problem.contentType, "application/problem+json")
      assert.equal(problem.detail, "A sentence.")
      assert.equal(problem.fileState, "unchanged")
    })
  }

  const bugs: readonly [string, unknown][] = [
    ["an error", new TypeError("the password is hunter2")],
    ["an error with a statusCode of 500", Object.assign(new Error("hunter2"), { statusCode: 500 })],
    ["an error of a lost connection elsewhere", Object.assign(new Error("hunter2"), { code: "ECONNRESET" })],
    ["text", "hunter2"],
    ["null", null],
    ["undefined", undefined],
  ]
  for (const [name, thrown] of bugs) {
    test(`${name} that nobody expects is told by its request id alone`, async (t) => {
      const answer = await fetch(`${await serve(t, failing(thrown))}/vms/vm01/configs/central`)
      const text = await answer.text()
      const problem = JSON.parse(text)
      assert.equal(answer.status, 500)
      assert.equal(problem.code, "internal_error")
      assert.equal(problem.instance, `urn:request:${answer.headers.get("x-request-id")}`)
      assert.doesNotMatch(text, /hunter2|Error:/)
    })
  }
})

function failing(error: unknown) {
  return standIns({ configs: { read: () => Promise.reject(error) } })
}
