import assert from "node:assert/strict"
import { once } from "node:events"
import { connect } from "node:net"
import { suite, test } from "node:test"
import { buildApp } from "../../src/http/app.ts"
import { problemOf, raw, serve } from "./serving.ts"
import { options, standIns } from "./stand-ins.ts"

const put = "PUT /vms/vm01/configs/central HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
const get = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

/** Services whose /readyz is answered once it is released. */
function heldServices() {
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const services = standIns({
    health: {
      async readiness() {
        reach()
        await released
        return { ready: true, degraded: false, checks: [] }
      },
    },
  })
  return { services, reached, release }
}

suite("what is no HTTP as it should be", () => {
  const requests: readonly [string, string | Buffer, number, string][] = [
    ["two Content-Length", `${put}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 400, "malformed_request"],
    ["two equal Content-Length", `${put}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, 400, "malformed_request"],
    ["CL and TE", `${put}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, "malformed_request"],
    ["a bad chunk", `${put}Transfer-Encoding: chunked\r\n\r\nzz\r\na\r\n0\r\n\r\n`, 400, "malformed_request"],
    [
      "a gzip transfer coding",
      `${put}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
      415,
      "unsupported_media_type",
    ],
    ["LF only", "GET /healthz HTTP/1.1\nHost: x\n\n", 400, "malformed_request"],
    ["a TLS hello", Buffer.from("16030100a5010000a10303", "hex"), 400, "malformed_request"],
    ["an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed_request"],
    ["nonsense", "hello\r\n\r\n", 400, "malformed_request"],
    ["a bare CR in a header", `${get}X: a\rb\r\n\r\n`, 400, "malformed_request"],
    ["a NUL in a header", `${get}X: a\0b\r\n\r\n`, 400, "malformed_request"],
    ["a space before the colon", `${get}X : a\r\n\r\n`, 400, "malformed_request"],
    ["a folded header", `${get}X: a\r\n b\r\n\r\n`, 400, "malformed_request"],
    ["no Host", "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "malformed_request"],
    ["headers over 16 KiB", `${get}X: ${"a".repeat(17_000)}\r\n\r\n`, 431, "headers_too_large"],
    ["a URL over 16 KiB", `GET /${"a".repeat(17_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431, "headers_too_large"],
    ["TRACE", `TRACE /vms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, 405, "method_not_allowed"],
    ["CONNECT", "CONNECT vm01:22 HTTP/1.1\r\nHost: vm01:22\r\n\r\n", 405, "method_not_allowed"],
    ["PROPFIND", `PROPFIND /vms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, 405, "method_not_allowed"],
    ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404, "not_found"],
    [
      "a reason twice",
      `${put}X-Change-Reason: a\r\nX-Change-Reason: b\r\nContent-Length: 1\r\n\r\na`,
      400,
      "invalid_header",
    ],
    [
      "two Content-Types",
      `${put}Content-Type: text/yaml\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\na`,
      415,
      "unsupported_media_type",
    ],
    ["1 GiB declared", `${put}Content-Length: 1073741824\r\n\r\na`, 413, "body_too_large"],
  ]
  for (const [what, text, status, code] of requests) {
    test(`${what}: ${status} ${code}`, async (t) => {
      const answer = await raw(await serve(t), text)
      const [head = "", body = ""] = answer.split("\r\n\r\n")
      assert.match(head, new RegExp(`^HTTP/1.1 ${status} `))
      assert.match(head, /content-type: application\/problem\+json\r\n/i)
      assert.match(head, /^connection: close\r?$/im)
      const id = /^x-request-id: (.+?)\r?$/im.exec(head)?.[1]
      const problem = JSON.parse(body)
      assert.equal(problem.code, code)
      assert.equal(problem.instance, `urn:request:${id}`)
    })
  }

  test("a body that ends before its Content-Length breaks nothing", async (t) => {
    const base = await serve(t)
    await raw(base, `${put}Content-Length: 100\r\n\r\nabc`)
    assert.equal((await fetch(`${base}/healthz`)).status, 200)
  })
})

suite("what cannot be read behind a request that is under way", () => {
  const timeouts = { headersMs: 100, requestMs: 100, checkIntervalMs: 20, idleMs: 60_000 }

  for (const [what, behind, status] of [
    ["more body than was declared", "name: rest\r\n\r\n", 400],
    ["headers that never end", "GET /vms HTTP/1.1\r\nHost: x\r\n", 408],
    ["a chunk that is none", `${put}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
  ] as const) {
    test(`${what}: the answer leaves first, then the ${status}`, async (t) => {
      const { services, reached, release } = heldServices()
      const app = await buildApp(services, { ...options, timeouts })
      t.after(() => app.close())
      const base = await app.listen({ port: 0, host: "127.0.0.1" })
      const refused = once(app.server, "clientError")
      const answers = raw(base, `GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n${behind}`, true)
      await Promise.all([reached, refused])
      release()

      const [, first, second, ...more] = (await answers).split(/HTTP\/1\.1 (?=\d)/)
      assert.match(first ?? "", /^200 OK/)
      assert.match(second ?? "", new RegExp(`^${status} `))
      assert.deepEqual(more, [])
    })
  }

  test("an answer that has ended and waits behind it leaves before the refusal, too", async (t) => {
    const { services, reached, release } = heldServices()
    const app = await buildApp(services, { ...options, timeouts })
    t.after(() => app.close())
    const base = await app.listen({ port: 0, host: "127.0.0.1" })
    const refused = once(app.server, "clientError")
    const requests = ["readyz", "healthz"].map((path) => `GET /${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    const answers = raw(base, `${requests.join("")}nonsense\r\n\r\n`, true)
    await Promise.all([reached, refused])
    release()

    const statuses = (await answers).match(/HTTP\/1\.1 \d{3}/g)
    assert.deepEqual(statuses, ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 400"])
  })
})

suite("what is HTTP all the same", () => {
  const requests: readonly [string, string][] = [
    ["HTTP/1.0 without Host", "GET /healthz HTTP/1.0\r\n\r\n"],
    ["an absolute target", "GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
    ["an expectation nobody knows", `${get}Expect: wonders\r\n\r\n`],
    ["an empty query", "GET /healthz? HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
  ]
  for (const [what, text] of requests) {
    test(`${what} is answered`, async (t) => {
      assert.match(await raw(await serve(t), text), /^HTTP\/1.1 200 OK\r\n/)
    })
  }
})

test("the link of a list is relative, also where the target was a whole URL", async (t) => {
  const answer = await raw(await serve(t), "GET http://x/vms?limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
  assert.match(answer, /^link: <\/vms\?limit=1&cursor=[^>]+>; rel="next"\r$/im)
})

suite("request ids", () => {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4/
  const ids: readonly [string, string, RegExp][] = [
    ["one that can be kept", "X-Request-Id: abc 123~\r\n", /^abc 123~$/],
    ["none", "", uuid],
    ["an empty one", "X-Request-Id: \r\n", uuid],
    ["65 characters", `X-Request-Id: ${"a".repeat(65)}\r\n`, uuid],
    ["one that is not ASCII", "X-Request-Id: \u00e4\r\n", uuid],
    ["two", "X-Request-Id: a\r\nX-Request-Id: b\r\n", uuid],
  ]
  for (const [what, header, expected] of ids) {
    test(`${what} is answered with ${expected}`, async (t) => {
      const answer = await raw(await serve(t), Buffer.from(`${get}${header}\r\n`, "latin1"))
      assert.match(/^x-request-id: (.+?)\r$/m.exec(answer)?.[1] ?? "", expected)
    })
  }
})

suite("slow and large", () => {
  const timeouts = { headersMs: 200, requestMs: 400, checkIntervalMs: 50, idleMs: 60_000 }

  for (const [what, text] of [
    ["headers that never end", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "],
    ["a body that never ends", `${put}Content-Length: 5\r\n\r\na`],
  ] as const) {
    test(`${what} are cut with 408`, async (t) => {
      const base = await serve(t, standIns(), { timeouts })
      const answer = await raw(base, text, true)
      assert.match(answer, /^HTTP\/1.1 408 /)
      assert.match(answer, /"code":"request_timeout"/)
    })
  }

  test("a client that does not read its answers is let go", async (t) => {
    const app = await buildApp(standIns(), { ...options, timeouts: { ...timeouts, requestMs: 60_000, idleMs: 300 } })
    t.after(() => app.close())
    const base = await app.listen({ port: 0, host: "127.0.0.1" })
    const ended = once(app.server, "connection").then(([socket]) => once(socket, "close"))
    const client = connect(Number(new URL(base).port), "127.0.0.1").pause()
    t.after(() => client.destroy())
    client.on("error", () => {})
    // More than the kernel keeps for one connection.
    client.write("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100))

    await ended
  })

  test("endless chunks are refused, cut, and do not stay in memory", async (t) => {
    const base = await serve(t, standIns(), { timeouts })
    const socket = connect(Number(new URL(base).port), "127.0.0.1")
    let answer = ""
    socket.on("data", (chunk) => {
      answer += chunk
    })
    socket.on("error", () => {})
    await once(socket, "connect")
    socket.write(`${put.replace("Connection: close\r\n", "")}Transfer-Encoding: chunked\r\n\r\n`)
    const chunk = Buffer.concat([Buffer.from("10000\r\n"), Buffer.alloc(0x10000, 97), Buffer.from("\r\n")])
    const before = process.memoryUsage().rss
    while (!socket.destroyed && socket.writable) {
      if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => {})
    }
    assert.match(answer, /^HTTP\/1.1 413 /)
    assert.ok(process.memoryUsage().rss - before < 64 * 1_048_576)
  })
})

suite("an app that closes", () => {
  const soon = { ...options, closing: { silentMs: 50, allMs: 300 } }

  for (const [what, said] of [
    ["has said nothing", ""],
    ["has not ended its headers", "GET /healthz HTTP/1.1\r\nHost: x\r\n"],
    ["has not ended its body", `${put}Content-Length: 9\r\n\r\nport`],
  ] as const) {
    test(`lets go of a client that ${what}`, async (t) => {
      const app = await buildApp(standIns(), soon)
      const base = await app.listen({ port: 0, host: "127.0.0.1" })
      const taken = once(app.server, "connection")
      const client = connect(Number(new URL(base).port), "127.0.0.1")
      t.after(() => client.destroy())
      client.on("error", () => {})
      await taken
      if (said !== "") client.write(said)
      // Taken in after it.
      assert.equal((await fetch(`${base}/healthz`)).status, 200)

      await app.close()
    })
  }
})

suite("limits and origins", () => {
  test("too many requests are 429 with Retry-After, unknown paths count too, and health is exempt", async (t) => {
    const base = await serve(t, standIns(), { requestsPerMinute: () => 2 })
    await fetch(`${base}/nope`)
    await fetch(`${base}/vms`)
    const answer = await fetch(`${base}/vms`)
    assert.equal((await problemOf(answer)).code, "rate_limited")
    assert.match(answer.headers.get("retry-after") ?? "", /^[1-9]\d*$/)
    for (let n = 0; n < 5; n++) assert.equal((await fetch(`${base}/healthz`)).status, 200)
  })

  const origins: readonly [string, boolean][] = [
    ["https://ops.example", true],
    ["http://localhost:5173", true],
    ["http://localhost", true],
    ["https://ops.example.evil", false],
    ["http://localhost.evil:80", false],
    ["http://xlocalhost:80", false],
    ["http://a.example:80", true],
    ["http://axexample:80", false],
    ["null", false],
  ]
  for (const [origin, allowed] of origins) {
    test(`the origin ${origin} is ${allowed ? "" : "not "}allowed`, async (t) => {
      const base = await serve(t, standIns(), {
        corsOrigins: ["https://ops.example", "http://localhost:*", "http://a.example:*"],
      })
      const answer = await fetch(`${base}/vms/vm01/configs/central`, { headers: { origin } })
      assert.equal(answer.headers.get("access-control-allow-origin"), allowed ? origin : null)
      assert.match(answer.headers.get("vary") ?? "", /Origin, Accept, Authorization/)
      if (allowed) assert.match(answer.headers.get("access-control-expose-headers") ?? "", /ETag.*X-Config-Path/)
    })
  }

  test("no origin is allowed where none is set", async (t) => {
    const answer = await fetch(`${await serve(t)}/vms`, { headers: { origin: "http://localhost:1" } })
    assert.equal(answer.headers.get("access-control-allow-origin"), null)
  })

  test("every answer carries security headers, and nothing asks for https where there is none", async (t) => {
    const { headers } = await fetch(`${await serve(t)}/docs`)
    assert.equal(headers.get("x-content-type-options"), "nosniff")
    assert.doesNotMatch(headers.get("content-security-policy") ?? "", /upgrade-insecure-requests/)
    assert.equal(headers.get("strict-transport-security"), null)
  })
})

suite("methods and paths", () => {
  const wrong: readonly [string, string, string | null][] = [
    ["DELETE", "/vms/vm01/configs/central", "GET, HEAD, PUT"],
    ["PATCH", "/vms/vm01/configs/central", "GET, HEAD, PUT"],
    ["POST", "/vms", "GET, HEAD"],
    ["GET", "/vms/vm01/check", "POST"],
    ["OPTIONS", "/backups", "GET, HEAD, POST"],
    ["POST", "/docs/", "GET, HEAD"],
    ["POST", "/nope", null],
    ["GET", "/vms//configs/central/x", null],
    ["POST", "/rollouts", null],
    ["GET", "/drift", null],
    ["GET", "/docs/nope", null],
  ]
  for (const [method, path, allow] of wrong) {
    test(`${method} ${path} is ${allow === null ? 404 : `405, ${allow}`}`, async (t) => {
      const body = method === "POST" || method === "PATCH" ? "x".repeat(2_000_000) : undefined
      const answer = await fetch(`${await serve(t)}${path}`, { method, body })
      assert.equal((await problemOf(answer)).code, allow === null ? "not_found" : "method_not_allowed")
      assert.equal(answer.headers.get("allow"), allow)
    })
  }

  test("the root leads to the documentation, whose script and style are served", async (t) => {
    const base = await serve(t)
    const page = await fetch(base)
    assert.equal(page.url, `${base}/docs`)
    const html = await page.text()
    assert.doesNotMatch(html, /<script>[^<]/)
    for (const [, path] of html.matchAll(/(?:src|href)="(\/docs\/[^"]+)"/g)) {
      assert.equal((await fetch(`${base}${path}`)).status, 200, path)
    }
  })
})

suite("the end of the service", () => {
  test("what is under way is answered, what comes is refused, and no connection holds it up", async () => {
    const { services, reached, release } = heldServices()
    const app = await buildApp(services, options)
    const base = await app.listen({ port: 0, host: "127.0.0.1" })
    const underWay = raw(base, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", true)
    await reached
    const accepted = once(app.server, "connection")
    const late = connect(Number(new URL(base).port), "127.0.0.1")
    await accepted
    const closed = app.close()
    while (app.server.listening) await new Promise(setImmediate)
    late.write("GET /vms HTTP/1.1\r\nHost: x\r\n\r\n")
    const [answer] = await once(late, "data")
    assert.match(String(answer), /^HTTP\/1.1 503 [\s\S]*"code":"shutting_down"/)
    release()
    assert.match(await underWay, /^HTTP\/1.1 200 OK[\s\S]*connection: close/)
    await closed
    late.destroy()
  })
})
