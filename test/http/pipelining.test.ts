import assert from "node:assert/strict"
import { once } from "node:events"
import { connect } from "node:net"
import { suite, test } from "node:test"
import { buildApp } from "../../src/http/app.ts"
import { raw, serve } from "./serving.ts"
import { configType, liveConfig, options, pushReport, standIns } from "./stand-ins.ts"

const path = "/vms/vm01/configs/central"
const put = (body: string, more = "") =>
  `PUT ${path}?validate=false HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`
const get = `GET ${path} HTTP/1.1\r\nHost: x\r\nAccept: application/yaml\r\n\r\n`
const last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

/** Services that say in which order they were called. A PUT of `slow` is held until it is released. */
function slowPuts() {
  const order: string[] = []
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const services = standIns({
    configs: {
      async put(_ref, body) {
        const text = "bytes" in body ? body.bytes.toString() : ""
        order.push(`${text} begins`)
        if (text === "slow") {
          reach()
          await released
        }
        order.push(`${text} ends`)
        return pushReport
      },
      async read({ type }) {
        order.push("read")
        return liveConfig(configType(type, "yaml"))
      },
    },
  })
  return { services, order, reached, release }
}

suite("requests that come together on one connection", () => {
  test("are done in their order where one of them changes something", async (t) => {
    const { services, order, reached, release } = slowPuts()
    const base = await serve(t, services)
    const answers = raw(base, put("slow") + get + get + put("quick") + last, true)
    await reached
    // Whatever else could be under way by now has answered this one, too.
    await fetch(`${base}/healthz`)
    assert.deepEqual(order, ["slow begins"])
    release()

    assert.deepEqual((await answers).match(/HTTP\/1\.1 \d{3}/g), Array(5).fill("HTTP/1.1 200"))
    assert.deepEqual(order, ["slow begins", "slow ends", "read", "read", "quick begins", "quick ends"])
  })

  test("run beside one another where none of them does", async (t) => {
    const { promise: both, resolve: release } = Promise.withResolvers<void>()
    let under = 0
    const read = async ({ type }: { readonly type: string }) => {
      under += 1
      if (under === 2) release()
      await both
      return liveConfig(configType(type, "yaml"))
    }
    const base = await serve(t, standIns({ configs: { read } }))
    assert.deepEqual((await raw(base, get + get + last, true)).match(/HTTP\/1\.1 \d{3}/g)?.length, 3)
  })

  test("are not begun behind an answer that ends the connection, since the service ends", async () => {
    const { services, order, reached, release } = slowPuts()
    const app = await buildApp(services, options)
    const base = await app.listen({ port: 0, host: "127.0.0.1" })
    const answers = raw(base, put("slow") + get, true)
    await reached
    const closed = app.close()
    while (app.server.listening) await new Promise(setImmediate)
    release()

    const [, first, ...more] = (await answers).split(/HTTP\/1\.1 (?=\d)/)
    assert.match(first ?? "", /^200 OK[\s\S]*connection: close/)
    assert.deepEqual(more, [])
    await closed
    assert.deepEqual(order, ["slow begins", "slow ends"])
  })

  test("are not begun where their caller hangs up while they wait", async (t) => {
    const { services, order, reached, release } = slowPuts()
    const base = await serve(t, services)
    const socket = connect(Number(new URL(base).port), "127.0.0.1")
    socket.on("error", () => {})
    socket.write(put("slow") + get)
    await reached
    socket.destroy()
    await once(socket, "close")
    await fetch(`${base}/healthz`)
    release()
    await fetch(`${base}/healthz`)

    assert.deepEqual(order, ["slow begins", "slow ends"])
  })

  test("are refused where a hundred wait already", async (t) => {
    const { services, reached, release } = slowPuts()
    const base = await serve(t, services, { requestsPerMinute: () => 0 })
    const answers = raw(base, put("slow") + get.repeat(101) + last, true)
    await reached
    await fetch(`${base}/healthz`)
    release()

    const statuses = (await answers).match(/HTTP\/1\.1 \d{3}/g)?.map((line) => line.slice(-3))
    assert.deepEqual(statuses, [...Array<string>(101).fill("200"), "429", "429"])
  })
})

suite("a body that is no whole config", () => {
  for (const [what, headers] of [
    ["without a length, as where it was forgotten", ""],
    ["of a part of it", "Content-Range: bytes 10-11/12\r\nContent-Length: 2\r\n"],
  ] as const) {
    for (const [method, target] of [
      ["PUT", path],
      ["POST", `${path}/validate`],
      ["POST", `${path}/diff`],
    ] as const) {
      test(`is refused, ${what}: ${method} ${target}`, async (t) => {
        const calls: { readonly name: string }[] = []
        const base = await serve(t, standIns({}, calls as never))
        const answer = await raw(
          base,
          `${method} ${target} HTTP/1.1\r\nHost: x\r\n${headers}Connection: close\r\n\r\nab`,
          true,
        )

        assert.match(answer, /^HTTP\/1\.1 400 [\s\S]*"code":"invalid_header"/)
        assert.deepEqual(calls, [])
      })
    }
  }

  test("an empty one is taken where it is said that it is", async (t) => {
    const base = await serve(t)
    for (const said of ["Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]) {
      const text = `PUT ${path}?validate=false HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${said}`
      assert.match(await raw(base, text, true), /^HTTP\/1\.1 200 /)
    }
  })
})
