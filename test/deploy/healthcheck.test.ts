import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:http"
import { type AddressInfo, createServer as createSocketServer } from "node:net"
import { join } from "node:path"
import { suite, test } from "node:test"
import { serve } from "../http/serving.ts"

const script = join(import.meta.dirname, "..", "..", "bin", "healthcheck.js")

async function healthcheck(url: string): Promise<{ readonly code: unknown; readonly stderr: string }> {
  const child = spawn(process.execPath, [script], { env: { HEALTH_URL: url }, stdio: ["ignore", "ignore", "pipe"] })
  let stderr = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
  })
  const [code] = await once(child, "close")
  return { code, stderr }
}

suite("bin/healthcheck.js", { concurrency: 2 }, () => {
  test("succeeds where the service answers", async (t) => {
    assert.deepEqual(await healthcheck(await serve(t)), { code: 0, stderr: "" })
  })

  test("fails where nothing listens", async () => {
    const { code, stderr } = await healthcheck("http://127.0.0.1:1")
    assert.equal(code, 1)
    assert.match(stderr, /^http:\/\/127\.0\.0\.1:1\/healthz: .*ECONNREFUSED/)
  })

  test("fails where another answer comes", async (t) => {
    const server = createServer((_request, response) => response.writeHead(503).end()).listen(0, "127.0.0.1")
    t.after(() => server.close())
    await once(server, "listening")
    const { code, stderr } = await healthcheck(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    assert.equal(code, 1)
    assert.match(stderr, /it answers 503/)
  })

  test("fails within five seconds where no answer comes, as HEALTHCHECK waits no longer", async (t) => {
    const server = createSocketServer((socket) => t.after(() => socket.destroy())).listen(0, "127.0.0.1")
    t.after(() => server.close())
    await once(server, "listening")
    const begin = performance.now()
    const { code, stderr } = await healthcheck(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    assert.equal(code, 1)
    assert.match(stderr, /no answer within 4 s/)
    assert.ok(performance.now() - begin < 5000)
  })
})
