import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { StartError } from "../../src/domain/start-error.ts"
import { allowedHostsOf, isHost, isLoopback, parseProxyJump } from "../../src/settings/addresses.ts"
import { checkListening } from "../../src/settings/listening.ts"

const tls = { certPath: "/c.pem", keyPath: "/k.pem" }
const server = (host: string, own: typeof tls | null = null) => ({
  server: { host, port: 8080, tls: own, corsOrigins: [] },
})
const neither = { insecureHttp: false, noAuth: false }

const needsTls =
  "set server.tls_cert_path and server.tls_key_path, or pass --insecure-http to send everything in the clear"
const needsNoAuth = "pass --no-auth to let everyone in who can reach it, for this version knows no tokens"

suite("checkListening", () => {
  for (const host of ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST.", "0:0:0:0:0:0:0:1"]) {
    test(`lets ${host} be as it is`, () => checkListening(server(host), neither))
  }

  for (const host of ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.example", "::ffff:127.0.0.1"]) {
    test(`refuses ${host} without TLS and flags`, () => {
      assert.throws(() => checkListening(server(host), neither), {
        name: "StartError",
        message: `server.host ${host} can be reached from other machines: ${needsTls}; and ${needsNoAuth}; or listen on 127.0.0.1.`,
      })
    })
  }

  test("refuses TLS without --no-auth", () => {
    assert.throws(() => checkListening(server("::", tls), { insecureHttp: true, noAuth: false }), {
      message: `server.host :: can be reached from other machines: ${needsNoAuth}; or listen on 127.0.0.1.`,
    })
  })

  test("refuses --no-auth without TLS", () => {
    assert.throws(
      () => checkListening(server("::"), { insecureHttp: false, noAuth: true }),
      (error: Error) => {
        return error instanceof StartError && error.message.includes(needsTls) && !error.message.includes(needsNoAuth)
      },
    )
  })

  test("lets both flags, or TLS and --no-auth, through", () => {
    checkListening(server("0.0.0.0"), { insecureHttp: true, noAuth: true })
    checkListening(server("0.0.0.0", tls), { insecureHttp: false, noAuth: true })
  })
})

suite("Addresses", () => {
  test("that are none", () => {
    const hosts = [
      "",
      "a b",
      "-a",
      "a-",
      "a..b",
      "1.2.3",
      "1.2.3.4.5",
      "256.1.1.1",
      "[::1]",
      "a:22",
      "a/b",
      "é",
      "a".repeat(64),
    ]
    assert.deepEqual(hosts.filter(isHost), [])
    assert.deepEqual([`${"a.".repeat(127)}a`].filter(isHost), [])
  })

  test("that are", () => {
    for (const host of ["a", "a.b-c.d", "1a", "::", "fe80::1%eth0", "1.2.3.4", "xn--bcher-kva.example", "a."])
      assert.ok(isHost(host), host)
  })

  test("of jump hosts", () => {
    assert.deepEqual(parseProxyJump("me@gate:22"), { user: "me", host: "gate", port: 22 })
    assert.deepEqual(parseProxyJump("me@[2001:db8::1]:2222"), { user: "me", host: "2001:db8::1", port: 2222 })
    for (const text of [
      "",
      "gate",
      "me@gate",
      "gate:22",
      "@gate:22",
      "a@b@c:1",
      "me@::1:22",
      "me@[gate]:22",
      "me@gate:70000",
      "me@gate:",
      "me@ga te:1",
    ]) {
      assert.equal(parseProxyJump(text), null, text)
    }
  })

  test("that Host may name: those of loopback and the own one, any where others can reach it", () => {
    const usual = ["localhost", "127.0.0.1", "[::1]"]
    for (const host of ["localhost", "127.0.0.1", "::1"]) assert.deepEqual(allowedHostsOf(host), usual)
    assert.deepEqual(allowedHostsOf("127.0.0.5"), [...usual, "127.0.0.5"])
    assert.deepEqual(allowedHostsOf("LOCALHOST."), [...usual, "localhost."])
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "ops.example"]) assert.equal(allowedHostsOf(host), null)
  })

  test("of loopback only", () => {
    assert.deepEqual(["128.0.0.1", "127.0.0.1.example", "", "localhos"].filter(isLoopback), [])
  })
})
