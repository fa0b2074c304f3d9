import assert from "node:assert/strict"
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { appendFile } from "node:fs/promises"
import { dirname, join } from "node:path"
import { after, afterEach, before, beforeEach, suite, test } from "node:test"
import { masterKey, sealBlob } from "../../src/blobs/cipher.ts"
import { aBlob, fileOf, refOf } from "../blobs/blobs.ts"
import { readingOf, type Sample } from "../support/metrics.ts"
import { type Sshd, startSshd } from "../support/sshd.ts"
import type { Json, Send } from "./client.ts"
import {
  allCopied,
  copiesCheck,
  copiesOf,
  copyTo,
  filesBelow,
  isMark,
  keep,
  makeFarPlace,
  makePlace,
  markerName,
  settledAt,
  versionsOf,
} from "./copies-world.ts"
import { enterOperation, eventually, makeWorld, type World } from "./world.ts"

const url = "/vms/vm01/configs/central"

async function reading(send: Send, name: string, labels?: Sample["labels"]): Promise<number | undefined> {
  return readingOf((await send("GET", "/metrics")).text, name, labels)
}

suite("Copies on another host, over SSH", { timeout: 60_000 }, () => {
  let world: World
  let send: Send
  let far: Sshd
  let place: { readonly path: string; readonly url: string }
  before(async () => {
    world = await makeWorld()
    send = world.send
    far = await startSshd()
    place = await makeFarPlace(world, far)
    await keep(world, "vm01", "port: 1\n", "port: 2\n")
    await world.service().stop()
    await copyTo(world, place.url)
    await world.restart()
  })
  after(async () => {
    await world.close()
    await far.stop()
  })

  test("are made of what was there before and of what comes, byte for byte, and each version tells of its copy", async () => {
    await keep(world, "vm02", "port: 1\n", "port: 3\n")
    await allCopied(send)

    const versions = await versionsOf(send)
    assert.equal(versions.length, 4)
    const names = await settledAt(place.path)
    assert.deepEqual(names, copiesOf(versions))
    for (const name of names.filter((each) => !isMark(each))) {
      assert.deepEqual(readFileSync(join(place.path, name)), readFileSync(join(world.home.backups, name)), name)
    }
    const [version] = versions
    const { copies } = (await send("GET", `/backups/${String(version?.backupId)}`)).body
    const [copy = {}] = copies as readonly Json[]
    const { since, ...rest } = copy
    assert.deepEqual(rest, { target: place.url, state: "copied", attempts: 0, problem: null })
    assert.match(String(since), /^\d{4}-/)
  })

  test("wait while the place is away: changes and restores go on as ever, readiness is degraded and not lost; then they are made", async () => {
    await allCopied(send)
    const [before] = await versionsOf(send)
    await far.stop()
    const begin = performance.now()
    for (const port of [11, 12, 13]) {
      const put = await send("PUT", url, { yaml: `port: ${port}\n` })
      assert.deepEqual([put.status, put.body.outcome], [200, "written"])
    }
    assert.equal((await send("POST", `/backups/${String(before?.backupId)}/restore`)).status, 200)
    // Had one of them waited for the place, it would have waited for a second at least before trying again.
    assert.ok(performance.now() - begin < 4000)

    const { ok, detail, all } = await eventually(
      () => copiesCheck(send),
      (check) => !check.ok,
    )
    assert.equal(ok, false)
    assert.match(detail, /^\d+ copies to sftp:.* wait, the oldest since .*\. .*backup_remote/)
    assert.deepEqual([all.ready, all.degraded], [true, true])
    assert.equal((await send("GET", "/readyz")).status, 200)
    assert.equal(await reading(send, "config_manager_copies_failing"), 1)
    assert.ok(Number(await reading(send, "config_manager_copies_waiting")) > 0)
  })
})

/** Versions of years ago, as a service that was older has left them. @returns their ids, oldest first */
async function keepOld({ home }: World): Promise<readonly [string, string, string]> {
  const operation_id = await enterOperation({ home })
  const key = masterKey(readFileSync(home.keyFile))
  const keep = (year: number): string => {
    const blob = aBlob(`year: ${year}\n`, { created_at: `${year}-01-01T00:00:00.000Z`, operation_id })
    const path = fileOf(home.backups, refOf(blob))
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, sealBlob(blob.header, blob.bytes, key), { mode: 0o600 })
    return blob.header.backup_id
  }
  return [keep(2020), keep(2021), keep(2022)]
}

