import assert from "node:assert/strict"
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { masterKey } from "../../src/blobs/cipher.ts"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import type { Keyring } from "../../src/blobs/keyring.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import type { BlobRef } from "../../src/domain/blob-store.ts"
import { StartError } from "../../src/domain/start-error.ts"
import { blobStoreContract } from "../contracts/blob-store.ts"
import { aBlob, refOf } from "./blobs.ts"
import { FaultyFs } from "./faulty-fs.ts"
import { vector, vectorBlob, vectorKey } from "./vector.ts"

function keyringOf(...bytes: readonly [number, ...number[]]): Keyring {
  const keys = bytes.map((byte) => masterKey(Buffer.alloc(32, byte)))
  const [active = masterKey(Buffer.alloc(32, bytes[0]))] = keys
  return { active, find: async ({ keyId }) => keys.find((key) => key.keyId.equals(keyId)) ?? null }
}

const fileOf = (location: string, { vmId, type, backupId }: BlobRef) => join(location, vmId, type, `${backupId}.cmb`)

async function filesIn(location: string): Promise<readonly string[]> {
  const entries = await readdir(location, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => !entry.isDirectory() && entry.name !== ".reserve").map((entry) => entry.name)
}

blobStoreContract("DiskBlobStore", async () => {
  const location = await mkdtemp(join(tmpdir(), "blobs-"))
  return {
    store: await DiskBlobStore.open({ location, keyring: keyringOf(0x11) }),
    damage: async (ref) => {
      const path = fileOf(location, ref)
      const bytes = await readFile(path)
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 40) ^ 1, bytes.length - 40)
      await writeFile(path, bytes)
    },
    close: () => rm(location, { recursive: true }),
  }
})

