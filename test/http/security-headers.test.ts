import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fastifyHelmet from "@fastify/helmet"
import { fastify } from "fastify"
import { dataHeaders, pageHeaders } from "../../src/http/security-headers.ts"
import { raw, serve } from "./serving.ts"

/** What helmet answers, under the options that ours are written out for. */
async function ofHelmet(tls: boolean): Promise<Record<string, unknown>> {
  const bare = fastify()
  bare.get("/", async () => "")
  const { headers: own } = await bare.inject("/")
  const app = fastify()
  await app.register(fastifyHelmet, {
    strictTransportSecurity: tls ? { includeSubDomains: false } : false,
    contentSecurityPolicy: { directives: tls ? {} : { upgradeInsecureRequests: null } },
  })
  app.get("/", async () => "")
  const { headers } = await app.inject("/")
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !(name in own)))
}

suite("the headers for browsers", () => {
  for (const tls of [false, true]) {
    test(`are on pages what helmet would answer ${tls ? "over TLS" : "over plain HTTP"}`, async () => {
      assert.deepEqual(pageHeaders(tls), await ofHelmet(tls))
    })
  }

  const requests: readonly [string, string][] = [
    ["what is found", "GET /healthz"],
    ["what is not found", "GET /nope"],
    ["a method that is not allowed", "DELETE /vms"],
    ["a bad parameter", "GET /vms?limit=0"],
    ["a URL that cannot be read", "GET /%zz"],
    ["an id that is too long", `GET /vms/${"a".repeat(300)}`],
  ]
  const pages: readonly [string, string][] = [
    ["the documentation", "GET /docs"],
    ["its description", "GET /docs/json"],
  ]
  for (const [what, line, headers] of [
    ...requests.map((each) => [...each, dataHeaders(false)] as const),
    ...pages.map((each) => [...each, pageHeaders(false)] as const),
  ]) {
    test(`stand on the answer for ${what}, each once`, async (t) => {
      const answer = await raw(await serve(t), `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
      const found = answer
        .slice(0, answer.indexOf("\r\n\r\n"))
        .split("\r\n")
        .map((text) => [text.slice(0, text.indexOf(":")).toLowerCase(), text.slice(text.indexOf(":") + 2)])
      for (const [name, value] of Object.entries(headers)) {
        assert.deepEqual(
          found.filter(([each]) => each === name),
          [[name, value]],
        )
      }
    })
  }
})
