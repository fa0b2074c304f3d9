import assert from "node:assert/strict"
import { symlinkSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import { DiskLegacyStore } from "../../src/blobs/legacy.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { aBlob, fileOf, keyringOf, type NewBlob, refOf } from "./blobs.ts"
import { keysOf, putLegacy } from "./legacy-files.ts"

/** The real file system for a user that may not open what `isClosed` says. (Tests run as root too, to whom nothing is closed.) */
function closedFs(isClosed: (path: string) => boolean): FsPort {
  const look = (path: string): void => {
    if (isClosed(path)) throw Object.assign(new Error("EACCES: permission denied"), { code: "EACCES", path })
  }
  return {
    ...nodeFs,
    open: async (path, flags) => {
      look(path)
      return nodeFs.open(path, flags)
    },
    readdir: async (path) => {
      look(path)
      return nodeFs.readdir(path)
    },
    access: async (path) => {
      look(path)
      return nodeFs.access(path)
    },
  }
}

suite("What the service's user may not read in the store", () => {
  let location: string
  let blob: NewBlob
  let whole: DiskBlobStore
  beforeEach(async () => {
    location = makeTemporary("store")
    whole = await DiskBlobStore.open({ location, keyring: keyringOf(0x11) })
    blob = aBlob("text")
    await whole.put([blob])
  })
  afterEach(() => removeTemporary(location))

  const openWith = (isClosed: (path: string) => boolean, at = location): Promise<DiskBlobStore> =>
    DiskBlobStore.open({ location: at, keyring: keyringOf(0x11), fs: closedFs(isClosed) })
  const isFile = (path: string): boolean => path.endsWith(".cmb") && !path.includes(".unreadable")
  const sealedOf = () => whole.sealed(refOf(blob))
  const name = () => `vm01/central/${blob.header.backup_id}.cmb`

  test("is a damaged version where it is one file, which is named", async () => {
    const store = await openWith(isFile)
    const message = `The service's user may not read ${name()}: give that file back to it.`
    const ref = refOf(blob)
    for (const ask of [() => store.open(ref), () => store.header(ref), () => store.sealed(ref)]) {
      await assert.rejects(ask, { code: "backup_corrupt", message })
    }
  })

  test("is no file to be put aside: it may be whole", async () => {
    const store = await openWith(isFile)

    assert.equal(await store.putAside(refOf(blob)), null)

    assert.deepEqual((await whole.open(refOf(blob))).bytes, blob.bytes)
    assert.deepEqual(await Array.fromAsync(store.listAside()), [])
  })

  test("gives way to its copy, and is kept", async () => {
    const sealed = await sealedOf()
    const closed = new Set([fileOf(location, refOf(blob))])
    const fs = closedFs((path) => closed.has(path))
    const rename: FsPort["rename"] = async (from, to) => {
      await fs.rename(from, to)
      closed.delete(from)
    }
    const keyring = keyringOf(0x11)
    const store = await DiskBlobStore.open({ location, keyring, fs: { ...fs, rename } })

    assert.equal(await store.putSealed(refOf(blob), sealed), join(location, ".unreadable", name()))

    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
    assert.deepEqual(await readFile(join(location, ".unreadable", name())), sealed)
  })

  test("says nothing of its versions where it is their directory: that is told, with a name, and nothing is moved", async () => {
    const directory = join(location, "vm01", "central")
    const store = await openWith((path) => path === directory || path.startsWith(`${directory}/`))
    const sealed = await sealedOf()
    const ref = refOf(blob)
    for (const ask of [() => store.open(ref), () => store.putAside(ref), () => store.putSealed(ref, sealed)]) {
      await assert.rejects(ask, (error: Error & { code: string }) => {
        assert.equal(error.code, "backup_storage_unavailable")
        assert.ok(error.message.includes(`(EACCES: ${name()})`), error.message)
        return true
      })
    }
    assert.deepEqual((await whole.open(refOf(blob))).bytes, blob.bytes)
  })

  test("is a damaged backup of the original service where it is one file, and the store's fault where it is all of it", async () => {
    const key = Buffer.alloc(32, 7)
    const id = putLegacy(location, { vmId: "vm01", type: "central", stamp: "20250102_030405" }, "x", key)
    const legacyWith = (isClosed: (path: string) => boolean) =>
      DiskLegacyStore.open({ location, keys: keysOf([key]), fs: closedFs(isClosed) })

    const one = (await legacyWith((path) => path.endsWith(id))).open(id, null)
    await assert.rejects(one, { code: "backup_corrupt", message: new RegExp(`${id} is damaged: .* may not read it`) })
    const all = (await legacyWith((path) => path.startsWith(location))).open(id, null)
    await assert.rejects(all, { code: "backup_storage_unavailable", message: new RegExp(`EACCES: ${id}`) })
  })

  for (const [what, link] of [
    ["", false],
    [", also where a link leads to the store", true],
  ] as const) {
    test(`stops a listing where it is a directory, which is named${what}`, async () => {
      const at = link ? `${location}.link` : location
      if (link) symlinkSync(location, at)
      try {
        const store = await openWith((path) => path === join(location, "vm01", "central"), at)
        await assert.rejects(Array.fromAsync(store.list()), {
          code: "backup_storage_unavailable",
          message: `The backups in ${at} cannot be read or written (EACCES: vm01/central). Give the service's user access to it, to read and to write.`,
        })
      } finally {
        if (link) await removeTemporary(at)
      }
    })
  }
})