suite("DiskBlobStore", () => {
  let root: string
  let location: string
  const open = (options: { readonly keyring?: Keyring; readonly fs?: FsPort } = {}) =>
    DiskBlobStore.open({ location, keyring: keyringOf(0x11), ...options })

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "blobs-"))
    location = join(root, "deep", "backups")
  })
  afterEach(() => rm(root, { recursive: true }))

  test("makes files of 0600 in directories of 0700, and leaves no temp file", async () => {
    const store = await open()
    const blob = aBlob()
    await store.put([blob])

    const path = fileOf(location, refOf(blob))
    for (const directory of [location, dirname(dirname(path)), dirname(path)]) {
      assert.equal((await stat(directory)).mode & 0o777, 0o700)
    }
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    assert.equal((await stat(path)).nlink, 1)
    assert.deepEqual(await filesIn(location), [`${blob.header.backup_id}.cmb`])
  })

  test("opens the published vector", async () => {
    const store = await open()
    const ref = { vmId: vector.header.vm_id, type: vector.header.type, backupId: vector.header.backup_id }
    await mkdir(dirname(fileOf(location, ref)), { recursive: true })
    await writeFile(fileOf(location, ref), vectorBlob())

    const opened = await store.open(ref)

    assert.equal(opened.bytes.toString(), vector.plain)
    assert.equal(opened.keyId, vectorKey("keyFile").keyId.toString("hex"))
  })

  test("opens what an old key sealed, and says which", async () => {
    const blob = aBlob()
    await (await open({ keyring: keyringOf(0x22) })).put([blob])

    const opened = await (await open({ keyring: keyringOf(0x33, 0x22) })).open(refOf(blob))

    assert.equal(opened.keyId, masterKey(Buffer.alloc(32, 0x22)).keyId.toString("hex"))
  })

  test("says that the key is not loaded where no slot opens", async () => {
    const blob = aBlob()
    await (await open({ keyring: keyringOf(0x22) })).put([blob])

    await assert.rejects((await open()).open(refOf(blob)), { code: "backup_key_unavailable" })
  })

  for (const [what, change] of [
    ["empty", (path: string) => truncate(path, 0)],
    ["cut by a byte", async (path: string) => truncate(path, (await stat(path)).size - 1)],
    ["a directory", (path: string) => rm(path).then(() => mkdir(path))],
    ["a symbolic link", (path: string) => rename(path, `${path}.x`).then(() => symlink(`${path}.x`, path))],
  ] as const) {
    test(`says that a blob is damaged whose file is ${what}`, async () => {
      const store = await open()
      const blob = aBlob()
      await store.put([blob])
      await change(fileOf(location, refOf(blob)))

      await assert.rejects(store.open(refOf(blob)), { code: "backup_corrupt" })
    })
  }

  test("finds a blob that stands under the id of another, or of another VM", async () => {
    const store = await open()
    const [one, two, other] = [aBlob("1"), aBlob("2"), aBlob("3", { vm_id: "vm02" })]
    await store.put([one, two, other])
    await copyFile(fileOf(location, refOf(one)), fileOf(location, refOf(two)))
    await copyFile(fileOf(location, refOf(one)), fileOf(location, { ...refOf(one), vmId: "vm02" }))

    await assert.rejects(store.open(refOf(two)), { code: "backup_corrupt" })
    await assert.rejects(store.open({ ...refOf(one), vmId: "vm02" }), { code: "backup_corrupt" })
  })

  test("sweeps temp files of its own at the start, and nothing else", async () => {
    const store = await open()
    const blob = aBlob()
    await store.put([blob])
    const directory = dirname(fileOf(location, refOf(blob)))
    const ours = [
      join(directory, `.${blob.header.backup_id}.0123456789abcdef.tmp`),
      join(location, ".probe.0123456789abcdef.tmp"),
    ]
    const foreign = [".notes.tmp", "x.tmp", ".x.0123456789ABCDEF.tmp", "legacy.enc"].map((name) =>
      join(directory, name),
    )
    for (const path of [...ours, ...foreign]) await writeFile(path, "x")

    await open()

    const left = await filesIn(location)
    assert.deepEqual(
      [...left].sort(),
      [".notes.tmp", ".x.0123456789ABCDEF.tmp", `${blob.header.backup_id}.cmb`, "legacy.enc", "x.tmp"].sort(),
    )
  })

  test("refuses to start where the location cannot be made, and says what to do", async () => {
    await writeFile(join(root, "deep"), "a file")

    await assert.rejects(open(), (error: unknown) => {
      assert.ok(error instanceof StartError)
      assert.match(error.message, /deep\/backups \(ENOTDIR\).*writable path.*elevated/)
      return true
    })
  })

  test("tells of a location that is gone, and works again once it is back", async () => {
    const store = await open()
    const blob = aBlob()
    await store.put([blob])
    await rename(location, `${location}.away`)

    await assert.rejects(store.put([aBlob()]), { code: "backup_storage_unavailable", message: /mounted/ })
    await assert.rejects(store.open(refOf(blob)), { code: "backup_storage_unavailable" })
    assert.equal((await store.health()).ok, false)
    await assert.rejects(stat(location), { code: "ENOENT" })

    await rename(`${location}.away`, location)
    await store.put([aBlob()])
    assert.equal((await store.health()).ok, true)
  })

  test("makes the directory of a VM again when it was removed", async () => {
    const store = await open()
    await store.put([aBlob()])
    await rm(join(location, "vm01"), { recursive: true })

    await assert.rejects(store.put([aBlob()]), { code: "backup_storage_unavailable" })
    await store.put([aBlob()])
  })

  test("writes nothing to another file system that stands where the location was", async () => {
    let device = 1n
    const store = await open({ fs: { ...nodeFs, device: async () => device } })
    device = 2n

    await assert.rejects(store.put([aBlob()]), { code: "backup_storage_unavailable", message: /another file system/ })
    assert.match((await store.health()).detail, /another file system/)
    assert.deepEqual(await filesIn(location), [])
  })

  test("keeps blobs where there are no hard links, and overwrites none there either", async () => {
    const link = () => Promise.reject(Object.assign(new Error("no links"), { code: "EPERM" }))
    const store = await open({ fs: { ...nodeFs, link } })
    const blob = aBlob("first")
    await store.put([blob])

    await assert.rejects(store.put([aBlob("second", { backup_id: blob.header.backup_id })]), {
      code: "backup_storage_unavailable",
    })

    assert.equal((await store.open(refOf(blob))).bytes.toString(), "first")
    assert.deepEqual(await filesIn(location), [`${blob.header.backup_id}.cmb`])
  })

  test("notices a disk that gives back other bytes than it took", async () => {
    const lying: FsPort = {
      ...nodeFs,
      open: async (path, flags) => {
        const file = await nodeFs.open(path, flags)
        const read = async (into: Buffer, position: number) => {
          const got = await file.read(into, position)
          into.writeUInt8(into.readUInt8(0) ^ 1, 0)
          return got
        }
        return { ...file, read }
      },
    }
    const store = await open({ fs: lying })

    await assert.rejects(store.put([aBlob()]), { code: "backup_storage_unavailable", message: /does not give back/ })
    assert.deepEqual(await filesIn(location), [])
  })

  test("writes and reads whole files where each call takes only some bytes", async () => {
    const store = await open({ fs: new FaultyFs({ mostTaken: 7 }) })
    const blob = aBlob()
    await store.put([blob])

    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
  })

  test("keeps a reserve of 1 MiB, gives it up to remove on a full disk, and takes it back", async () => {
    let full = true
    const unlink = (path: string) => {
      if (!full || path.endsWith(".reserve")) {
        full = false
        return nodeFs.unlink(path)
      }
      return Promise.reject(Object.assign(new Error("full"), { code: "ENOSPC" }))
    }
    const blob = aBlob()
    await (await open()).put([blob])
    const store = await open({ fs: { ...nodeFs, unlink } })
    assert.equal((await stat(join(location, ".reserve"))).size, 1024 * 1024)

    await store.remove(refOf(blob))

    await assert.rejects(store.open(refOf(blob)), { code: "backup_missing" })
    await assert.rejects(stat(join(location, ".reserve")), { code: "ENOENT" })
    assert.equal((await store.health()).ok, true)
    assert.equal((await stat(join(location, ".reserve"))).size, 1024 * 1024)
  })

  test("is not healthy when little room is left, and says how much", async () => {
    const store = await open({ fs: { ...nodeFs, freeBytes: async () => 4711 } })

    assert.deepEqual(await store.health(), { ok: false, detail: `Only 4711 bytes are left in ${location}.` })
  })

  test("shows no content and no key in what it says", async () => {
    const store = await open()
    const blob = aBlob("password: hunter2\n")
    await store.put([blob])
    await chmod(fileOf(location, refOf(blob)), 0o600)
    await truncate(fileOf(location, refOf(blob)), 100)

    await assert.rejects(store.open(refOf(blob)), (error: Error) => !/hunter2|1111/.test(error.message))
  })
})

