import assert from "node:assert/strict"
import { readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
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
