import assert from "node:assert/strict"
import { once } from "node:events"
import { connect } from "node:net"
import { suite, test } from "node:test"
import { parseDocument } from "../../src/documents/document.ts"
import type { Caller } from "../../src/domain/caller.ts"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { PutOptions } from "../../src/services/configs.ts"
import { problemOf, serve } from "./serving.ts"
import { type Call, configType, given, liveConfig, liveDigest, liveText, pushReport, standIns } from "./stand-ins.ts"

const central = "/vms/vm01/configs/central"
const motd = "/vms/vm01/configs/motd"

suite("GET a config", () => {
  const views: readonly [string, string | undefined, number, string | null][] = [
    [central, undefined, 200, "application/json; charset=utf-8"],
    [central, "*/*", 200, "application/json; charset=utf-8"],
    [central, "application/json; charset=utf-8", 200, "application/json; charset=utf-8"],
    [central, "application/yaml", 200, "application/yaml"],
    [central, "application/x-yaml", 200, "application/x-yaml"],
    [central, "text/yaml", 200, "text/yaml; charset=utf-8"],
    [central, "text/plain;charset=utf-8", 200, "text/plain; charset=utf-8"],
    [central, "application/octet-stream", 200, "application/octet-stream"],
    [central, "application/json;q=0.5, text/plain", 200, "text/plain; charset=utf-8"],
    [central, "application/json;q=0, */*", 200, "application/yaml"],
    [central, "text/html, */*;q=0.1", 200, "application/json; charset=utf-8"],
    [central, "text/html", 406, "application/problem+json"],
    [central, "application/json;q=0", 406, "application/problem+json"],
    [central, ";;;", 406, "application/problem+json"],
    [motd, undefined, 200, "text/plain; charset=utf-8"],
    [motd, "*/*", 200, "text/plain; charset=utf-8"],
    [motd, "application/yaml", 200, "application/yaml"],
    [motd, "application/json", 406, "application/problem+json"],
  ]
  for (const [path, accept, status, type] of views) {
    test(`${path} as ${accept ?? "nothing said"} is ${status} ${type}`, async (t) => {
      const headers: Record<string, string> = accept === undefined ? {} : { accept }
      const answer = await fetch(`${await serve(t)}${path}`, { headers })
      assert.equal(answer.status, status)
      assert.equal(answer.headers.get("content-type"), type)
      const json = type?.startsWith("application/json")
      if (status === 200) assert.equal(await answer.text(), json ? '{"a":1}' : liveText)
    })
  }

  test("tells of the file in headers", async (t) => {
    const { headers } = await fetch(`${await serve(t)}${central}`)
    assert.equal(headers.get("etag"), `"${liveDigest}-json"`)
    assert.equal(headers.get("x-config-path"), "/etc/%C3%A4 100%25.yml")
    assert.equal(headers.get("x-config-mode"), "0640")
    assert.equal(headers.get("x-config-owner"), "0:7")
    assert.equal(headers.get("last-modified"), "Tue, 14 Nov 2023 22:13:20 GMT")
    assert.equal(headers.get("cache-control"), "private, no-cache")
    assert.equal(headers.get("vary"), "Accept, Authorization")
  })

  test("keeps nothing in caches where the type has secrets", async (t) => {
    const { headers } = await fetch(`${await serve(t)}/vms/vm01/configs/env`)
    assert.equal(headers.get("cache-control"), "no-store")
  })

  test("answers 304 with the ETag to a caller that has the view, and 200 to one that has another", async (t) => {
    const base = await serve(t)
    const fresh = await fetch(`${base}${central}`, { headers: { "if-none-match": `"${liveDigest}-json"` } })
    assert.deepEqual([fresh.status, fresh.headers.get("etag")], [304, `"${liveDigest}-json"`])
    const stale = await fetch(`${base}${central}`, { headers: { "if-none-match": `"${liveDigest}"` } })
    assert.equal(stale.status, 200)
  })

  test("answers 200 to a caller that has the view as another format reads the bytes", async (t) => {
    const read = { format: "yaml" as ConfigType["format"] }
    const text = "A=1\n"
    const configs = {
      read: async () => {
        const type = configType("env", read.format)
        return { ...liveConfig(type, text), document: () => parseDocument(Buffer.from(text), type) }
      },
    }
    const base = await serve(t, standIns({ configs }))
    const get = async (tag: string) => {
      const answer = await fetch(`${base}/vms/vm01/configs/env`, { headers: { "if-none-match": tag } })
      return { status: answer.status, tag: answer.headers.get("etag") ?? "", body: await answer.text() }
    }
    const first = await get('"none"')
    assert.deepEqual([first.status, first.body], [200, '"A=1"'])
    assert.equal((await get(first.tag)).status, 304)
    read.format = "env"
    const second = await get(first.tag)
    assert.deepEqual(second, { status: 200, tag: first.tag.replace(/"$/, '-env"'), body: '{"A":"1"}' })
    assert.equal((await get(second.tag)).status, 304)
  })

  test("answers 200 to a caller that has the view as the other version of YAML reads the bytes", async (t) => {
    const read = { yamlVersion: null as ConfigType["yamlVersion"] }
    const configs = {
      read: async () => {
        const type = { ...configType("central", "yaml"), ...read }
        const text = "restart: no\n"
        return { ...liveConfig(type, text), document: () => parseDocument(Buffer.from(text), type) }
      },
    }
    const base = await serve(t, standIns({ configs }))
    const get = async (held: string) => {
      const answer = await fetch(`${base}${central}`, { headers: { "if-none-match": held } })
      return { status: answer.status, tag: answer.headers.get("etag") ?? "", text: await answer.text() }
    }
    const newer = await get('"none"')
    read.yamlVersion = "1.1"
    const older = await get(newer.tag)
    assert.deepEqual([older.status, older.text], [200, '{"restart":false}'])
    assert.equal((await get(older.tag)).status, 304)
    read.yamlVersion = "1.2"
    const again = await get(older.tag)
    assert.deepEqual([again.status, again.text, again.tag], [200, '{"restart":"no"}', newer.tag])
  })

  test("HEAD answers as GET, without the body", async (t) => {
    const answer = await fetch(`${await serve(t)}${central}`, { method: "HEAD" })
    assert.deepEqual([answer.status, answer.headers.get("content-length")], [200, "7"])
    assert.equal(await answer.text(), "")
  })

  test("shows bytes that cannot be parsed, and refuses their JSON view", async (t) => {
    const unparsable = {
      ...liveConfig(configType("central", "yaml")),
      document(): never {
        throw new Fault("config_unparsable", "Line 1 cannot be parsed.")
      },
    }
    const base = await serve(t, standIns({ configs: { read: async () => unparsable } }))
    const refused = await fetch(`${base}${central}`)
    assert.equal(refused.status, 422)
    assert.equal(refused.headers.get("etag"), null)
    for (const held of ["*", `"${liveDigest}-json"`]) {
      const headers = { "if-none-match": held }
      assert.equal((await problemOf(await fetch(`${base}${central}`, { headers }))).code, "config_unparsable", held)
      const raw = await fetch(`${base}${central}`, { headers: { ...headers, accept: "text/yaml" } })
      assert.equal(raw.status, held === "*" ? 304 : 200)
    }
    assert.equal((await fetch(`${base}${central}`, { headers: { accept: "text/yaml" } })).status, 200)
  })

  for (const query of ["?x=1", "?reveal", "?__proto__=1", "?confirmWithin=60"]) {
    test(`refuses ${query}`, async (t) => {
      const problem = await problemOf(await fetch(`${await serve(t)}${central}${query}`))
      assert.equal(problem.code, "invalid_parameter")
    })
  }
})

suite("PUT a config", () => {
  test("hands bytes on as they are, whatever raw type they come as, or none", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    const bytes = Buffer.from([0x61, 0x3a, 0x0d, 0x0a, 0xff, 0x00])
    for (const type of ["application/yaml", "text/plain; charset=UTF-8", "application/octet-stream", undefined]) {
      // A Blob without a type makes fetch send no Content-Type.
      const headers: Record<string, string> = type === undefined ? {} : { "content-type": type }
      assert.equal((await put(base, new Blob([bytes]), headers)).status, 200)
      assert.deepEqual(calls.pop()?.with[1], { bytes })
    }
  })

  test("hands a JSON body on as its value, and no body as no bytes", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    await put(base, '{"a":[1]}', { "content-type": "application/json" })
    assert.deepEqual(calls.pop()?.with[1], { value: { a: [1] } })
    const disordered = '{"b":1,"10":[{"2":2,"1":{}}]}'
    await put(base, disordered, { "content-type": "application/json" })
    const body = (calls.pop()?.with[1] ?? {}) as { value?: unknown; ordered?: unknown }
    assert.deepEqual([body.value, JSON.stringify(body.ordered)], [JSON.parse(disordered), disordered])
    await put(base, undefined)
    assert.deepEqual(calls.pop()?.with[1], { bytes: Buffer.alloc(0) })
  })

  test("hands switches, preconditions and the reason on", async (t) => {
    const calls: Call[] = []
    const base = await serve(t, standIns({}, calls))
    await fetch(`${base}${central}?validate=false&backup=false&dryRun=true`, {
      method: "PUT",
      body: "a: 1",
      headers: {
        "if-match": `"${liveDigest}-json"`,
        "x-change-reason": Buffer.from("größer").toString("latin1"),
        "x-request-id": "my id",
      },
    })
    const [, , options, caller] = given(calls) as [unknown, unknown, PutOptions, Caller]
    const precondition = { ifMatch: [liveDigest], createOnly: false }
    assert.deepEqual(options, { validate: false, backup: false, dryRun: true, precondition })
    assert.deepEqual([caller.actor, caller.reason, caller.requestId], ["anonymous", "größer", "my id"])
  })

  test("answers with the ETag of what stands now: after a change the new, after a dry run the old", async (t) => {
    const base = await serve(t)
    assert.equal((await put(base, "a: 1")).headers.get("etag"), `"${liveDigest}"`)
    const dry = await fetch(`${base}${central}?dryRun=true`, { method: "PUT", body: "a: 1" })
    assert.equal(dry.headers.get("etag"), `"${"0".repeat(64)}"`)
  })

  test("answers 201 for a created file, 200 for one that a dry run would create, without an ETag then", async (t) => {
    const created = { ...pushReport, outcome: "created", previousDigest: null } as const
    const services = standIns({ configs: { put: async (_r, _b, { dryRun }) => ({ ...created, dryRun }) } })
    const base = await serve(t, services)
    assert.equal((await put(base, "a: 1")).status, 201)
    const dry = await fetch(`${base}${central}?dryRun=true`, { method: "PUT", body: "a: 1" })
    assert.deepEqual([dry.status, dry.headers.get("etag")], [200, null])
  })

  test("a failed precondition carries ETag and currentDigest", async (t) => {
    const failed = new Fault("precondition_failed", "Another file stands there.", { currentDigest: liveDigest })
    const answer = await put(await serve(t, standIns({ configs: { put: () => Promise.reject(failed) } })), "a: 1")
    assert.deepEqual([answer.status, answer.headers.get("etag")], [412, `"${liveDigest}"`])
    assert.equal((await problemOf(answer)).currentDigest, liveDigest)
  })

  const refused: readonly [string, number, string, Record<string, string>, string][] = [
    ["HTML", 415, "unsupported_media_type", { "content-type": "text/html" }, "x"],
    [
      "a form, as curl -d sends",
      415,
      "unsupported_media_type",
      { "content-type": "application/x-www-form-urlencoded" },
      "x",
    ],
    ["a patch", 415, "unsupported_media_type", { "content-type": "application/merge-patch+json" }, "{}"],
    ["UTF-16", 415, "unsupported_media_type", { "content-type": "application/yaml; charset=utf-16" }, "x"],
    ["gzip", 415, "unsupported_media_type", { "content-encoding": "gzip" }, "x"],
    ["no media type at all", 415, "unsupported_media_type", { "content-type": "yaml" }, "x"],
    ["half JSON", 400, "malformed_json", { "content-type": "application/json" }, "{"],
    ["no JSON", 400, "malformed_json", { "content-type": "application/json" }, ""],
    ["a key twice", 400, "malformed_json", { "content-type": "application/json" }, '{"a":1,"a":2}'],
    ["__proto__", 400, "malformed_json", { "content-type": "application/json" }, '{"__proto__":{}}'],
    ["a malformed If-Match", 400, "invalid_header", { "if-match": liveDigest }, "x"],
    ["If-None-Match with a tag", 400, "invalid_header", { "if-none-match": '"x"' }, "x"],
    ["a reason of 201 characters", 400, "invalid_header", { "x-change-reason": "a".repeat(201) }, "x"],
    ["a reason in latin1", 400, "invalid_header", { "x-change-reason": "gr\u00f6\u00dfer" }, "x"],
    ["a reason with a tab", 400, "invalid_header", { "x-change-reason": "a\tb" }, "x"],
  ]
  for (const [what, status, code, headers, body] of refused) {
    test(`refuses ${what}, and calls nothing`, async (t) => {
      const calls: Call[] = []
      const answer = await put(await serve(t, standIns({}, calls)), body, headers)
      assert.equal((await problemOf(answer)).code, code)
      assert.equal(answer.status, status)
      assert.deepEqual(calls, [])
    })
  }

  test("says of a reason in latin1 what to send instead", async (t) => {
    const answer = await put(await serve(t), "x", { "x-change-reason": "gr\u00f6\u00dfer" })
    assert.match(String((await problemOf(answer)).detail), /send .*UTF-8 bytes/)
  })

  test("refuses a JSON value for a type of text", async (t) => {
    const headers = { "content-type": "application/json" }
    const answer = await fetch(`${await serve(t)}${motd}`, { method: "PUT", body: '"x"', headers })
    assert.equal(answer.status, 415)
  })

  test("tells of the media type before the query, and of the query before the VM", async (t) => {
    const base = await serve(t)
    const send = (path: string, type: string) =>
      fetch(`${base}${path}`, { method: "PUT", body: "x", headers: { "content-type": type } })
    assert.equal((await send("/vms/nope/configs/central?x=1", "text/html")).status, 415)
    assert.equal((await send("/vms/nope/configs/central?x=1", "text/yaml")).status, 400)
  })

  for (const query of [
    "dryRun=yes",
    "dryRun=1",
    "dryRun=",
    "dryRun=TRUE",
    "dryRun=true&dryRun=true",
    "valdiate=false",
  ]) {
    test(`refuses ?${query}`, async (t) => {
      const calls: Call[] = []
      const base = await serve(t, standIns({}, calls))
      const answer = await fetch(`${base}${central}?${query}`, { method: "PUT", body: "a: 1" })
      const problem = await problemOf(answer)
      assert.equal(problem.code, "invalid_parameter")
      assert.match(String(problem.detail), /^The parameter (dryRun|valdiate) /)
      assert.deepEqual(calls, [])
    })
  }

  test("takes a body of the limit, and refuses one byte more, declared or not", async (t) => {
    const base = await serve(t, standIns(), { bodyBytes: () => 1000 })
    assert.equal((await put(base, "a".repeat(1000))).status, 200)
    assert.equal((await put(base, "a".repeat(1001))).status, 413)
    const answer = await put(base, new Blob(["a".repeat(600), "a".repeat(600)]).stream())
    assert.equal((await problemOf(answer)).code, "body_too_large")
  })

  test("tells the service when the caller hangs up, and only then", async (t) => {
    const { promise: called, resolve } = Promise.withResolvers<AbortSignal>()
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    const services = standIns({
      configs: {
        async put(_ref, _body, _options, { signal }) {
          resolve(signal)
          await once(signal, "abort")
          end()
          throw signal.reason
        },
      },
    })
    const base = await serve(t, services)
    const socket = connect(Number(new URL(base).port), "127.0.0.1")
    socket.write(`PUT ${central} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\na: 1`)
    assert.equal((await called).aborted, false)
    socket.destroy()
    await ended
  })

  test("leaves the signal alone once the answer is written", async (t) => {
    const signals: AbortSignal[] = []
    const services = standIns({
      configs: {
        async put(_ref, _body, _options, { signal }) {
          signals.push(signal)
          return pushReport
        },
      },
    })
    const base = await serve(t, services)
    await (await put(base, "a: 1")).text()
    await (await fetch(`${base}/healthz`, { headers: { connection: "close" } })).text()
    assert.equal(signals[0]?.aborted, false)
  })
})

suite("POST a config", () => {
  test("validate answers 200, without a VM", async (t) => {
    const calls: Call[] = []
    const answer = await fetch(`${await serve(t, standIns({}, calls))}${central}/validate`, {
      method: "POST",
      body: "a",
    })
    assert.deepEqual(await answer.json(), { valid: true, errors: [], warnings: [] })
    assert.equal(calls[0]?.name, "validate")
  })

  test("diff answers JSON, or the unified text where it is asked for", async (t) => {
    const base = await serve(t)
    const ask = (accept: string) => fetch(`${base}${central}/diff`, { method: "POST", body: "a", headers: { accept } })
    assert.equal((await ask("*/*")).headers.get("content-type"), "application/json; charset=utf-8")
    const unified = await ask("text/x-diff")
    assert.equal(unified.headers.get("content-type"), "text/x-diff; charset=utf-8")
    assert.equal(await unified.text(), "--- a\n+++ b\n")
    assert.equal((await ask("text/html")).status, 406)
  })
})

function put(base: string, body: RequestInit["body"], headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${base}${central}`, { method: "PUT", body, headers, duplex: "half" } as RequestInit)
}
