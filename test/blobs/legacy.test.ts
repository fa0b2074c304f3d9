import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { chmod, mkdir, readdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { type FsPort, nodeFs } from "../../src/blobs/fs-port.ts"
import { loadKeys } from "../../src/blobs/keyring.ts"
import { DiskLegacyStore } from "../../src/blobs/legacy.ts"
import { LegacyKeys } from "../../src/blobs/legacy-keys.ts"
import type { ConfigRef } from "../../src/domain/config-type.ts"
import type { FaultCode } from "../../src/domain/fault.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { FaultyFs } from "./faulty-fs.ts"
import { derivedKey, keysOf, legacyFile, putLegacy } from "./legacy-files.ts"

interface Vectors {
  readonly plain: string
  readonly rawPlain: string
  readonly rawKeyFile: { readonly keyFileBase64: string; readonly fileBase64: string }
  readonly textKeyFile: { readonly keyFileBase64: string; readonly keyHex: string; readonly fileBase64: string }
  readonly passphrase: { readonly passphrase: string; readonly keyHex: string; readonly fileBase64: string }
}

/** Made by legacy.py with the original's own library. */
const vectors = JSON.parse(readFileSync(new URL("../vectors/legacy.json", import.meta.url), "utf8")) as Vectors
const key: Buffer = Buffer.alloc(32, 0x11)
const other: Buffer = Buffer.alloc(32, 0x22)
const name = "backup_vm01_central_20250102_030405.enc"

let location: string

beforeEach(() => {
  location = makeTemporary("legacy")
})
afterEach(() => removeTemporary(location))

const storeOf = (keys: LegacyKeys = keysOf([key])) => DiskLegacyStore.open({ location, keys })
const put = (plain: Buffer | string, sealedWith = key) =>
  putLegacy(location, { vmId: "vm01", type: "central", stamp: "20250102_030405" }, plain, sealedWith)
const refused = (code: FaultCode, message = /./) => ({ code, message })

suite("Backups that Python made", () => {
  const open = async (fileBase64: string, keys: LegacyKeys) => {
    await writeFile(join(location, name), Buffer.from(fileBase64, "base64"))
    return (await storeOf(keys)).open(name, null)
  }
  const keysFrom = async (sources: { readonly keyFileBase64?: string; readonly passphrase?: string }) => {
    const keyPath = join(location, "the.key")
    if (sources.keyFileBase64) await writeFile(keyPath, Buffer.from(sources.keyFileBase64, "base64"), { mode: 0o600 })
    const passphrase = sources.passphrase ?? null
    const given = { keyPath: sources.keyFileBase64 ? keyPath : null, oldKeyPaths: [], newKey: false }
    return (await loadKeys({ ...given, passphrase, backupLocation: join(location, "blobs") })).legacy
  }

  test("open with a key file of 32 bytes, which is the key", async () => {
    const { plain } = await open(vectors.rawKeyFile.fileBase64, await keysFrom(vectors.rawKeyFile))
    assert.equal(plain.toString(), vectors.plain)
  })

  test("open with a key file of text, from which the key is derived", async () => {
    assert.equal(
      derivedKey(Buffer.from(vectors.textKeyFile.keyFileBase64, "base64")).toString("hex"),
      vectors.textKeyFile.keyHex,
    )
    const { plain } = await open(vectors.textKeyFile.fileBase64, await keysFrom(vectors.textKeyFile))
    assert.equal(plain.toString(), vectors.plain)
  })

  test("open with a passphrase", async () => {
    const { plain } = await open(vectors.passphrase.fileBase64, await keysFrom(vectors.passphrase))
    assert.equal(plain.toString(), vectors.rawPlain)
  })
})

suite("DiskLegacyStore.list", () => {
  const known: readonly ConfigRef[] = [
    { vmId: "vm01", type: "central" },
    { vmId: "vm01", type: "vm_specific" },
    { vmId: "edge_vm", type: "specific" },
    { vmId: "edge", type: "central" },
    { vmId: "a_b", type: "c" },
    { vmId: "a", type: "b_c" },
  ]
  const list = async (...names: readonly string[]) => {
    for (const each of names) await writeFile(join(location, each), "")
    const { refs, unmatched } = await (await storeOf()).list(known)
    return { refs: refs.map(({ vmId, type, validFrom }) => `${vmId} ${type} ${validFrom}`), unmatched }
  }

  test("finds the configs of names whose ids hold underscores, oldest first, their time taken for UTC", async () => {
    const found = await list(
      "backup_vm01_vm_specific_20250102_030406.enc",
      "backup_edge_vm_specific_20240229_235959.enc",
      "backup_vm01_central_20250102_030405.enc",
    )
    assert.deepEqual(found, {
      refs: [
        "edge_vm specific 2024-02-29T23:59:59.000Z",
        "vm01 central 2025-01-02T03:04:05.000Z",
        "vm01 vm_specific 2025-01-02T03:04:06.000Z",
      ],
      unmatched: 0,
    })
  })

  test("takes the file's name for the id", async () => {
    put("port: 80\n")
    const { refs } = await (await storeOf()).list(known)
    assert.deepEqual(refs, [{ vmId: "vm01", type: "central", backupId: name, validFrom: "2025-01-02T03:04:05.000Z" }])
  })

  test("is the same for a config that is named twice", async () => {
    put("port: 80\n")
    const { refs } = await (await storeOf()).list([...known, ...known])
    assert.equal(refs.length, 1)
  })

  test("opens nothing: an empty file, a directory and a link are found out by whoever opens them", async () => {
    await mkdir(join(location, "backup_vm01_central_20250102_030406.enc"))
    await symlink("/etc/passwd", join(location, "backup_vm01_central_20250102_030407.enc"))
    assert.equal((await list(name)).refs.length, 3)
  })

  for (const [why, file] of [
    ["no known VM", "backup_vm02_central_20250102_030405.enc"],
    ["no known type", "backup_vm01_env_20250102_030405.enc"],
    ["a VM whose id only begins with a known one", "backup_vm01_x_central_20250102_030405.enc"],
    ["two configs at once", "backup_a_b_c_20250102_030405.enc"],
    ["a month that is none", "backup_vm01_central_20251302_030405.enc"],
    ["30 February", "backup_vm01_central_20250230_030405.enc"],
    ["the end of time", "backup_vm01_central_99991231_235959.enc"],
    ["an hour that is none", "backup_vm01_central_20250102_240000.enc"],
    ["a second that is none", "backup_vm01_central_20250102_030460.enc"],
    ["no time", "backup_vm01_central.enc"],
    ["a time of other digits", "backup_vm01_central_٢٠٢٥0102_030405.enc"],
    ["a line end in its name", "backup_vm01_central_20250102_030405.enc\nbackup_.enc"],
  ] as const) {
    test(`leaves out and counts a file of ${why}`, async () => {
      assert.deepEqual(await list(file), { refs: [], unmatched: 1 })
    })
  }

  test("does not count what is not named like a backup", async () => {
    await mkdir(join(location, "vm01"))
    assert.deepEqual(await list("keyring.json", "backup.key", "backup_vm01_central_20250102_030405.enc.tmp", "x.enc"), {
      refs: [],
      unmatched: 0,
    })
  })

  test("does not pass an unreadable directory off as an empty one", async () => {
    const store = await storeOf()
    await rename(location, `${location}-away`)
    await assert.rejects(store.list(known), refused("backup_storage_unavailable"))
    await rename(`${location}-away`, location)
  })
})

suite("DiskLegacyStore.open", () => {
  test("gives the sealed bytes and the id of the key, and leaves the file as it is", async () => {
    const id = put("a text, or JSON: what it is does not matter here")
    const { plain, keyId } = await (await storeOf()).open(id, null)
    assert.equal(plain.toString(), "a text, or JSON: what it is does not matter here")
    assert.match(keyId, /^[0-9a-f]{32}$/)
    assert.deepEqual(await readdir(location), [name])
  })

  test("opens a backup of an empty text", async () => {
    assert.equal((await (await storeOf()).open(put(""), null)).plain.length, 0)
  })

  test("tries every loaded key, and names the one that opened", async () => {
    const store = await storeOf(keysOf([other, key], "a passphrase"))
    const first = await store.open(put("x", key), null)
    const second = await store.open(put("x", other), null)
    const derived = await store.open(put("x", derivedKey("a passphrase")), null)
    assert.equal(new Set([first, second, derived].map(({ keyId }) => keyId)).size, 3)
  })

  test("opens with the key that a file holds as hex, where the original had it raw", async () => {
    const bytes = Buffer.from(`${key.toString("hex")}\n`)
    const keys = new LegacyKeys([{ key, bytes }], null)
    assert.equal((await (await storeOf(keys)).open(put("x", key), null)).plain.toString(), "x")
  })

  for (const [how, secret] of [
    ["with its line end", `${key.toString("hex")}\n`],
    ["without its line end", key.toString("hex")],
  ] as const) {
    test(`opens what was sealed with the text of a key file ${how}`, async () => {
      const keys = new LegacyKeys([{ key, bytes: Buffer.from(`${key.toString("hex")}\n`) }], null)
      assert.equal((await (await storeOf(keys)).open(put("x", derivedKey(secret)), null)).plain.toString(), "x")
    })
  }

  test("does not take the text of a file of exactly 32 bytes for a passphrase: the original did not", async () => {
    const id = put("x", derivedKey(key))
    await assert.rejects((await storeOf()).open(id, null), refused("backup_key_unavailable"))
  })

  test("is locked without the key, and says which setting to look at", async () => {
    const id = put("x", other)
    await assert.rejects(
      (await storeOf()).open(id, null),
      refused("backup_key_unavailable", /encryption_old_key_paths/),
    )
    await assert.rejects((await storeOf(keysOf([], "wrong"))).open(id, null), refused("backup_key_unavailable"))
    await assert.rejects((await storeOf(keysOf([]))).open(id, null), refused("backup_key_unavailable"))
  })

  test("finds every flipped bit, and hands nothing out", async () => {
    const store = await storeOf()
    const sealed = legacyFile("port: 80\n", key)
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const flipped = Buffer.from(sealed)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      await writeFile(join(location, name), flipped)
      await assert.rejects(store.open(name, null), refused("backup_key_unavailable"))
    }
  })

  test("tells damage from a missing key where the key that opened it before is loaded", async () => {
    const store = await storeOf(keysOf([other, key]))
    const { keyId } = await store.open(put("x"), null)
    await writeFile(join(location, name), legacyFile("x", Buffer.alloc(32, 0x33)))
    await assert.rejects(store.open(name, keyId), refused("backup_corrupt"))
    await assert.rejects((await storeOf(keysOf([other]))).open(name, keyId), refused("backup_key_unavailable"))
  })

  test("opens with another key than the one that is expected, when that is the one", async () => {
    const before = await (await storeOf(keysOf([other]))).open(put("x", other), null)
    put("x", key)
    const { keyId } = await (await storeOf(keysOf([key]))).open(name, before.keyId)
    assert.notEqual(keyId, before.keyId)
  })

  for (const length of [0, 1, 12, 27]) {
    test(`finds a file of ${length} bytes damaged`, async () => {
      put("a long enough text")
      await truncate(join(location, name), length)
      await assert.rejects((await storeOf()).open(name, null), refused("backup_corrupt"))
    })
  }

  test("finds a file cut anywhere, and one that goes on", async () => {
    const sealed = legacyFile("port: 80\n", key)
    const store = await storeOf()
    for (const bytes of [...sealed.keys()]
      .map((length) => sealed.subarray(0, length))
      .concat(Buffer.concat([sealed, sealed]))) {
      await writeFile(join(location, name), bytes)
      await assert.rejects(store.open(name, null), (error: { code?: string }) =>
        ["backup_corrupt", "backup_key_unavailable"].includes(error.code ?? ""),
      )
    }
  })

  test("does not read a file that is larger than any config", async () => {
    put("x")
    await truncate(join(location, name), 16 * 1024 * 1024 + 1)
    await assert.rejects((await storeOf()).open(name, null), refused("backup_corrupt", /16 MiB/))
  })

  for (const [what, make] of [
    ["a directory", (path: string) => mkdir(path)],
    ["a FIFO without a writer", async (path: string) => void execFileSync("mkfifo", [path])],
    ["a link to another backup", (path: string) => symlink("backup_vm01_central_20240101_000000.enc", path)],
    ["a link to nothing", (path: string) => symlink("nowhere", path)],
  ] as const) {
    test(`does not take ${what} for a backup`, async () => {
      putLegacy(location, { vmId: "vm01", type: "central", stamp: "20240101_000000" }, "x", key)
      await make(join(location, name))
      await assert.rejects((await storeOf()).open(name, null), refused("backup_corrupt"))
    })
  }

  for (const id of [
    "",
    ".",
    "../backup_vm01_central_20250102_030405.enc",
    "keyring.json",
    "backup_a/b_c_20250102_030405.enc",
  ]) {
    test(`knows no backup of the name "${id}"`, async () => {
      await writeFile(join(location, "keyring.json"), legacyFile("x", key))
      await assert.rejects((await storeOf()).open(id, null), refused("backup_missing"))
    })
  }

  test("tells a file that is gone from a store that is gone", async () => {
    const store = await storeOf()
    await assert.rejects(store.open(name, null), refused("backup_missing"))
    await rm(location, { recursive: true })
    await assert.rejects(store.open(name, null), refused("backup_storage_unavailable"))
  })

  test("says nothing of files while another file system stands at the location", async () => {
    let mounted = 1n
    const fs = { ...nodeFs, device: async () => mounted }
    const store = await DiskLegacyStore.open({ location, keys: keysOf([key]), fs })
    const id = put("x")
    await store.open(id, null)
    mounted = 2n
    for (const asked of [store.open(id, null), store.open(name.replace("vm01", "vm02"), null), store.list([])]) {
      await assert.rejects(asked, refused("backup_storage_unavailable", /another file system/))
    }
  })

  test("says nothing of files while another directory stands at the location", async () => {
    const [store, id] = [await storeOf(), put("x")]
    await rename(location, `${location}-away`)
    await mkdir(location)

    await assert.rejects(store.open(id, null), refused("backup_storage_unavailable", /another directory/))

    await rm(location, { recursive: true })
    await rename(`${location}-away`, location)
    assert.equal((await store.open(id, null)).plain.toString(), "x")
  })

  for (const code of ["EIO", "EMFILE", "EROFS"]) {
    test(`is unavailable, not damaged, when any one call to the file system fails with ${code}`, async () => {
      const id = put("x")
      const whole = new FaultyFs()
      await (await DiskLegacyStore.open({ location, keys: keysOf([key]), fs: whole })).open(id, null)
      assert.ok(whole.calls > 4)
      // The first two are those of opening the store.
      for (let failAt = 3; failAt <= whole.calls; failAt++) {
        const store = await DiskLegacyStore.open({ location, keys: keysOf([key]), fs: new FaultyFs({ failAt, code }) })
        await assert.rejects(store.open(id, null), refused("backup_storage_unavailable"), `call ${failAt}`)
      }
    })
  }

  test("reads what comes in small pieces", async () => {
    const id = put("port: 80\n")
    const store = await DiskLegacyStore.open({ location, keys: keysOf([key]), fs: new FaultyFs({ mostTaken: 3 }) })
    assert.equal((await store.open(id, null)).plain.toString(), "port: 80\n")
  })

  test("opens a file of the original's own mode", async () => {
    const id = put("x")
    await chmod(join(location, id), 0o444)
    assert.equal((await (await storeOf()).open(id, null)).plain.toString(), "x")
  })
})

