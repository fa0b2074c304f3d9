import assert from "node:assert/strict"
import { once } from "node:events"
import { existsSync } from "node:fs"
import {
  chmod,
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { basename, dirname, join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { masterKey } from "../../src/blobs/cipher.ts"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import type { Keyring } from "../../src/blobs/keyring.ts"
import { tempName } from "../../src/blobs/names.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { StartError } from "../../src/domain/start-error.ts"
import { blobStoreContract } from "../contracts/blob-store.ts"
import { aBlob, fileOf, filesIn, keyringOf, refOf } from "./blobs.ts"
import { FaultyFs } from "./faulty-fs.ts"
import { vector, vectorBlob, vectorKey } from "./vector.ts"

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

  test("gives a blob its name once its bytes are durable, and then makes the name durable", async () => {
    const log: string[] = []
    const fs: FsPort = {
      ...nodeFs,
      open: async (path, flags) => {
        const file = await nodeFs.open(path, flags)
        const sync = async () => {
          await file.sync()
          log.push(`sync ${path.endsWith(".tmp") ? "temp" : path.slice(location.length)}`)
        }
        return { ...file, sync }
      },
      link: async (from, to) => {
        log.push("link")
        await nodeFs.link(from, to)
      },
    }
    const store = await open({ fs })
    await store.put([aBlob()])
    log.length = 0

    await store.put([aBlob()])
    assert.deepEqual(log.splice(0), ["sync temp", "link", "sync /vm01/central"])

    await store.put([aBlob(), aBlob()])

    assert.deepEqual(log.toSorted(), ["link", "link", "sync /vm01/central", "sync temp", "sync temp"])
    assert.equal(log[0], "sync temp")
    assert.equal(log.at(-1), "sync /vm01/central")
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

  test("lists each blob once, whatever links stand beside the directories", async () => {
    const store = await open()
    const blob = aBlob()
    await store.put([blob])
    const { vmId, type, backupId } = refOf(blob)
    const elsewhere = join(root, "other-disk")
    await mkdir(join(elsewhere, type), { recursive: true })
    await copyFile(fileOf(location, refOf(blob)), join(elsewhere, type, `${backupId}.cmb`))
    for (const [name, to] of [
      ["alias", vmId],
      ["latest", join(root, "nowhere")],
      ["loop", "loop"],
      [join(vmId, "alias"), type],
      [join(vmId, "up"), ".."],
      ["up", "."],
      ["far", elsewhere],
    ] as const) {
      await symlink(to, join(location, name))
    }

    const listed: string[] = []
    for await (const { ref, backupIds } of store.list()) {
      listed.push(...backupIds.map((id) => `${ref.vmId}/${ref.type}/${id}`))
    }
    assert.deepEqual(listed.sort(), [`far/${type}/${backupId}`, `${vmId}/${type}/${backupId}`])
  })

  test("takes a socket for no blob", async () => {
    const store = await open()
    const blob = aBlob()
    const path = fileOf(location, refOf(blob))
    await mkdir(dirname(path), { recursive: true })
    // The address of a socket may not be long.
    const server = createServer().listen(join(root, "s"))
    await once(server, "listening")
    try {
      await rename(join(root, "s"), path)
      await assert.rejects(store.open(refOf(blob)), { code: "backup_corrupt" })
    } finally {
      server.close()
    }
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

  test("puts a copy back although the directory that it stood in was removed with it", async () => {
    const [store, blob] = [await open(), aBlob()]
    await store.put([blob])
    const sealed = await store.sealed(refOf(blob))
    await rm(join(location, "vm01"), { recursive: true })

    await store.putSealed(refOf(blob), sealed)

    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
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

  test("gives the reserve up to put a file aside on a full disk, too: a start needs it out of the way", async () => {
    const mkdir = async (path: string) => {
      if (!path.includes(".unreadable") || !existsSync(join(location, ".reserve"))) return nodeFs.mkdir(path)
      throw Object.assign(new Error("full"), { code: "ENOSPC" })
    }
    const blob = aBlob()
    await (await open()).put([blob])
    const store = await open({ fs: { ...nodeFs, mkdir } })

    const aside = await store.putAside(refOf(blob))

    assert.ok(aside !== null && existsSync(aside))
    await assert.rejects(store.open(refOf(blob)), { code: "backup_missing" })
  })

  /** A VM's directory on another file system, from which nothing can be renamed to here. */
  async function onOtherDisk() {
    const blob = aBlob()
    await (await open()).put([blob])
    const path = fileOf(location, refOf(blob))
    const sealed = await readFile(path)
    await rename(dirname(dirname(path)), join(root, "other-disk"))
    await symlink(join(root, "other-disk"), dirname(dirname(path)))
    const between = (fs: FsPort) => async (from: string, to: string) => {
      if (from !== path) return fs.rename(from, to)
      throw Object.assign(new Error("EXDEV: cross-device link not permitted"), { code: "EXDEV" })
    }
    return { blob, path, sealed, between }
  }

  test("puts a file aside, whole and durably before it is removed, that stands on another file system", async () => {
    const { blob, path, sealed, between } = await onOtherDisk()
    const calls: string[] = []
    const unlink = async (gone: string) => {
      if (gone === path) calls.push(`removed: ${(await filesIn(join(location, ".unreadable"))).length} aside`)
      return nodeFs.unlink(gone)
    }
    const named = async (name: string, flags: number) => {
      const file = await nodeFs.open(name, flags)
      const sync = () => file.sync().then(() => void calls.push(`synced ${name.replace(/.*\.tmp$/, "a file")}`))
      return { ...file, sync }
    }
    const store = await open({ fs: { ...nodeFs, open: named, unlink, rename: between(nodeFs) } })
    calls.length = 0

    const aside = (await store.putAside(refOf(blob))) ?? ""

    assert.ok(aside.startsWith(join(location, ".unreadable")))
    assert.deepEqual(await readFile(aside), sealed)
    assert.deepEqual(await readdir(dirname(path)), [])
    const begin = calls.indexOf("synced a file")
    assert.deepEqual(
      [...new Set(calls.slice(begin))],
      ["synced a file", `synced ${dirname(aside)}`, "removed: 1 aside", `synced ${dirname(path)}`],
    )
  })

  test("loses nothing and leaves nothing half done whichever call fails on the way from another file system", async () => {
    const { blob, path, sealed, between } = await onOtherDisk()
    const faulty = new FaultyFs()
    const store = await open({ fs: { ...faulty, rename: between(faulty) } })
    const aside = join(location, ".unreadable", "vm01", "central")
    for (let failAt = 1; ; failAt += 1) {
      Object.assign(faulty, { calls: 0, failAt })
      await store.putAside(refOf(blob)).catch(() => undefined)
      const files = [dirname(path), aside].filter((directory) => existsSync(directory))
      const names = await Promise.all(
        files.map(async (directory) => (await readdir(directory)).map((name) => join(directory, name))),
      )
      assert.ok(names.flat().length > 0, `call ${failAt}`)
      for (const name of names.flat()) assert.deepEqual(await readFile(name), sealed, `call ${failAt}: ${name}`)
      if (faulty.calls < failAt) break
      await rm(join(location, ".unreadable"), { recursive: true, force: true })
      await writeFile(path, sealed)
    }
    assert.deepEqual([existsSync(path), await filesIn(aside)], [false, [basename(path)]])
  })

  test("takes no file for gone that cannot be put aside, since .unreadable leads to what is not mounted", async () => {
    const blob = aBlob()
    const store = await open()
    await store.put([blob])
    const path = fileOf(location, refOf(blob))
    const sealed = await readFile(path)
    await writeFile(path, "rotten")
    const aside = join(location, ".unreadable")
    await symlink(join(root, "not-mounted"), aside)
    const fault = { code: "backup_storage_unavailable", message: new RegExp(`^The backups in ${aside} .* is mounted`) }

    await assert.rejects(store.putAside(refOf(blob)), fault)
    await assert.rejects(store.putSealed(refOf(blob), sealed), fault)

    assert.equal(await readFile(path, "utf8"), "rotten")
  })

  test("puts a file aside where .unreadable is on another file system, and sweeps there what a kill has left", async () => {
    const blob = aBlob()
    await (await open()).put([blob])
    const path = fileOf(location, refOf(blob))
    const sealed = await readFile(path)
    const other = join(root, "other-disk")
    await mkdir(other)
    await symlink(other, join(location, ".unreadable"))
    const isThere = async (name: string) => (await realpath(dirname(name))).startsWith(other)
    const between = async (from: string, to: string) => {
      if ((await isThere(from)) === (await isThere(to))) return nodeFs.rename(from, to)
      throw Object.assign(new Error("EXDEV: cross-device link not permitted"), { code: "EXDEV" })
    }
    const store = await open({ fs: { ...nodeFs, rename: between } })

    const aside = (await store.putAside(refOf(blob))) ?? ""

    assert.deepEqual([await readFile(aside), existsSync(path)], [sealed, false])
    assert.deepEqual(await readdir(dirname(aside)), [basename(path)])
    await writeFile(join(dirname(aside), tempName(blob.header.backup_id)), "half")
    await open()
    assert.deepEqual(await readdir(dirname(aside)), [basename(path)])
  })

  test("is not healthy when little room is left, and says how much", async () => {
    const store = await open({ fs: { ...nodeFs, freeBytes: async () => 4711 } })

    assert.deepEqual(await store.health(), {
      ok: false,
      code: "storage_full",
      detail: `Only 4 KiB are left in ${location}.`,
    })
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
