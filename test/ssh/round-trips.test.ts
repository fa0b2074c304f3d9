import assert from "node:assert/strict"
import { appendFile, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import type { Session } from "../../src/domain/transport.ts"
import { type FaultyNetwork, startProxy } from "../support/proxy.ts"
import { type Sshd, startSshd, vmOf } from "../support/sshd.ts"
import { asItself, transportFor, upToOneMiB } from "./transport-harness.ts"

const oneWayMs = 40
const fewest = 3
const most = 12

/**
 * A round trip is what the delay costs: time through a slow network less time through a fast one, in units of the
 * delay there and back. The quickest of some tries, because a busy machine only ever adds: of a few, and of more where
 * it is too many so far.
 */
async function roundTripsOf(
  measure: (network: FaultyNetwork) => Promise<number>,
  { slow, fast, limit }: { slow: FaultyNetwork; fast: FaultyNetwork; limit: number },
) {
  const best = { slow: Number.POSITIVE_INFINITY, fast: Number.POSITIVE_INFINITY }
  let found = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < fewest || (attempt < most && found >= limit); attempt++) {
    best.slow = Math.min(best.slow, await measure(slow))
    best.fast = Math.min(best.fast, await measure(fast))
    found = (best.slow - best.fast) / (2 * oneWayMs)
  }
  return found
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now()
  await work()
  return performance.now() - startedAt
}

suite("Round trips", () => {
  let sshd: Sshd
  let slow: FaultyNetwork
  let fast: FaultyNetwork
  let path: string

  before(async () => {
    sshd = await startSshd()
    slow = await startProxy(sshd, { delayMs: oneWayMs })
    fast = await startProxy(sshd)
    path = join(sshd.root, "app.yml")
    const lines = await readFile(sshd.knownHostsPath, "utf8")
    for (const { port } of [slow, fast]) {
      await appendFile(sshd.knownHostsPath, lines.replaceAll(`:${sshd.port} `, `:${port} `))
    }
  })
  after(async () => {
    await slow.close()
    await fast.close()
    await sshd.stop()
  })

  async function warm(network: FaultyNetwork, use: (session: Session) => Promise<number>): Promise<number> {
    const transport = transportFor(sshd)
    const session = await transport.open(vmOf(sshd, { port: network.port }), asItself)
    try {
      await writeFile(path, "a: 1\n")
      await session.read(path, upToOneMiB)
      return await use(session)
    } finally {
      session.close()
      await transport.close()
    }
  }

  test("a first connection takes 5, and the one of TCP", async () => {
    const connecting = async (network: FaultyNetwork) => {
      const transport = transportFor(sshd)
      try {
        return await timed(async () => (await transport.open(vmOf(sshd, { port: network.port }), asItself)).close())
      } finally {
        await transport.close()
      }
    }
    const roundTrips = await roundTripsOf(connecting, { slow, fast, limit: 5 })
    // The proxy answers the handshake of TCP at once, so that is not in it; some arithmetic passes while bytes travel.
    assert.ok(roundTrips > 3.5 && roundTrips <= 5, `${roundTrips.toFixed(2)} round trips`)
  })

  test("a warm read takes 2", async () => {
    const reading = (network: FaultyNetwork) => warm(network, (session) => timed(() => session.read(path, upToOneMiB)))
    const roundTrips = await roundTripsOf(reading, { slow, fast, limit: 2.5 })
    assert.ok(roundTrips > 1.5 && roundTrips < 2.5, `${roundTrips.toFixed(2)} round trips`)
  })

  test("a whole push takes 9: read, stage, read again, swap with both files read back, remove", async () => {
    const bytes = Buffer.alloc(3 * 32 * 1024, "x")
    const pushing = (network: FaultyNetwork) =>
      warm(network, (session) =>
        timed(async () => {
          const before = await session.read(path, upToOneMiB)
          assert.ok(before)
          const { mode, uid, gid } = before
          await session.stage(`${path}.new`, { bytes, mode, owner: { uid, gid }, keepOwner: true })
          await session.read(path, upToOneMiB)
          const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
          const { live, old } = await session.swap(paths, upToOneMiB)
          assert.ok(live !== "odd" && live?.bytes.equals(bytes))
          assert.ok(old !== "odd" && old?.bytes.equals(before.bytes))
          await session.remove([`${path}.old`])
        }),
      )
    const roundTrips = await roundTripsOf(pushing, { slow, fast, limit: 10 })
    assert.ok(roundTrips > 8 && roundTrips < 10, `${roundTrips.toFixed(2)} round trips`)
  })
})
