import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { problemOf, raw, serve } from "./serving.ts"
import { type Call, standIns } from "./stand-ins.ts"

const allowedHosts = ["localhost", "127.0.0.1", "[::1]", "127.0.0.5"]
const central = "/vms/vm01/configs/central"

suite("The Host of a request, where only this machine can reach the service", () => {
  const refused = [
    ...["evil.example", "evil.example:8080", "localhost.evil.example", "xlocalhost", "127.0.0.1.evil.example"],
    ...["127.0.0.2", "[::2]:80", "::1", "localhost:80:80", "localhost:x", "localhost@evil.example", "localhost,evil"],
    ...["", ":8080", "[::1", "localhost evil.example"],
  ]
  for (const host of refused) {
    test(`is refused as ${host === "" ? "nothing" : host}, before anything is called`, async (t) => {
      const calls: Call[] = []
      const base = await serve(t, standIns({}, calls), { allowedHosts })
      for (const path of [central, "/healthz", "/docs"]) {
        const answer = await raw(base, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
        assert.match(answer, /^HTTP\/1.1 403 [\s\S]*"code":"forbidden"/, path)
      }
      assert.deepEqual(calls, [])
    })
  }

  for (const host of [
    "localhost",
    "localhost:8080",
    "LOCALHOST:1",
    "127.0.0.1:65535",
    "[::1]:80",
    "[::1]",
    "127.0.0.5",
  ]) {
    test(`is taken as ${host}`, async (t) => {
      const base = await serve(t, standIns(), { allowedHosts })
      const answer = await raw(base, `GET ${central} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      assert.match(answer, /^HTTP\/1.1 200 /)
    })
  }

  test("may be any where others can reach the service, and none in HTTP/1.0, which no browser speaks", async (t) => {
    const open = await serve(t, standIns(), { allowedHosts: null })
    assert.match(
      await raw(open, `GET ${central} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n`),
      /^HTTP\/1.1 200 /,
    )
    const guarded = await serve(t, standIns(), { allowedHosts })
    assert.match(await raw(guarded, `GET ${central} HTTP/1.0\r\n\r\n`), /^HTTP\/1.1 200 /)
  })

  test("matters only once the route and the method are known", async (t) => {
    const base = await serve(t, standIns(), { allowedHosts })
    const head = "HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert.match(await raw(base, `GET /nope ${head}`), /^HTTP\/1.1 404 /)
    assert.match(await raw(base, `DELETE /vms ${head}`), /^HTTP\/1.1 405 /)
  })
})

suite("A change that a browser sends from another site", () => {
  const corsOrigins = ["https://ops.example", "http://localhost:*"]
  const send = async (base: string, headers: Record<string, string>, method = "PUT"): Promise<Response> =>
    fetch(`${base}${method === "PUT" ? central : "/vms/vm01/check"}`, {
      method,
      body: method === "PUT" ? "a: 1\n" : "",
      headers: { "content-type": "text/plain", ...headers },
    })

  const origins: readonly (string | undefined)[] = [
    ...["https://evil.example", "null", "https://ops.example.evil", "https://ops.example:444", undefined],
  ]
  for (const origin of origins) {
    test(`is refused from the origin ${origin ?? "that it does not name"}, and calls nothing`, async (t) => {
      const calls: Call[] = []
      const base = await serve(t, standIns({}, calls), { corsOrigins })
      for (const method of ["PUT", "POST"]) {
        const headers = { "sec-fetch-site": "cross-site", ...(origin !== undefined && { origin }) }
        const answer = await send(base, headers, method)
        assert.equal(answer.status, 403)
        assert.equal((await problemOf(answer)).code, "forbidden")
      }
      assert.deepEqual(calls, [])
    })
  }

  for (const origin of ["https://ops.example", "http://localhost:5173"]) {
    test(`is taken from ${origin}, which cors_origins allows`, async (t) => {
      const base = await serve(t, standIns(), { corsOrigins })
      assert.equal((await send(base, { "sec-fetch-site": "cross-site", origin })).status, 200)
    })
  }

  test("is refused where no origin is allowed at all", async (t) => {
    const headers = { "sec-fetch-site": "cross-site", origin: "http://localhost:5173" }
    assert.equal((await send(await serve(t), headers)).status, 403)
  })

  test("is not what the own pages, a typed address or a program send", async (t) => {
    const base = await serve(t, standIns(), { corsOrigins })
    for (const site of ["same-origin", "none"]) assert.equal((await send(base, { "sec-fetch-site": site })).status, 200)
    assert.equal((await send(base, { origin: "https://evil.example" })).status, 200)
    const read = await fetch(`${base}${central}`, { headers: { "sec-fetch-site": "cross-site" } })
    assert.equal(read.status, 200)
  })
})