suite("DiskLegacyStore.remove", () => {
  test("removes one backup, and does not mind when it is gone", async () => {
    const later = putLegacy(location, { vmId: "vm01", type: "central", stamp: "20260102_030405" }, "x", key)
    const store = await storeOf()
    await store.remove(put("x"))
    await store.remove(name)
    assert.deepEqual(await readdir(location), [later])
  })

  test("has removed it for good: a power loss does not bring it back", async () => {
    const synced: string[] = []
    const open: FsPort["open"] = async (path, flags) => {
      const file = await nodeFs.open(path, flags)
      return { ...file, sync: () => file.sync().then(() => void synced.push(path)) }
    }
    const store = await DiskLegacyStore.open({ location, keys: keysOf([key]), fs: { ...nodeFs, open } })

    await store.remove(put("x"))

    assert.deepEqual(synced, [location])
  })

  for (const id of ["keyring.json", "../keep", "backup_x/../keyring.json_20250102_030405.enc", "", "."]) {
    test(`removes nothing for the name "${id}"`, async () => {
      await writeFile(join(location, "keyring.json"), "{}")
      await (await storeOf()).remove(id)
      assert.deepEqual(await readdir(location), ["keyring.json"])
    })
  }

  test("does not pass a file that it could not remove off as gone", async () => {
    const id = put("x")
    for (const code of ["EACCES", "EROFS", "EIO"]) {
      const fs = new FaultyFs({ failAt: 5, code })
      const store = await DiskLegacyStore.open({ location, keys: keysOf([key]), fs })
      await assert.rejects(store.remove(id), refused("backup_storage_unavailable"))
    }
    assert.deepEqual(await readdir(location), [id])
  })
})