suite("DiskBlobStore.put, when any one call to the file system fails", () => {
  for (const [code, fault] of [
    ["ENOSPC", "storage_full"],
    ["EDQUOT", "storage_full"],
    ["EIO", "backup_storage_unavailable"],
    ["EROFS", "backup_storage_unavailable"],
    ["EMFILE", "backup_storage_unavailable"],
    ["EACCES", "backup_storage_unavailable"],
  ] as const) {
    test(`leaves nothing behind and tells ${fault} (${code})`, async () => {
      const root = await mkdtemp(join(tmpdir(), "blobs-"))
      try {
        assert.ok((await failEach(root, code, fault)) > 20)
      } finally {
        await rm(root, { recursive: true })
      }
    })
  }

  /** Fails the 1st, 2nd, ... call of a put of two blobs until one gets by. @returns how many failed */
  async function failEach(root: string, code: string, fault: string): Promise<number> {
    for (let n = 1; ; n++) {
      const location = join(root, String(n))
      const before = new FaultyFs()
      await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs: before })
      // Opening again makes fewer calls: the reserve is there.
      const counting = new FaultyFs()
      await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs: counting })
      const fs = new FaultyFs({ failAt: counting.calls + n, code })
      const store = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs })
      const blobs = [aBlob("a"), aBlob("b", { type: "env" })]

      const error = await store.put(blobs).then(
        () => null,
        (reason: unknown) => reason,
      )
      if (error === null) {
        assert.ok(fs.calls < counting.calls + n, `call ${n} failed and nobody noticed`)
        return n - 1
      }

      assert.equal((error as { code?: string }).code, fault, `call ${n}: ${String(error)}`)
      assert.ok((error as Error).message.includes(location))
      assert.deepEqual(await filesIn(location), [], `call ${n}`)
      await store.put(blobs)
      for (const blob of blobs) assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    }
  }
})
