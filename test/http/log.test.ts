import assert from "node:assert/strict"
import { once } from "node:events"
import { connect } from "node:net"
import { PassThrough } from "node:stream"
import { suite, test } from "node:test"
import { pino } from "pino"
import { Fault } from "../../src/domain/fault.ts"
import type { Services } from "../../src/http/services.ts"
import { serve } from "./serving.ts"
import { standIns } from "./stand-ins.ts"

const central = "/vms/vm01/configs/central"

/** Sends one request and gives back the lines it left in the log. */
async function linesOf(t: Parameters<typeof serve>[0], services: Services, path: string, init: RequestInit = {}) {
  const stream = new PassThrough()
  const base = await serve(t, services, { logger: pino({ level: "debug" }, stream) })
  // The line about the server's address.
  stream.read()
  const headers = { authorization: "Bearer cm_hunter2", "x-request-id": "my-id", ...init.headers }
  await (await fetch(`${base}${path}`, { ...init, headers })).text()
  const lines: Record<string, unknown>[] = []
  while (!lines.some(({ msg }) => msg === "request")) {
    const text: string = stream.read()?.toString() ?? String((await once(stream, "data"))[0])
    lines.push(
      ...text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line)),
    )
  }
  return lines
}

suite("the log", () => {
  test("has one line per request: who, what, how it ended, how long; no query, no body, no token", async (t) => {
    const lines = await linesOf(t, standIns(), `${central}?dryRun=true`, { method: "PUT", body: "password: hunter2" })
    assert.equal(lines.length, 1)
    const { requestId, method, route, vmId, type, status, actor, ms, aborted } = lines[0] ?? {}
    assert.deepEqual(
      { requestId, method, route, vmId, type, status, actor, aborted },
      {
        requestId: "my-id",
        method: "PUT",
        route: "/vms/:vmId/configs/:type",
        vmId: "vm01",
        type: "central",
        status: 200,
        actor: "anonymous",
        aborted: undefined,
      },
    )
    assert.ok(Number.isInteger(ms))
    assert.doesNotMatch(JSON.stringify(lines), /hunter2|dryRun/)
  })

  test("has that line once also where the caller hung up before there was an answer", async (t) => {
    const { promise: reached, resolve: reach } = Promise.withResolvers<void>()
    const read = (_ref: unknown, { signal }: { readonly signal: AbortSignal }): Promise<never> => {
      reach()
      return once(signal, "abort").then(() => Promise.reject(signal.reason))
    }
    const lines: unknown[] = []
    const stream = new PassThrough()
    const observed: unknown[] = []
    const base = await serve(t, standIns({ configs: { read } }), {
      logger: pino({}, stream),
      observeRequest: (route, _method, status) => observed.push([route, status]),
    })
    stream.read()
    stream.on("data", (line) => {
      const { msg, requestId, route, status, aborted } = JSON.parse(String(line))
      lines.push({ msg, requestId, route, status, aborted })
    })
    const socket = connect(Number(new URL(base).port), "127.0.0.1")
    socket.write(`GET ${central} HTTP/1.1\r\nHost: x\r\nX-Request-Id: my-id\r\n\r\n`)
    await reached
    socket.destroy()
    await once(stream, "data")
    // Nobody gets the answer that the aborted step comes to; by the next request it has been given.
    await (await fetch(`${base}/vms`, { headers: { "x-request-id": "next-id" } })).text()
    while (lines.length < 2) await once(stream, "data")

    const route = "/vms/:vmId/configs/:type"
    assert.deepEqual(lines, [
      { msg: "request", requestId: "my-id", route, status: null, aborted: true },
      { msg: "request", requestId: "next-id", route: "/vms", status: 200, aborted: undefined },
    ])
    assert.deepEqual(observed, [
      [route, null],
      ["/vms", 200],
    ])
  })

  test("tells the cause of a fault on a VM beside it", async (t) => {
    const fault = new Fault("vm_unreachable", "No way.", { cause: new Error("ECONNREFUSED") })
    const lines = await linesOf(t, standIns({ configs: { read: () => Promise.reject(fault) } }), central)
    assert.deepEqual(
      lines.map(({ level, msg, code }) => ({ level, msg, code })),
      [
        { level: 40, msg: "No way.", code: "vm_unreachable" },
        { level: 30, msg: "request", code: undefined },
      ],
    )
    assert.match(JSON.stringify(lines[0]), /ECONNREFUSED/)
  })

  test("tells a bug with its stack", async (t) => {
    const lines = await linesOf(t, standIns({ configs: { read: () => Promise.reject(new TypeError("oh")) } }), central)
    assert.equal(lines[0]?.level, 50)
    assert.match(JSON.stringify(lines[0]), /TypeError: oh\\n/)
  })

  test("is quiet about what the caller did wrong, but for the line of the request", async (t) => {
    const lines = await linesOf(t, standIns(), "/vms/nope?token=hunter2")
    assert.deepEqual(
      lines.map(({ msg, status }) => ({ msg, status })),
      [{ msg: "request", status: 400 }],
    )
    assert.doesNotMatch(JSON.stringify(lines), /hunter2/)
  })

  test("has a probe only at level debug, unless it is refused", async (t) => {
    const [probe] = await linesOf(t, standIns(), "/healthz")
    assert.deepEqual([probe?.level, probe?.status], [20, 200])
    const [refused] = await linesOf(t, standIns(), "/healthz?x=1")
    assert.deepEqual([refused?.level, refused?.status], [30, 400])
  })
})
