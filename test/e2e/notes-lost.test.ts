import assert from "node:assert/strict"
import { mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import type { Json } from "./client.ts"
import { copyTo, keep, makePlace, versionsOf } from "./copies-world.ts"
import { eventually, makeWorld } from "./world.ts"

suite("A host that lost its catalog and its notes", { timeout: 60_000 }, () => {
  test("has pins and notes back from their copy, and keeps what was noted before it was asked", async (t) => {
    const place = makePlace()
    const world = await makeWorld()
    t.after(async () => {
      await world.close()
      await place.remove()
    })
    const { send, home } = world
    const copied = (): string => readFileSync(join(place.path, "notes.jsonl"), "utf8")
    const pinned = async () => (await versionsOf(send)).flatMap((each) => (each.pinned ? [each.backupId] : []))
    const pin = async (backupId: unknown) =>
      assert.equal((await send("PATCH", `/backups/${String(backupId)}`, { json: { pinned: true } })).status, 200)
    await keep(world, "vm01", "port: 1\n", "port: 2\n", "port: 3\n")
    const [, second, first] = await versionsOf(send)
    await pin(first?.backupId)
    await world.service().stop()
    await copyTo(world, place.path)
    await world.restart()
    await eventually(
      () => readdirSync(place.path),
      (names) => names.includes("notes.jsonl"),
    )
    await world.service().stop()
    // A place that is away for now: the service starts, and is told something new.
    await copyTo(world, `${place.path}.away`)
    for (const name of readdirSync(home.state)) rmSync(join(home.state, name), { force: true, recursive: true })
    rmSync(join(home.backups, "notes.jsonl"))
    await world.restart()
    assert.deepEqual(await pinned(), [])
    await pin(second?.backupId)
    await world.service().stop()

    await copyTo(world, place.path)
    await world.restart()

    const both = [second?.backupId, first?.backupId]
    await eventually(pinned, (ids) => ids.length === 2)
    assert.deepEqual(await pinned(), both)
    await eventually(copied, (text) => both.every((id) => text.includes(String(id))))
  })
})

suite("A host that lost its catalog and may not read its notes", { timeout: 60_000 }, () => {
  test("says so in /readyz until it can, and has its pins and notes back then, without a restart", async (t) => {
    const world = await makeWorld()
    t.after(() => world.close())
    const { send, home } = world
    const path = join(home.backups, "notes.jsonl")
    await keep(world, "vm01", "port: 1\n", "port: 2\n")
    const [, first] = await versionsOf(send)
    const url = `/backups/${String(first?.backupId)}`
    assert.equal((await send("PATCH", url, { json: { pinned: true, note: "kept" } })).status, 200)
    const ready = async () => {
      const { body } = await send("GET", "/readyz")
      const check = (body.checks as readonly Json[]).find(({ name }) => name === "notes")
      return { ready: body.ready, degraded: body.degraded, ok: check?.ok, detail: String(check?.detail) }
    }
    assert.equal((await ready()).degraded, false)
    await world.service().stop()
    for (const name of readdirSync(home.state)) rmSync(join(home.state, name), { force: true, recursive: true })
    // A mode binds no test that runs as root.
    renameSync(path, `${path}.away`)
    mkdirSync(path)

    await world.restart()

    const { detail, ...state } = await ready()
    assert.deepEqual(state, { ready: true, degraded: true, ok: false })
    assert.match(detail, /^notes\.jsonl .* PATCH, DELETE and purges .* refused\. .*notes\.jsonl is not a file/)
    assert.deepEqual(await ready(), { ...state, detail })
    rmdirSync(path)
    renameSync(`${path}.away`, path)
    assert.deepEqual(await ready(), { ready: true, degraded: false, ok: true, detail: "Pins and notes are known." })
    const { body } = await send("GET", url)
    assert.deepEqual([body.pinned, body.note], [true, "kept"])
  })
})