suite("A place for copies", { timeout: 60_000 }, () => {
  let world: World
  let send: Send
  beforeEach(async () => {
    world = await makeWorld()
    send = world.send
    await keep(world, "vm01", "port: 1\n", "port: 2\n")
  })
  afterEach(() => world.close())

  async function restartWith(place: string): Promise<void> {
    await world.service().stop()
    await copyTo(world, place)
    await world.restart()
  }

  test("that comes back gets what was missed, also by user@host:/path, and by a service that was killed meanwhile", async () => {
    const far = await startSshd()
    try {
      const { path } = await makeFarPlace(world, far)
      await world.rewrite((settings) => ({ ...settings, ssh: { ...(settings.ssh as Json), port: far.port } }))
      await restartWith(`${far.user}@${far.host}:${path}`)
      await allCopied(send)
      // The directory itself goes, which is what a server's lost mount looks like.
      renameSync(path, `${path}.away`)
      await send("PUT", url, { yaml: "port: 3\n" })
      await eventually(
        () => copiesCheck(send),
        ({ ok }) => !ok,
      )
      await world.service().kill()
      await world.restart()
      await eventually(
        () => copiesCheck(send),
        ({ ok }) => !ok,
      )
      renameSync(`${path}.away`, path)

      await allCopied(send)

      assert.deepEqual(await settledAt(path), copiesOf(await versionsOf(send)))
      assert.equal((await send("GET", "/readyz")).body.degraded, false)
    } finally {
      await far.stop()
    }
  })

  test("may be a directory; versions that are removed are removed there too, and protected ones stay there", async (t) => {
    const { path, remove } = makePlace()
    t.after(remove)
    await world.service().stop()
    const [first, second, third] = await keepOld(world)
    await copyTo(world, path)
    await world.restart()
    await allCopied(send)
    const all = await versionsOf(send)
    assert.deepEqual(await settledAt(path), copiesOf(all))
    const [newest] = all
    assert.equal((await send("PATCH", `/backups/${third}`, { json: { pinned: true } })).status, 200)
    for (const id of [newest?.backupId, third]) {
      assert.equal((await send("DELETE", `/backups/${String(id)}`)).status, 409)
    }

    assert.equal((await send("DELETE", `/backups/${first}`)).status, 204)
    await eventually(
      () => filesBelow(path),
      (files) => !files.some((file) => file.includes(first)),
    )
    const purge = await send("POST", "/backups/purge?force=true")
    assert.deepEqual([purge.status, purge.body.removed], [200, [second]])
    await eventually(
      () => filesBelow(path),
      (files) => !files.some((file) => file.includes(second)),
    )

    await allCopied(send)
    const names = await settledAt(path)
    assert.deepEqual(
      names.filter((file) => file !== "notes.jsonl"),
      copiesOf(await versionsOf(send)),
    )
  })

  test("that lacks its marker gets nothing, and readiness says why; an empty one put there by hand makes it a new place", async (t) => {
    const { path, remove } = makePlace()
    t.after(remove)
    await restartWith(path)
    await allCopied(send)
    await world.service().stop()
    rmSync(path, { recursive: true })
    mkdirSync(path)
    await world.restart()
    await send("PUT", url, { yaml: "port: 3\n" })

    const { detail, all } = await eventually(
      () => copiesCheck(send),
      ({ ok }) => !ok,
    )
    assert.match(detail, /lacks config-manager-copies\.txt: it is not the place it was, or not mounted/)
    assert.deepEqual([all.ready, all.degraded], [true, true])
    assert.deepEqual(filesBelow(path), [])

    writeFileSync(join(path, markerName), "")
    await allCopied(send)
    assert.deepEqual(await settledAt(path), copiesOf(await versionsOf(send)))
  })

  test("whose host key is unknown is told of, gets no authentication and no byte, and is used once the key is known", async () => {
    const far = await startSshd()
    try {
      const place = await makeFarPlace(world, far, false)
      await restartWith(place.url)

      const { detail } = await eventually(
        () => copiesCheck(send),
        ({ ok }) => !ok,
      )
      assert.match(detail, /host key|known_hosts/)
      assert.deepEqual(filesBelow(place.path), [])
      assert.doesNotMatch(far.log(), /publickey|Accepted/)

      await appendFile(world.sshd.knownHostsPath, `[${far.host}]:${far.port} ${far.hostKeys[0]?.publicKey}\n`)
      await allCopied(send)
    } finally {
      await far.stop()
    }
  })

  test("heals a version that rotted, when it is verified; without one it is damaged, and said to be", async (t) => {
    const { path, remove } = makePlace()
    t.after(remove)
    await restartWith(path)
    await allCopied(send)
    const [, older] = await versionsOf(send)
    const id = String(older?.backupId)
    const file = join(world.home.backups, "vm01", "central", `${id}.cmb`)
    const flip = (): void => {
      const bytes = readFileSync(file)
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 40) ^ 1, bytes.length - 40)
      writeFileSync(file, bytes)
    }
    flip()
    const healed = (await send("POST", `/backups/${id}/verify`)).body
    assert.equal(healed.ok, true)
    assert.match(
      String((healed.checks as readonly Json[]).at(-1)?.detail),
      /took the place of what stood here, which is kept as /,
    )
    const content = await send("GET", `/backups/${id}/content`, { headers: { accept: "application/yaml" } })
    assert.equal(content.text, "port: 1\n")
    assert.equal(await reading(send, "config_manager_versions_healed_total"), 1)

    rmSync(join(path, "vm01", "central", `${id}.cmb`))
    flip()
    const report = (await send("POST", `/backups/${id}/verify`)).body
    assert.equal(report.ok, false)
    assert.deepEqual(
      (report.checks as readonly Json[]).map(({ name, ok }) => [name, ok]),
      [
        ["open", false],
        ["copy", false],
      ],
    )
    const states = (await versionsOf(send)).map(({ backupId, state }) => [backupId === id, state])
    assert.deepEqual(
      states.filter(([isIt]) => isIt),
      [[true, "damaged"]],
    )
    const ready = (await send("GET", "/readyz")).body
    assert.deepEqual([ready.ready, ready.degraded], [true, true])
    await eventually(
      () => reading(send, "config_manager_versions_not_ok", { state: "damaged" }),
      (count) => count === 1,
    )
    const restore = await send("POST", `/backups/${id}/restore`)
    assert.deepEqual([restore.status, restore.body.code], [409, "backup_corrupt"])
  })
})
