import assert from "node:assert/strict"
import { after, before, suite, test } from "node:test"
import { type Answer, assertProblem, itemsOf, type Json, pagesOf, type Send } from "./client.ts"
import { makeWorld, type World } from "./world.ts"

let world: World
let send: Send

before(async () => {
  world = await makeWorld()
  send = world.send
})
after(() => world.close())

suite("Lists of versions", () => {
  const url = "/vms/vm02/configs/vm_specific"
  const versions: Json[] = []

  before(async () => {
    // The first makes one version, each further one too: 120.
    for (let n = 0; n < 120; n++) {
      const answer = await send("PUT", url, { yaml: `port: ${n}\n` })
      assert.ok(answer.status === 200 || answer.status === 201, answer.text)
      versions.unshift((await send("GET", `/backups/${String(answer.body.versionId)}`)).body)
    }
  })

  test("pages hold every version once, newest first, without a gap", async () => {
    const pages = await pagesOf(send, "/backups?vmId=vm02&type=vm_specific&limit=50")
    assert.deepEqual(
      pages.map((page) => page.length),
      [50, 50, 20],
    )
    const ids = pages.flat().map(({ backupId }) => backupId)
    assert.deepEqual(
      ids,
      versions.map(({ backupId }) => backupId),
    )
  })

  test("a page keeps its place while newer versions come", async () => {
    const path = "/backups?vmId=vm02&type=vm_specific&limit=30"
    const first = await send("GET", path)
    await send("PUT", "/vms/vm02/configs/central", { yaml: "port: 9\n" })
    assert.match(first.headers.get("link") ?? "", /^<[^>]*cursor=[^>]+>; rel="next"$/)
    const next = await send("GET", `${path}&cursor=${encodeURIComponent(String(first.body.nextCursor))}`)
    assert.equal(itemsOf(next)[0]?.backupId, versions[30]?.backupId)
    for (const forged of ["x", `${String(first.body.nextCursor)}x`, "eyJhIjoxfQ"]) {
      assertProblem(await send("GET", `${path}&cursor=${forged}`), 400, "invalid_parameter")
    }
  })

  test("`at` finds the one version that stood then", async () => {
    const [later, middle] = [versions[59], versions[60]]
    const at = (time: unknown): Promise<Answer> =>
      send("GET", `/backups?vmId=vm02&type=vm_specific&at=${encodeURIComponent(String(time))}`)
    const exactly = itemsOf(await at(middle?.validFrom)).map(({ backupId }) => backupId)
    assert.deepEqual(exactly, [middle?.backupId])
    const justBefore = new Date(Date.parse(String(later?.validFrom)) - 1).toISOString()
    assert.deepEqual(
      itemsOf(await at(justBefore)).map(({ backupId }) => backupId),
      [middle?.backupId],
    )
    assert.deepEqual(itemsOf(await at("2001-01-01T00:00:00.000Z")), [])
  })

  test("`since` and `until` cut at validFrom", async () => {
    const [newest, oldest] = [versions[10], versions[20]]
    const range = `since=${String(oldest?.validFrom)}&until=${String(newest?.validFrom)}`
    const found = itemsOf(await send("GET", `/backups?vmId=vm02&type=vm_specific&${range}`))
    assert.deepEqual(
      found.map(({ backupId }) => backupId),
      versions.slice(11, 21).map(({ backupId }) => backupId),
    )
    const none = await send("GET", "/backups?vmId=vm02&type=vm_specific&trigger=manual")
    assert.deepEqual(itemsOf(none), [])
    assertProblem(await send("GET", `/backups?at=${String(newest?.validFrom)}`), 400, "invalid_parameter")
  })
})
