import assert from "node:assert/strict"
import { once } from "node:events"
import { connect, createServer, type Server, type Socket } from "node:net"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type FaultyNetwork, startProxy } from "./proxy.ts"

suite("startProxy", { timeout: 10_000 }, () => {
  let server: Server
  let proxy: FaultyNetwork
  const sockets: Socket[] = []

  /** A proxy before a fresh server; the client's and the server's side of a first connection. */
  async function open(options?: { delayMs: number }): Promise<{ client: Socket; peer: Socket }> {
    proxy = await startProxy({ host: "127.0.0.1", port: portOf(server) }, options)
    return dial()
  }

  async function dial(): Promise<{ client: Socket; peer: Socket }> {
    const accepted = once(server, "connection")
    const client = connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true, noDelay: true })
    sockets.push(client)
    const [peer] = (await accepted) as [Socket]
    sockets.push(peer)
    return { client, peer }
  }

  beforeEach(async () => {
    server = createServer({ allowHalfOpen: true, noDelay: true }).listen(0, "127.0.0.1")
    await once(server, "listening")
  })

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy()
    await proxy.close()
    server.close()
  })

  test("passes bytes and ends both ways, and counts them", async () => {
    const { client, peer } = await open()
    client.end("question")
    assert.equal(await readAll(peer), "question")
    peer.end("answer!")
    assert.equal(await readAll(client), "answer!")
    assert.deepEqual([proxy.connections, proxy.bytesUp, proxy.bytesDown], [1, 8, 7])
    await dial()
    assert.equal(proxy.connections, 2)
  })

  test("passes a reset on", async () => {
    const { client, peer } = await open()
    client.resetAndDestroy()
    assert.equal(await fateOf(peer), "ECONNRESET")
  })

  test("resets a client whose target cannot be reached", async () => {
    proxy = await startProxy({ host: "127.0.0.1", port: 1 })
    const client = connect(proxy.port, proxy.host)
    assert.equal(await fateOf(client), "ECONNRESET")
  })

  test("holds one direction and hands on all of it, in order, when released", async () => {
    const { client, peer } = await open()
    proxy.hold("up")
    client.write("a")
    client.end("b")
    peer.write("down goes on")
    assert.equal(await readSome(client), "down goes on")
    assert.equal(proxy.bytesUp, 0)
    proxy.release()
    assert.equal(await readAll(peer), "ab")
  })

  test("holds both directions, also of connections made later", async () => {
    const { client } = await open()
    proxy.hold()
    client.write("one")
    const second = await dial()
    second.peer.write("two")
    await passed(client, second.peer)
    assert.deepEqual([proxy.bytesUp, proxy.bytesDown], [0, 0])
    proxy.release()
    assert.equal(await readSome(second.client), "two")
    assert.equal(proxy.bytesUp, 3)
  })

  test("hands held bytes on after the client has given up on them", async () => {
    const { client, peer } = await open()
    proxy.hold("up")
    client.write("rename")
    await passed(client)
    client.resetAndDestroy()
    await once(client, "close")
    proxy.release()
    assert.equal(await readSome(peer), "rename")
  })

  test("leads later connections to where it was moved to, and leaves those that are open", async () => {
    const { client, peer } = await open()
    const other = createServer().listen(0, "127.0.0.1")
    await once(other, "listening")
    proxy.moveTo({ host: "127.0.0.1", port: portOf(other) })
    const accepted = once(other, "connection")
    sockets.push(connect(proxy.port, proxy.host))
    const [later] = (await accepted) as [Socket]
    sockets.push(later)
    client.write("as before")
    assert.equal(await readSome(peer), "as before")
    other.close()
  })

  test("swallows bytes and ends in a black hole, for good on the connections it has met", async () => {
    const { client, peer } = await open()
    proxy.blackhole()
    client.end("lost")
    const later = await dial()
    later.client.write("lost too")
    await passed(client, later.client)
    proxy.release()
    const fresh = await dial()
    fresh.client.write("arrives")
    assert.equal(await readSome(fresh.peer), "arrives")
    assert.deepEqual([proxy.bytesUp, peer.bytesRead, later.peer.bytesRead, peer.readableEnded], [7, 0, 0, false])
  })

  test("resets both sides, and passes the next connection", async () => {
    const { client, peer } = await open()
    const fates = Promise.all([fateOf(client), fateOf(peer)])
    proxy.reset()
    assert.deepEqual(await fates, ["ECONNRESET", "ECONNRESET"])
    const next = await dial()
    next.client.write("on")
    assert.equal(await readSome(next.peer), "on")
  })

  test("ends both sides politely", async () => {
    const { client, peer } = await open()
    const fates = Promise.all([fateOf(client), fateOf(peer)])
    proxy.fin()
    assert.deepEqual(await fates, ["end", "end"])
  })

  for (const [action, fate] of [
    ["reset", "ECONNRESET"],
    ["fin", "end"],
  ] as const) {
    test(`does ${action} exactly at a byte`, async () => {
      const { client, peer } = await open()
      proxy.onBytes("up", 5, action)
      const gone = fateOf(peer)
      client.on("error", () => {})
      client.write("123")
      client.write("456789")
      assert.equal(await gone, fate)
      assert.deepEqual([proxy.bytesUp, peer.bytesRead], [5, 5])
    })
  }

  test("holds from exactly a byte on, in the trigger's direction only", async () => {
    const { client, peer } = await open()
    proxy.onBytes("down", 4, "hold")
    peer.write("123456")
    assert.equal(await readSome(client), "1234")
    client.write("up goes on")
    assert.equal(await readSome(peer), "up goes on")
    proxy.release()
    assert.equal(await readSome(client), "56")
  })

  test("swallows from exactly a byte on", async () => {
    const { client, peer } = await open()
    proxy.onBytes("up", 4, "blackhole")
    client.write("123456")
    assert.equal(await readSome(peer), "1234")
    await passed(client)
    assert.equal(proxy.bytesUp, 4)
  })

  test("fires each trigger once, in its place, and at once where it is past", async () => {
    const { client, peer } = await open()
    const fired: string[] = []
    proxy.onBytes("up", 2, () => fired.push(`two at ${proxy.bytesUp}`))
    proxy.onBytes("up", 4, () => fired.push(`four at ${proxy.bytesUp}`))
    proxy.onBytes("down", 1, () => fired.push("down"))
    client.write("123456")
    await readSome(peer)
    proxy.onBytes("up", 3, () => fired.push("past"))
    assert.deepEqual(fired, ["two at 2", "four at 4", "past"])
  })

  test("fires after a chunk, counted from now", async () => {
    const { client, peer } = await open()
    client.write("first")
    await readSome(peer)
    proxy.onChunks("up", 2, "reset")
    const gone = fateOf(peer)
    client.on("error", () => {})
    client.write("second")
    while (peer.bytesRead < 11) await once(peer, "data")
    client.write("third")
    assert.equal(await gone, "ECONNRESET")
    assert.equal(proxy.bytesUp, 16)
  })

  test("delays all bytes by the same time, side by side and in order", async () => {
    const { client, peer } = await open({ delayMs: 60 })
    const started = performance.now()
    for (let n = 0; n < 10; n++) {
      client.write(String(n))
      await passed(client)
    }
    client.end()
    assert.equal(await readAll(peer), "0123456789")
    const took = performance.now() - started
    assert.ok(took >= 59, `took ${took} ms`)
    assert.ok(took < 500, `took ${took} ms`)
  })

  test("holds the connections that are open, not those made later", async () => {
    const { client, peer } = await open()
    proxy.holdOpen("up")
    client.write("kept back")
    const later = await dial()
    later.client.write("passes")
    assert.equal(await readSome(later.peer), "passes")
    assert.equal(peer.bytesRead, 0)
    client.resetAndDestroy()
    await once(client, "close")
    proxy.release()
    assert.equal(await readSome(peer), "kept back")
  })

  test("sends bytes one by one from exactly a byte on, in the trigger's direction only, until released", async () => {
    const { client, peer } = await open()
    const sizes = chunkSizesOf(peer)
    proxy.onBytes("up", 3, "slice")
    client.write("x".repeat(30))
    while (peer.bytesRead < 30) await once(peer, "data")
    assert.ok(sizes.filter((size) => size === 1).length > 20, sizes.join())
    peer.write("down goes on")
    assert.equal(await readSome(client), "down goes on")
    proxy.release()
    client.write("whole")
    while (peer.bytesRead < 35) await once(peer, "data")
    assert.equal(sizes.at(-1), 5)
  })

  test("lets no connection get on faster than it is told, in order, and all of it when released", async () => {
    const { client, peer } = await open()
    proxy.throttle(100)
    const text = "0123456789"
    const started = performance.now()
    client.write(text)
    client.end()
    const received = readAll(peer)
    while (peer.bytesRead < 6) await once(peer, "readable")
    const took = performance.now() - started
    assert.ok(took >= 39 && took < 300, `six bytes took ${took} ms`)
    proxy.release()
    assert.equal(await received, text)
    assert.ok(performance.now() - started < 400)
  })

  test("fires right after a marker, also where two chunks share it, once, and for that direction only", async () => {
    const { client, peer } = await open()
    let fired = 0
    proxy.onMarker("down", "SSH-", () => fired++)
    proxy.onMarker("up", "SSH-", "hold")
    client.write("xxSS")
    await passed(client)
    client.write("H-2.0 SSH-")
    assert.equal(await readSome(peer), "xxSS")
    while (peer.bytesRead < 6) await once(peer, "data")
    await passed(client)
    assert.deepEqual([proxy.bytesUp, fired], [6, 0])
    proxy.release()
    while (peer.bytesRead < 14) await once(peer, "data")
    peer.end("SSH- SSH-")
    assert.equal(await readAll(client), "SSH- SSH-")
    assert.equal(fired, 1)
  })

  test("closes with connections open, held and delayed", async () => {
    const { client } = await open({ delayMs: 60_000 })
    proxy.hold()
    client.on("error", () => {})
    client.write("never arrives")
    await passed(client)
    const closed = once(client, "close")
    client.resume()
    client.on("end", () => client.end())
    await proxy.close()
    await proxy.close()
    await closed
  })
})

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === "object" && address ? address.port : 0
}

/** Sizes of the chunks in which bytes arrive from now on. */
function chunkSizesOf(socket: Socket): readonly number[] {
  const sizes: number[] = []
  socket.on("data", (chunk: Buffer) => sizes.push(chunk.length))
  return sizes
}

async function readSome(socket: Socket): Promise<string> {
  const [chunk] = await once(socket, "data")
  return String(chunk)
}

async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** How the connection goes: `end`, or the error's code. */
async function fateOf(socket: Socket): Promise<string> {
  socket.resume()
  return once(socket, "end").then(
    () => "end",
    (error: NodeJS.ErrnoException) => error.code ?? "",
  )
}

/** The proxy, which lives in this process, has had its turns to read what these sockets have sent. */
async function passed(...from: readonly Socket[]): Promise<void> {
  while (from.some((socket) => socket.writableLength > 0)) await new Promise(setImmediate)
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
}
