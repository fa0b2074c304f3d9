import assert from "node:assert/strict"
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import Database from "better-sqlite3"
import { masterKey } from "../../src/blobs/cipher.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { aBlob } from "../blobs/blobs.ts"
import { putLegacy } from "../blobs/legacy-files.ts"
import { migrationsDir } from "../sqlite/migrations.ts"
import { anImport, anOperation } from "../sqlite/records.ts"
import { type Home, makeHome } from "../support/service.ts"

const settings = {
  vms: { vm01: { ip: "127.0.0.1", ssh_user: "nobody" } },
  config_management: {
    config_paths: { central: { default: "/x.yml" } },
    config_types: { central: { schema: "none" } },
  },
}
const ids = ["a", "b", "c"]

let home: Home
let key: Buffer
const catalogPath = (): string => join(home.state, "catalog.db")
const fileOf = (id: string): string => join(home.backups, "vm01", "central", `${id}.cmb`)

async function listed(): Promise<readonly string[]> {
  const catalog = SqliteCatalog.open({ path: catalogPath(), migrationsDir })
  const rows = await catalog.versionsOf({ vmId: "vm01", type: "central" })
  catalog.close()
  return rows.map(({ backupId, state }) => `${backupId} ${state}`)
}

function flip(path: string): void {
  const bytes = readFileSync(path)
  bytes[250] = (bytes[250] ?? 0) ^ 1
  writeFileSync(path, bytes)
}

/** Three versions in the store, and an operation in a catalog that does not list them yet. */
beforeEach(async () => {
  home = await makeHome({ settings })
  key = readFileSync(home.keyFile)
  await mkdir(home.state, { mode: 0o700 })
  const active = masterKey(key)
  const blobs = await DiskBlobStore.open({ location: home.backups, keyring: { active, find: async () => active } })
  const times = ids.map((id, index) => [id, `2026-01-0${index + 1}T00:00:00.000Z`] as const)
  await blobs.put(times.map(([id, at]) => aBlob(`${id}: 1\n`, { backup_id: id, created_at: at })))
  const catalog = SqliteCatalog.open({ path: catalogPath(), migrationsDir })
  await catalog.addOperation(anOperation({ state: "succeeded", finishedAt: "2026-01-01T00:00:00.000Z" }), null)
  catalog.close()
})
afterEach(() => home.remove())

