import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { masterKey } from "../../src/blobs/cipher.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { aBlob, fileOf, keyringOf, refOf } from "../blobs/blobs.ts"
import { aJournal, anOperation, at, aVersion } from "../sqlite/records.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { type Audited, descriptorsOf, findingsOf } from "./auditor.ts"

const migrationsDir = join(import.meta.dirname, "..", "..", "migrations")

/** What a service leaves that has made one version of one file, and a way to each of its places. */
async function makeScene() {
  const dir = makeTemporary("audit")
  const [state, backups, vm] = [join(dir, "state"), join(dir, "backups"), join(dir, "vm")]
  mkdirSync(vm)
  const live = join(vm, "app.yml")
  writeFileSync(live, "port: 80\n")
  const blob = aBlob("port: 80\n")
  const store = await DiskBlobStore.open({ location: backups, keyring: keyringOf(0x11) })
  await store.put([blob])
  const catalog = SqliteCatalog.open({ path: join(state, "catalog.db"), migrationsDir })
  const version = aVersion({ backupId: blob.header.backup_id, digest: digestOf(blob.bytes) })
  await catalog.addOperation(anOperation({ state: "succeeded", finishedAt: at(0) }), null, { add: [version] })
  const audited: Audited = {
    files: { [live]: ["port: 80\n", "port: 81\n"] },
    state,
    backups,
    keys: [masterKey(Buffer.alloc(32, 0x11))],
  }
  return { dir, live, blob, blobFile: fileOf(backups, refOf(blob)), store, catalog, audited }
}

type Scene = Awaited<ReturnType<typeof makeScene>>

/** Plants something in a scene, and holds that it is found, alone, under the counter it belongs to. */
function finds(what: string, counter: string, pattern: RegExp, plant: (scene: Scene) => unknown): void {
  void test(`finds ${what}`, async () => {
    const scene = await makeScene()
    try {
      const more = await plant(scene)
      const findings = findingsOf({ ...scene.audited, ...(more as Partial<Audited> | undefined) })
      assert.deepEqual(
        findings.map((finding) => finding.counter),
        [counter],
        JSON.stringify(findings),
      )
      assert.match(findings[0]?.what ?? "", pattern)
    } finally {
      scene.catalog.close()
      await removeTemporary(scene.dir)
    }
  })
}

suite("the auditor", () => {
  test("finds nothing where all is well, while the service runs and after it was stopped", async () => {
    const { catalog, audited, dir } = await makeScene()
    assert.deepEqual(findingsOf({ ...audited, acknowledged: ["port: 80\n"], log: [{ level: 30 }] }), [])
    catalog.close()
    assert.deepEqual(findingsOf(audited), [])
    await removeTemporary(dir)
  })

  finds("a live file that is neither old nor new", "torn", /neither old nor new/, ({ live }) =>
    writeFileSync(live, "port: 8"),
  )
  finds("a live file that is gone", "lost", /app\.yml is gone/, ({ live }) => rmSync(live))
  finds("a live file where none may stand", "torn", /neither/, ({ live }) => ({ files: { [live]: [null] } }))
  finds("a staging file", "wrong outcomes", /\.new is left/, ({ live, blob }) =>
    writeFileSync(`${live}.${blob.header.backup_id}.new`, ""),
  )
  finds("a second name", "wrong outcomes", /\.old is left/, ({ live, blob }) =>
    writeFileSync(`${live}.${blob.header.backup_id}.old`, ""),
  )
  finds("a row without its blob", "lost", /has no blob/, ({ blobFile }) => rmSync(blobFile))
  finds("a blob without its row", "wrong outcomes", /has no row/, ({ store }) => store.put([aBlob("other")]))
  finds("a blob of which a bit was flipped", "lost", /does not open: .*checksum/, ({ blobFile }) => {
    const bytes = readFileSync(blobFile)
    bytes.writeUInt8(bytes.readUInt8(100) ^ 1, 100)
    writeFileSync(blobFile, bytes)
  })
  finds("a blob in another one's place", "lost", /another version's/, async ({ store, blobFile, catalog }) => {
    const other = aBlob("other")
    await store.put([other])
    const version = aVersion({ backupId: other.header.backup_id, digest: digestOf(other.bytes) })
    await catalog.addOperation(anOperation({ state: "succeeded", finishedAt: at(0) }), null, { add: [version] })
    copyFileSync(blobFile, join(blobFile, "..", `${other.header.backup_id}.cmb`))
  })
  finds("a blob that no key opens", "lost", /none of the keys/, () => ({ keys: [masterKey(Buffer.alloc(32, 0x22))] }))
  finds("a row that names other bytes", "lost", /holds other bytes/, async ({ store, catalog }) => {
    const blob = aBlob("other")
    await store.put([blob])
    const version = aVersion({ backupId: blob.header.backup_id, digest: digestOf(Buffer.from("port: 80\n")) })
    await catalog.addOperation(anOperation({ state: "succeeded", finishedAt: at(0) }), null, { add: [version] })
  })
  finds("a temporary file", "wrong outcomes", /temporary file/, ({ blobFile }) =>
    writeFileSync(join(blobFile, "..", ".x.0123456789abcdef.tmp"), ""),
  )
  finds("a provisional row", "wrong outcomes", /provisional row/, ({ catalog }) =>
    catalog.addOperation(anOperation({ state: "succeeded", finishedAt: at(0) }), null, {
      add: [aVersion({ provisional: true })],
    }),
  )
  finds("an open journal", "wrong outcomes", /journal of .* at kept is open/, ({ catalog }) =>
    catalog.addOperation(anOperation({ state: "failed", finishedAt: at(0) }), aJournal({ phase: "kept" })),
  )
  finds("an operation without an end", "wrong outcomes", /is running, and has no end/, ({ catalog }) =>
    catalog.addOperation(anOperation(), null),
  )
  finds("an acknowledged content that is nowhere", "lost", /9 bytes was acknowledged/, () => ({
    acknowledged: ["port: 80\n", "port: 82\n"],
  }))
  finds("a bug in the log", "wrong outcomes", /unexpected error/, () => ({
    log: [{ level: 50, msg: "unexpected error" }],
  }))
  finds("a crash in the log", "wrong outcomes", /tells of a bug/, () => ({ log: [{ level: 60, msg: "ends" }] }))
  finds("an unhandled rejection on stderr", "wrong outcomes", /stderr is not empty/, () => ({
    stderr: "triggerUncaughtException",
  }))

  test("finds descriptors that a process has leaked", async (context) => {
    const { dir, audited, catalog } = await makeScene()
    const child = spawn("sleep", ["60"], { stdio: ["ignore", "ignore", "ignore", "pipe"] })
    context.after(() => child.kill())
    await once(child, "spawn")
    const pid = child.pid ?? 0
    const open = descriptorsOf(pid).length

    const [found] = findingsOf({ ...audited, descriptors: { pid, before: open - 1 } })

    assert.match(found?.what ?? "", /descriptors are open, .* were: .*socket/)
    assert.deepEqual(findingsOf({ ...audited, descriptors: { pid, before: open } }), [])
    catalog.close()
    await removeTemporary(dir)
  })
})