suite("LegacyKeys.candidates", () => {
  const take = async (keys: LegacyKeys, count: number) => {
    const taken: string[] = []
    for await (const { master } of keys.candidates()) if (taken.push(master.toString("hex")) === count) break
    return taken
  }

  test("gives the raw keys before it derives any", async () => {
    const hex = Buffer.from(other.toString("hex"))
    const keys = new LegacyKeys(
      [
        { key: other, bytes: hex },
        { key, bytes: key },
      ],
      "words",
    )
    const expected = [other, key, derivedKey(hex), derivedKey("words")].map((each) => each.toString("hex"))
    assert.deepEqual(await take(keys, 9), expected)
  })

  test("derives each key once for all who ask at the same time", async () => {
    const keys = keysOf([], "words")
    const startedAt = performance.now()
    await take(keys, 1)
    const onceMs = performance.now() - startedAt
    const again = performance.now()
    await Promise.all(Array.from({ length: 50 }, () => take(keys, 1)))
    assert.ok(performance.now() - again < onceMs, "50 known keys took longer than one derivation")
  })

  test("takes a passphrase as it was given, composed or not: the original did", async () => {
    assert.deepEqual(await take(keysOf([], "cafe\u0301"), 1), [derivedKey("cafe\u0301").toString("hex")])
  })
})