suite("config-manager reindex", () => {
  test("lists what stands in the store, keeps operations, and says so", async () => {
    const { code, stdout, stderr } = await home.run(["reindex"])

    assert.deepEqual([code, stderr], [0, ""])
    assert.match(
      stdout,
      /^ +3 versions in .*backups\n +1 operations kept, 0 of them go on .*\nThe catalog from before stands in .*replaced-/,
    )
    assert.deepEqual(await listed(), ["a ok", "b ok", "c ok"])
  })

  test("exits 1 and names what it put aside, found locked, or could not place", async () => {
    flip(fileOf("b"))
    putLegacy(home.backups, { vmId: "vm01", type: "central", stamp: "20250101_000000" }, "{}", Buffer.alloc(32, 1))
    putLegacy(home.backups, { vmId: "vm77", type: "central", stamp: "20250101_000000" }, "{}", key)

    const { code, stdout, stderr } = await home.run(["reindex"])

    assert.equal(code, 1)
    assert.match(stderr, /The file of version b does not open with any key; it stands in .*\.unreadable/)
    for (const line of [
      / 3 versions in/,
      / 1 versions are locked/,
      / 1 files do not open/,
      / 1 files of the original/,
    ]) {
      assert.match(stdout, line)
    }
    assert.deepEqual(readdirSync(join(home.backups, ".unreadable", "vm01", "central")), ["b.cmb"])
  })

  test("leaves the versions of a directory that was renamed together, says where they belong, and lists them once it is back", async () => {
    const renamed = join(home.backups, "vm01.bak")
    renameSync(join(home.backups, "vm01"), renamed)
    flip(join(renamed, "central", "b.cmb"))

    const { code, stdout, stderr } = await home.run(["reindex"])

    assert.equal(code, 1)
    assert.match(
      stderr,
      /^There are 2 files in vm01\.bak\/central that are whole and versions of vm01\/central: they stay there/m,
    )
    assert.match(stdout, / 0 versions in .*\n(.*\n)? +1 files do not open .*\n +2 files stand in another's directory/)
    assert.deepEqual(readdirSync(join(renamed, "central")), ["a.cmb", "c.cmb"])
    const verified = await home.run(["verify"])
    assert.match(
      verified.stdout,
      /^misplaced vm01\.bak\/central\/a: The file of version a is whole and in the wrong directory: it belongs to vm01\/central\.$/m,
    )
    renameSync(renamed, join(home.backups, "vm01"))
    assert.equal((await home.run(["reindex"])).code, 0)
    assert.deepEqual(await listed(), ["a ok", "c ok"])
  })

  test("exits 1 and names what the catalog from before lists and has no file any more, the first of them", async () => {
    assert.equal((await home.run(["reindex"])).code, 0)
    rmSync(fileOf("b"))
    const one = await home.run(["reindex"])
    assert.deepEqual(
      [one.code, one.stderr],
      [
        1,
        "Version b of vm01/central is in no list any more: the catalog from before lists it, and it did not come back.\n",
      ],
    )
    assert.match(one.stdout, / 2 versions in .*\n(.*\n)? +1 versions that were listed before did not come back\n/)
    assert.equal((await home.run(["reindex"])).code, 0)

    const catalog = SqliteCatalog.open({ path: catalogPath(), migrationsDir })
    await catalog.importVersions(Array.from({ length: 25 }, (_, n) => anImport({ backupId: `x${n}` })))
    catalog.close()
    const many = await home.run(["reindex"])
    assert.equal(many.code, 1)
    assert.match(many.stderr, /^(Version x.*\n){20}And 5 more versions\.\n$/)
    assert.match(many.stdout, / 25 versions that were listed before did not come back/)
  })

  test("does not go by a row of the catalog from before that rotted", async () => {
    assert.equal((await home.run(["reindex"])).code, 0)
    const db = new Database(catalogPath())
    db.exec("UPDATE versions SET backup_id = char(27) || '[2J' WHERE backup_id = 'c'")
    db.close()
    const { code, stderr } = await home.run(["reindex"])
    assert.deepEqual([code, stderr], [0, ""])
    assert.deepEqual(await listed(), ["a ok", "b ok", "c ok"])
  })

  test("is refused while the service runs, and changes nothing", async () => {
    const service = await home.start()
    const before = readdirSync(home.state)

    const { code, stderr } = await home.run(["reindex"])

    assert.equal(code, 78)
    assert.match(stderr, /Another process of Config Manager is at work/)
    assert.deepEqual(readdirSync(home.state), before)
    assert.equal(await service.stop(), 0)
  })

  test("is refused with another key than before", async () => {
    await (await home.start()).stop()
    writeFileSync(home.keyFile, Buffer.alloc(32, 9))
    const { code, stderr } = await home.run(["reindex"])
    assert.equal(code, 78, stderr)
    assert.match(stderr, /is not the one that sealed/)
  })

  test("makes a catalog where there is none", async () => {
    rmSync(catalogPath())
    const { code, stdout } = await home.run(["reindex"])
    assert.equal(code, 0, stdout)
    assert.doesNotMatch(stdout, /from before/)
    assert.deepEqual(await listed(), ["a ok", "b ok", "c ok"])
  })
})

suite("config-manager verify", () => {
  test("finds nothing where all is well, beside the service that runs", async (t) => {
    const service = await home.start()
    t.after(() => service.stop())

    const { code, stdout, stderr } = await home.run(["verify"])

    assert.deepEqual([code, stdout, stderr], [0, "3 of 3 versions looked at, 3 of them open; 0 findings\n", ""])
    assert.equal(await service.stop(), 0)
  })

  test("names each version that is damaged, missing, unlisted, locked or another than its row, exit 1", async () => {
    assert.equal((await home.run(["reindex"])).code, 0)
    flip(fileOf("a"))
    renameSync(fileOf("b"), fileOf("d"))
    putLegacy(home.backups, { vmId: "vm01", type: "central", stamp: "20250101_000000" }, "{}", Buffer.alloc(32, 1))

    const { code, stdout } = await home.run(["verify", "--all"])

    assert.equal(code, 1)
    const lines = stdout.split("\n").map((line) => line.split(":")[0])
    assert.deepEqual(lines.sort(), [
      "",
      "4 of 4 versions looked at, 1 of them open; 5 findings",
      "damaged vm01/central/a",
      "damaged vm01/central/d",
      "locked vm01/central/backup_vm01_central_20250101_000000.enc",
      "missing vm01/central/b",
      "unlisted vm01/central/d",
    ])
  })

  test("looks at the store alone where the catalog cannot be read, and says so", async () => {
    writeFileSync(catalogPath(), "x".repeat(5000))
    flip(fileOf("c"))

    const { code, stdout, stderr } = await home.run(["verify"])

    assert.equal(code, 1)
    assert.match(stderr, /catalog\.db cannot be read: .* Only what stands in the backup storage is looked at\./)
    assert.match(stdout, /^damaged vm01\/central\/c: .*\n3 of 3 versions looked at, 2 of them open; 1 findings\n$/)
    assert.equal(readFileSync(catalogPath(), "utf8"), "x".repeat(5000))
  })

  test("opens at least one, so that a sample under a wrong key is never well", async () => {
    assert.equal((await home.run(["reindex"])).code, 0)
    rmSync(join(home.backups, "keyring.json"))
    writeFileSync(home.keyFile, Buffer.alloc(32, 7), { mode: 0o600 })
    const { code, stdout } = await home.run(["verify", "--sample", "0.000001%"])
    assert.equal(code, 1)
    assert.match(stdout, /^locked vm01\/central\/.*\n1 of 3 versions looked at, 0 of them open; 1 findings\n$/)
  })

  test("opens a sample only, and compares all names all the same", async () => {
    assert.equal((await home.run(["reindex"])).code, 0)
    rmSync(fileOf("a"))
    const { code, stdout } = await home.run(["verify", "--sample", "0.000001%"])
    assert.equal(code, 1)
    assert.match(stdout, /^missing vm01\/central\/a: .*\n1 of 2 versions looked at, 1 of them open; 1 findings\n$/)
  })

  test("says in a sentence that there is no store", async () => {
    rmSync(home.backups, { recursive: true })
    const { code, stdout, stderr } = await home.run(["verify"])
    assert.deepEqual([code, stdout], [78, ""])
    assert.match(stderr, /backups/)
    assert.doesNotMatch(stderr, /\n\s+at /)
  })
})
