import assert from "node:assert/strict"
import crypto from "node:crypto"
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises"
import { syncBuiltinESMExports } from "node:module"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { nodeFs } from "../../src/blobs/fs-port.ts"
import { inspectKeys, type KeySources, loadKeys, requireKeyOfBefore } from "../../src/blobs/keyring.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import { StartError } from "../../src/domain/start-error.ts"
import { aBlob, fileOf, refOf } from "./blobs.ts"
import { vector } from "./vector.ts"

const zeros = Buffer.alloc(16)

suite("loadKeys", () => {
  let root: string
  let location: string
  const sourcesOf = (sources: Partial<KeySources>): KeySources => ({
    ...{ keyPath: null, passphrase: null, oldKeyPaths: [], backupLocation: location, newKey: false },
    ...sources,
  })
  const load = (sources: Partial<KeySources>) => loadKeys(sourcesOf(sources))
  const keyFile = async (name: string, byte: number) => {
    const path = join(root, name)
    await writeFile(path, Buffer.alloc(32, byte), { mode: 0o600 })
    return path
  }
  const keyring = async () =>
    JSON.parse(await readFile(join(location, "keyring.json"), "utf8")) as Record<string, unknown>
  const startError = (message: RegExp) => (error: unknown) => {
    assert.ok(error instanceof StartError)
    assert.match(error.message, message)
    return true
  }

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "keyring-"))
    location = join(root, "backups")
  })
  afterEach(() => rm(root, { recursive: true }))

  test("seals with the key file, opens with old ones, and remembers the key's id", async () => {
    const old = await keyFile("old", 0x22)
    const keys = await load({ keyPath: await keyFile("key", 0x11), oldKeyPaths: [old] })

    assert.equal(keys.active.keyId.toString("hex"), vector.keyFile.keyId)
    assert.equal(await keys.find(keys.active), keys.active)
    const { active: oldKey } = await load({ keyPath: old, newKey: true })
    assert.deepEqual((await keys.find(oldKey))?.master, Buffer.alloc(32, 0x22))
    assert.equal(await keys.find({ keyId: zeros, scryptSalt: zeros }), null)
  })

  test("writes keyring.json with 0600 and leaves nothing beside it", async () => {
    await load({ keyPath: await keyFile("key", 0x11) })

    assert.deepEqual(await readdir(location), ["keyring.json"])
    assert.equal((await stat(join(location, "keyring.json"))).mode & 0o777, 0o600)
    const { version, activeKeyId, scryptSalt } = await keyring()
    assert.deepEqual([version, activeKeyId], [1, vector.keyFile.keyId])
    assert.match(String(scryptSalt), /^[0-9a-f]{32}$/)
  })

  test("derives the key of the published vector from its passphrase and salt", async () => {
    await load({ keyPath: await keyFile("key", 0x11) })
    const { passphrase, scryptSalt, keyId, master } = vector.passphrase
    await writeFile(join(location, "keyring.json"), JSON.stringify({ version: 1, activeKeyId: keyId, scryptSalt }))

    const { active } = await load({ passphrase })

    assert.equal(active.master.toString("hex"), master)
    assert.equal(active.keyId.toString("hex"), keyId)
  })

  test("takes a passphrase however its characters are composed", async () => {
    const composed = await load({ passphrase: "caf\u00e9" })

    const decomposed = await load({ passphrase: "cafe\u0301" })

    assert.deepEqual(decomposed.active.keyId, composed.active.keyId)
  })

  test("opens with a passphrase what it sealed before keyring.json was lost", async () => {
    const first = await load({ passphrase: "correct horse" })
    const blob = aBlob()
    await (await DiskBlobStore.open({ location, keyring: first })).put([blob])
    await rm(join(location, "keyring.json"))

    const second = await load({ passphrase: "correct horse" })

    assert.notDeepEqual(second.active.scryptSalt, first.active.scryptSalt)
    const store = await DiskBlobStore.open({ location, keyring: second })
    assert.deepEqual((await store.open(refOf(blob))).bytes, blob.bytes)
  })

  test("seals with the key file where there is a passphrase too, and opens with both", async () => {
    const before = await load({ passphrase: "correct horse" })
    const keyPath = await keyFile("key", 0x11)

    const both = await load({ keyPath, passphrase: "correct horse", newKey: true })

    assert.equal(both.active.keyId.toString("hex"), vector.keyFile.keyId)
    assert.deepEqual((await both.find(before.active))?.master, before.active.master)
  })

  test("derives the key of a salt once for all who ask at the same time", async () => {
    const keys = await load({ keyPath: await keyFile("key", 0x11), passphrase: "correct horse" })
    const slot = { keyId: zeros, scryptSalt: Buffer.alloc(16, 7) }
    const startedAt = performance.now()
    await keys.find(slot)
    const oneMs = performance.now() - startedAt

    const again = performance.now()
    assert.deepEqual(await Promise.all(Array.from({ length: 50 }, () => keys.find(slot))), Array(50).fill(null))

    assert.ok(performance.now() - again < oneMs, "50 known salts took longer than one derivation")
  })

  test("derives a key again that there was no memory for", async (t) => {
    const keys = await load({ keyPath: await keyFile("key", 0x11), passphrase: "correct horse" })
    const slot = { keyId: zeros, scryptSalt: Buffer.alloc(16, 7) }
    const short: unknown = (...given: unknown[]) =>
      (given.at(-1) as (error: Error) => void)(new Error("malloc failure"))
    const failing = t.mock.method(crypto, "scrypt", short as typeof crypto.scrypt)
    syncBuiltinESMExports()
    try {
      await assert.rejects(keys.find(slot), /malloc failure/)
    } finally {
      failing.mock.restore()
      syncBuiltinESMExports()
    }

    assert.equal(await keys.find(slot), null)
  })

  test("does not open what another passphrase sealed", async () => {
    const other = await load({ passphrase: "correct horse" })
    const keys = await load({ passphrase: "wrong horse", newKey: true })

    assert.equal(await keys.find(other.active), null)
  })

  test("refuses to start without a key, and tells how to make one and where to name it", async () => {
    await assert.rejects(load({}), startError(/umask 077; openssl rand -hex 32 > FILE/))
    await assert.rejects(load({}), startError(/encryption_key_path.*CONFIG_MANAGER_BACKUP_KEY_PATH.*PASSPHRASE/))
  })

  test("refuses an empty passphrase, also beside a key file", async () => {
    await assert.rejects(load({ passphrase: "" }), startError(/passphrase of the backups is empty/))
    await assert.rejects(load({ keyPath: await keyFile("key", 0x11), passphrase: "" }), startError(/empty/))
  })

  test("refuses another key than the last, and takes it with --new-key", async () => {
    await load({ keyPath: await keyFile("key", 0x11) })
    const keyPath = await keyFile("other", 0x22)

    await assert.rejects(load({ keyPath }), startError(/--new-key.*encryption_old_key_paths/))
    assert.equal((await keyring()).activeKeyId, vector.keyFile.keyId)

    const { active } = await load({ keyPath, newKey: true })
    assert.equal((await keyring()).activeKeyId, active.keyId.toString("hex"))
    await load({ keyPath })
  })

  test("refuses another passphrase than the last", async () => {
    await load({ passphrase: "correct horse" })

    await assert.rejects(load({ passphrase: "Correct horse" }), startError(/--new-key/))
  })

  test("refuses an old key file that is no key", async () => {
    const keyPath = await keyFile("key", 0x11)

    await assert.rejects(load({ keyPath, oldKeyPaths: [join(root, "gone")] }), startError(/gone does not exist/))
  })

  suite("where keyring.json is lost and versions stand there", () => {
    const put = async (sources: Partial<KeySources>, ...vmIds: readonly string[]) => {
      const store = await DiskBlobStore.open({ location, keyring: await load({ ...sources, newKey: true }) })
      const blobs = vmIds.map((vm_id) => aBlob("port: 80\n", { vm_id }))
      for (const blob of blobs) await store.put([blob])
      await rm(join(location, "keyring.json"))
      return blobs.map((blob) => fileOf(location, refOf(blob)))
    }
    const isRemembered = async () => (await readdir(location)).includes("keyring.json")

    test("refuses a key that opens none of them, names theirs, and remembers nothing", async () => {
      await put({ keyPath: await keyFile("key", 0x11) }, "vm01", "vm02")
      const keyPath = await keyFile("other", 0x22)
      const sentence = startError(new RegExp(`^None of 2 .*${vector.keyFile.keyId}.*right.*--new-key`))

      await assert.rejects(load({ keyPath }), sentence)
      await assert.rejects(inspectKeys(sourcesOf({ keyPath })), sentence)
      await assert.rejects(requireKeyOfBefore(sourcesOf({ keyPath, newKey: true })), sentence)

      assert.equal(await isRemembered(), false)
      await load({ keyPath, newKey: true })
      await load({ keyPath })
    })

    test("refuses another passphrase, and takes the one that opens them", async () => {
      await put({ passphrase: "correct horse" }, "vm01", "vm02")

      await assert.rejects(load({ passphrase: "wrong horse" }), startError(/^None of 2 /))

      await load({ passphrase: "correct horse" })
    })

    test("takes a key where any key that is loaded opens any of them", async () => {
      const [old, key] = [await keyFile("old", 0x11), await keyFile("key", 0x22)]
      await put({ keyPath: old }, "vm01", "vm02")
      await load({ keyPath: key, oldKeyPaths: [old] })
      await put({ keyPath: key }, "vm03")

      await load({ keyPath: key })
    })

    test("looks at few of many, each of another config", async (t) => {
      const vmIds = Array.from({ length: 50 }, (_, index) => `vm${index}`)
      await put({ keyPath: await keyFile("key", 0x11) }, ...vmIds, ...vmIds)
      const opening = t.mock.method(nodeFs, "open")

      await assert.rejects(load({ keyPath: await keyFile("other", 0x22) }), startError(/^None of 32 /))

      const opened = opening.mock.calls.flatMap(({ arguments: [path] }) => (path.endsWith(".cmb") ? [path] : []))
      assert.deepEqual([opened.length, new Set(opened.map(dirname)).size], [32, 32])
    })

    test("looks at the newest first, and at older ones where that is damaged", async () => {
      const files = await put({ keyPath: await keyFile("key", 0x11) }, ...Array.from({ length: 40 }, () => "vm01"))
      for (const file of files.sort().slice(-31)) await writeFile(file, "rot")

      await assert.rejects(load({ keyPath: await keyFile("other", 0x22) }), startError(/^None of 1 /))
    })

    test("takes any key where none of them can be read, or there are only others' files", async () => {
      const files = await put({ keyPath: await keyFile("key", 0x11) }, "vm01", "vm02")
      for (const file of files) await writeFile(file, "rot")
      await writeFile(join(location, "backup_vm01_central_20250102_030405.enc"), "legacy")

      await load({ keyPath: await keyFile("other", 0x22) })

      assert.equal(await isRemembered(), true)
    })

    test("says which directory cannot be read, and remembers nothing", async (t) => {
      await put({ keyPath: await keyFile("key", 0x11) }, "vm01")
      const { readdir: list } = nodeFs
      t.mock.method(nodeFs, "readdir", async (path: string) => {
        if (path.endsWith("central")) throw Object.assign(new Error("told to fail"), { code: "EACCES" })
        return list(path)
      })

      await assert.rejects(load({ keyPath: await keyFile("other", 0x22) }), startError(/EACCES: vm01\/central/))

      assert.equal(await isRemembered(), false)
    })
  })

  for (const [what, text] of [
    ["is empty", ""],
    ["is cut", '{"version":1,"activeKeyId":"00'],
    ["is of another version", JSON.stringify({ version: 2, activeKeyId: "0".repeat(32), scryptSalt: "0".repeat(32) })],
    ["lacks the salt", JSON.stringify({ version: 1, activeKeyId: "0".repeat(32) })],
    ["has a salt of another length", JSON.stringify({ version: 1, activeKeyId: "0".repeat(32), scryptSalt: "00" })],
    ["is null", "null"],
  ] as const) {
    test(`refuses a keyring.json that ${what}, and says how to go on`, async () => {
      const keyPath = await keyFile("key", 0x11)
      await load({ keyPath })
      await writeFile(join(location, "keyring.json"), text)

      await assert.rejects(load({ keyPath }), startError(/keyring\.json is damaged.*move it away/))

      assert.equal(await readFile(join(location, "keyring.json"), "utf8"), text)
    })
  }

  test("refuses a location that cannot be made", async () => {
    await writeFile(join(root, "backups"), "a file")

    await assert.rejects(load({ keyPath: await keyFile("key", 0x11) }), startError(/backups/))
  })

  suite("before backups are moved to another key", () => {
    const require = (sources: Partial<KeySources>) =>
      requireKeyOfBefore({
        ...{ keyPath: null, passphrase: null, oldKeyPaths: [], backupLocation: location, newKey: true },
        ...sources,
      })

    test("refuses where the key that sealed until now is not loaded, and remembers that one still", async () => {
      await load({ keyPath: await keyFile("old", 0x11) })
      const before = await keyring()

      await assert.rejects(
        require({ keyPath: await keyFile("new", 0x22), oldKeyPaths: [await keyFile("other", 0x33)] }),
        startError(/^The key that sealed in .* until now \([0-9a-f]{32}\) is not loaded\. Name its file in /),
      )

      assert.deepEqual(await keyring(), before)
    })

    test("refuses where a passphrase sealed until now and another is given", async () => {
      await load({ passphrase: "the old one" })

      await assert.rejects(
        require({ keyPath: await keyFile("new", 0x22), passphrase: "another" }),
        startError(/is not loaded/),
      )
    })

    test("is content where it is loaded, or there is none", async () => {
      const [old, key] = [await keyFile("old", 0x11), await keyFile("new", 0x22)]
      await require({ keyPath: key })
      await load({ keyPath: old })
      await require({ keyPath: key, oldKeyPaths: [old] })
      await require({ keyPath: old })
      await load({ passphrase: "the old one", newKey: true })
      await require({ keyPath: key, passphrase: "the old one" })
    })
  })
})
