import assert from "node:assert/strict"
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { DirectoryTarget } from "../../src/blobs/directory-target.ts"
import type { ConfigType } from "../../src/domain/config-type.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import type { LegacyStore } from "../../src/domain/legacy-store.ts"
import { legacyVersion, renderLegacy } from "../../src/services/legacy-versions.ts"
import type { SqliteCatalog } from "../../src/sqlite/catalog.ts"
import { putLegacy } from "../blobs/legacy-files.ts"
import { file } from "../fakes/memory-transport.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { anyone, caller, live, path, type Rig, type RigOptions, ref, refusal, withRig } from "./rig.ts"

const key = Buffer.alloc(32, 0x11)
const other = Buffer.alloc(32, 0x22)
const stamps = ["20250101_000000", "20250102_000000"] as const
const owner = { uid: 1000, gid: 33 }
const options = { legacyKey: key, files: { [live]: file("# live\nport: 81\n", 0o604, owner) } }
const onlyThis = { vmId: null, dryRun: false, precondition: anyone }

const typeAs = (format: ConfigType["format"]) => ({ type: "app", format }) as ConfigType

suite("renderLegacy", () => {
  const cases: readonly (readonly [string, ConfigType["format"], string, string, boolean])[] = [
    ["writes a value down as YAML", "yaml", '{"port": 80, "name": "no"}', "port: 80\nname: 'no'\n", true],
    ["writes a value down as JSON", "json", '{"port": 1.0}', '{\n  "port": 1.0\n}\n', true],
    ["writes a value down as an env file", "env", '{"PORT": "80"}', "PORT=80\n", true],
    ["gives the text that a sole member _raw holds", "yaml", '{"_raw": "# a\\nport: 80\\n"}', "# a\nport: 80\n", false],
    ["gives that text in JSON, too", "json", '{"_raw": "{}"}', "{}", false],
    ["gives that text in env files, too", "env", '{"_raw": "A=1 # x\\r\\n"}', "A=1 # x\r\n", false],
    ["gives that text in text files, too", "text", '{"_raw": "x\\n"}', "x\n", false],
    ["takes _raw beside others for a member", "yaml", '{"_raw": "x", "a": 1}', "_raw: x\na: 1\n", true],
    ["takes a _raw that is no text for a member", "yaml", '{"_raw": 1}', "_raw: 1\n", true],
    ["leaves text that is not JSON as it is", "yaml", "# a\r\nport: 80", "# a\r\nport: 80", false],
    ["leaves text that is not YAML as it is", "yaml", "a: b: c\n\t- {", "a: b: c\n\t- {", false],
    ["leaves the text of an env file as it is", "env", "A='1' # x\n", "A='1' # x\n", false],
    ["takes a string of JSON for the text of an env file", "env", '"A=1\\n"', "A=1\n", false],
    ["takes a string of JSON for the text of a text file", "text", '"a\\n"', "a\n", false],
    ["leaves JSON in a text file as it is", "text", '{"a":  1}', '{"a":  1}', false],
    ["leaves JSON in a text file as it is, whatever it says", "text", '{"a": 1, "a": 2}', '{"a": 1, "a": 2}', false],
    ["gives an empty text back", "yaml", "", "", false],
    ["writes null down", "yaml", "null", "null\n", true],
  ]
  for (const [what, format, plain, expected, isValue] of cases) {
    test(what, () => {
      const { bytes, warnings } = renderLegacy(Buffer.from(plain), typeAs(format))
      assert.equal(bytes.toString(), expected)
      assert.deepEqual(
        warnings.map(({ code }) => code),
        isValue ? ["comments_lost"] : [],
      )
    })
  }

  test("leaves bytes that are no UTF-8 as they are", () => {
    const plain = Buffer.from([0x22, 0xe4, 0x22])
    for (const format of ["yaml", "text"] as const) assert.deepEqual(renderLegacy(plain, typeAs(format)).bytes, plain)
  })

  for (const [what, format, plain] of [
    ["numbers that JSON does not know", "json", '{"a": NaN, "b": "hunter2"}'],
    ["members that an env file cannot hold", "env", '{"a": {"b": "hunter2"}}'],
    ["texts that an env file cannot hold", "env", '{"a": "hunter2 \' \\" `"}'],
    ["a list in an env file", "env", '["hunter2"]'],
    ["equal keys", "yaml", '{"a": "hunter2", "a": 2}'],
    ["half of a surrogate pair", "yaml", '{"a": "hunter2 \\ud800"}'],
  ] as const) {
    test(`refuses ${what}, and shows no value of it`, () => {
      assert.throws(
        () => renderLegacy(Buffer.from(plain), typeAs(format)),
        (error: unknown) => {
          assert.ok(error instanceof Fault)
          assert.equal(error.code, "config_unparsable")
          assert.doesNotMatch(`${error.message} ${JSON.stringify(error.details)}`, /hunter2/)
          return true
        },
      )
    })
  }

  test("says how to get at a value that the format cannot hold", () => {
    assert.throws(() => renderLegacy(Buffer.from("[1]"), typeAs("env")), /config_types\.app\.format is text/)
  })
})

suite("legacyVersion", () => {
  const sealed = {
    vmId: "vm01",
    type: "app",
    backupId: "backup_vm01_app_20250101_000000.enc",
    validFrom: "2025-01-01T00:00:00.000Z",
  }
  const holding = (open: () => Promise<string>): LegacyStore => ({
    list: async () => ({ refs: [sealed], unmatched: 0, ambiguous: new Map() }),
    open: async () => ({ plain: Buffer.from(await open()), keyId: "ab".repeat(16) }),
    openSealed: async () => null,
    names: async () => [],
    remove: async () => {},
  })
  const row = (open: () => Promise<string>, format: ConfigType["format"] = "yaml") =>
    legacyVersion(sealed, holding(open), typeAs(format), path)

  test("names size and digest of what a restore would write", async () => {
    const text = "port: 80\n"
    assert.deepEqual(await row(async () => '{"port": 80}'), {
      ...sealed,
      path,
      size: text.length,
      digest: digestOf(Buffer.from(text)),
      mode: null,
      uid: null,
      gid: null,
      trigger: "imported",
      reason: null,
      actor: "config_manager",
      operationId: null,
      keyId: "ab".repeat(16),
      format: "legacy",
      verifiedAt: null,
      state: "ok",
    })
  })

  for (const [code, state] of [
    ["backup_key_unavailable", "locked"],
    ["backup_corrupt", "damaged"],
    ["backup_missing", "missing"],
  ] as const) {
    test(`is ${state} and names nothing when opening says ${code}`, async () => {
      const found = await row(async () => {
        throw new Fault(code, "no")
      })
      assert.deepEqual([found.state, found.size, found.digest, found.keyId], [state, null, null, null])
    })
  }

  test("is damaged, not locked, when the key that opened it before does so no more", async () => {
    await withRig(options, async (rig) => {
      await enter(rig, '{"port": 80}')
      const { refs } = await rig.legacy.list([ref])
      const [found = assert.fail()] = refs
      const type = rig.settings.inventory.type("app")
      const { keyId } = await legacyVersion(found, rig.legacy, type, path)
      putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, "x", other)
      assert.equal((await legacyVersion(found, rig.legacy, type, path)).state, "locked")
      assert.equal((await legacyVersion(found, rig.legacy, type, path, keyId)).state, "damaged")
    })
  })

  test("is whole, and names no digest, when today's format cannot hold the value", async () => {
    const found = await row(async () => "[1]", "env")
    assert.deepEqual([found.state, found.size, found.digest], ["ok", null, null])
  })

  test("does not pass a store that cannot be asked off as a damaged backup", async () => {
    const asked = row(async () => {
      throw new Fault("backup_storage_unavailable", "no")
    })
    await assert.rejects(asked, { code: "backup_storage_unavailable" })
  })
})

/** Puts a backup of the original where it stood, and enters it as the start of the service does. */
async function enter(rig: Rig, plain: string, options: { stamp?: string; sealedWith?: Buffer } = {}): Promise<string> {
  const { stamp = stamps[0], sealedWith = key } = options
  const name = putLegacy(rig.legacyDir, { ...ref, stamp }, plain, sealedWith)
  const { refs } = await rig.legacy.list([ref])
  const found = refs.find(({ backupId }) => backupId === name) ?? assert.fail("it is not listed")
  await rig.catalog.importVersions([await legacyVersion(found, rig.legacy, rig.settings.inventory.type("app"), path)])
  return name
}

async function changeType(rig: Rig, changes: Partial<ConfigType>): Promise<void> {
  const { inventory } = rig.settings
  const types = inventory.types.map((type) => ({ ...type, ...changes }))
  rig.settings.inventory = new Inventory(inventory.vms, types, new Map([["app", { default: path }]]))
}

suite("A backup of the original service, through the services", () => {
  test("is listed, and read as document and as bytes", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      const [version] = await rig.versions()
      assert.deepEqual(
        [version?.backupId, version?.format, version?.trigger, version?.state, version?.validFrom],
        [id, "legacy", "imported", "ok", "2025-01-01T00:00:00.000Z"],
      )
      const content = await rig.backups.content(id)
      assert.deepEqual([content.bytes.toString(), content.document().value], ["port: 80\n", { port: 80 }])
    })
  })

  test("is restored over the live file, whose mode and owner stay, and the answer says what is lost", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      const report = await rig.backups.restore(id, onlyThis, caller())
      assert.deepEqual([report.outcome, report.restoredFrom], ["written", id])
      assert.deepEqual(
        report.warnings.map(({ code }) => code),
        ["comments_lost"],
      )
      const stands = rig.transport.files.get(live) ?? assert.fail()
      assert.deepEqual([stands.bytes.toString(), stands.mode, stands.uid, stands.gid], ["port: 80\n", 0o604, 1000, 33])
    })
  })

  test("gives a text back byte for byte, without a warning", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"_raw": "# was\\r\\nport: 80"}')
      const report = await rig.backups.restore(id, onlyThis, caller())
      assert.deepEqual([rig.text(), report.warnings], ["# was\r\nport: 80", []])
    })
  })

  test("is restored where no file stands, with the mode of the type", async () => {
    await withRig({ legacyKey: key, type: { mode: 0o600 } }, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      assert.equal((await rig.backups.restore(id, onlyThis, caller())).outcome, "created")
      assert.equal(rig.transport.files.get(live)?.mode, 0o600)
    })
  })

  test("a rehearsal tells what would be lost, and changes nothing", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      const report = await rig.backups.restore(id, { ...onlyThis, dryRun: true }, caller())
      assert.match(report.diff ?? "", /^-# live\n-port: 81\n\+port: 80$/m)
      assert.ok(report.warnings.some(({ code }) => code === "comments_lost"))
      assert.equal(rig.text(), "# live\nport: 81\n")
    })
  })

  test("never stands for what is found, even where the bytes are the same: it has no mode and owner", async () => {
    await withRig({ ...options, files: { [live]: file("port: 80\n", 0o604, owner) } }, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      const report = await rig.put("port: 82\n")
      assert.notEqual(report.backupId, id)
      const found = await rig.catalog.getVersion(report.backupId ?? "")
      assert.deepEqual([found?.trigger, found?.mode], ["found", 0o604])
      // It is no blob of ours, and not being found among those says nothing of it.
      assert.equal((await rig.catalog.getVersion(id))?.state, "ok")
    })
  })

  test("does not hold up a change of its config by being gone or locked", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      rmSync(join(rig.legacyDir, id))
      assert.equal((await rig.put("port: 82\n")).outcome, "written")
    })
  })

  test("is compared with the live file, with the one before, and with one of ours", async () => {
    await withRig(options, async (rig) => {
      const first = await enter(rig, '{"port": 79}', { stamp: stamps[0] })
      const second = await enter(rig, '{"port": 80}', { stamp: stamps[1] })
      const against = async (id: string, what: string) => (await rig.backups.diff(id, what, caller())).unified
      assert.match(await against(second, "live"), /^-# live\n-port: 81\n\+port: 80$/m)
      assert.match(await against(second, "previous"), /^-port: 79\n\+port: 80$/m)
      assert.equal((await refusal(rig.backups.diff(first, "previous", caller()))).code, "backup_not_found")
      const { versionId } = await rig.put("port: 82\n")
      assert.match(await against(second, versionId ?? ""), /^-port: 82\n\+port: 80$/m)
      assert.match(await against(versionId ?? "", first), /^-port: 79\n\+port: 82$/m)
    })
  })

  test("is verified, and its state follows what is found", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      assert.equal((await rig.backups.verify(id)).ok, true)
      assert.notEqual((await rig.versions())[0]?.verifiedAt, null)
      const sound = readFileSync(join(rig.legacyDir, id))
      writeFileSync(
        join(rig.legacyDir, id),
        sound.map((byte, at) => (at === 20 ? byte ^ 1 : byte)),
      )
      assert.equal((await rig.backups.verify(id)).ok, false)
      // The key that opened it before is loaded, so it is no matter of keys.
      assert.equal((await rig.versions())[0]?.state, "damaged")
      rmSync(join(rig.legacyDir, id))
      await rig.backups.verify(id)
      assert.equal((await rig.versions())[0]?.state, "missing")
      writeFileSync(join(rig.legacyDir, id), sound)
      await rig.backups.verify(id)
      assert.equal((await rig.versions())[0]?.state, "ok")
    })
  })

  test("is no damage when its type has another format now: today's bytes are answered, and verify says so", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      await changeType(rig, { format: "json" })
      assert.equal((await rig.backups.content(id)).bytes.toString(), '{\n  "port": 80\n}\n')
      const report = await rig.backups.verify(id)
      assert.equal(report.ok, true)
      assert.match(report.checks.find(({ name }) => name === "digest")?.detail ?? "", /format was changed/)
      assert.equal((await rig.versions())[0]?.state, "ok")
    })
  })

  test("names what a restore would write in its type's new format from the next start on, and is the same backup", async () => {
    await withRig(options, async (rig) => {
      const id = putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', key)
      await rig.reconcile()
      await changeType(rig, { format: "json" })
      await rig.reconcile()
      const written = Buffer.from('{\n  "port": 80\n}\n')
      const [version] = await rig.versions()
      assert.deepEqual([version?.digest, version?.size, version?.state], [digestOf(written), written.length, "ok"])
      const { ok, checks } = await rig.backups.verify(id)
      assert.deepEqual([ok, checks.some(({ detail }) => /was changed since/.test(detail))], [true, false])
    })
  })

  test("is not opened again at each start: there may be thousands", async () => {
    await withRig(options, async (rig) => {
      const id = putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', key)
      await rig.reconcile()
      writeFileSync(join(rig.legacyDir, id), "rotten")
      await rig.reconcile()
      assert.equal((await rig.versions())[0]?.state, "ok")
      assert.equal((await rig.backups.verify(id)).ok, false)
    })
  })

  test("is the one that was entered also where another release wrote its value down otherwise, and another is not", async () => {
    await withRig(options, async (rig) => {
      const id = putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"commit": "5e12345"}', key)
      await rig.reconcile()
      const enterAs = async (bytes: string): Promise<void> => {
        const row = (await rig.catalog.getVersion(id)) ?? assert.fail()
        const digest = digestOf(Buffer.from(bytes))
        await rig.catalog.importVersions([{ ...row, digest, size: bytes.length }])
        await rig.catalog.setFact(`legacy_written:${ref.vmId}/${ref.type}`, "0 yaml")
      }
      await enterAs("commit: 5e12345\n")
      assert.equal((await rig.backups.content(id)).bytes.toString(), "commit: '5e12345'\n")
      await rig.reconcile()
      assert.equal((await rig.versions())[0]?.digest, digestOf(Buffer.from("commit: '5e12345'\n")))

      putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"commit": "5e1"}', key)
      await rig.reconcile()
      assert.equal((await rig.versions())[0]?.digest, digestOf(Buffer.from("commit: '5e12345'\n")))
      assert.equal((await refusal(rig.backups.content(id))).code, "backup_corrupt")
      assert.equal((await rig.backups.verify(id)).ok, false)
    })
  })

  test("that is damaged comes back from its copy, where the same key opens that, and is kept", async (t) => {
    const place = makeTemporary("copies")
    t.after(() => removeTemporary(place))
    const target = new DirectoryTarget(place)
    const instead: RigOptions["instead"] = ({ catalog, files }) => ({
      copies: { catalog: catalog as SqliteCatalog, target, files },
    })
    await withRig({ ...options, instead }, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      const at = join(rig.legacyDir, id)
      const whole = readFileSync(at)
      putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', other)
      const anothers = readFileSync(at)
      const rotten = Buffer.concat([whole.subarray(0, -1), Buffer.of((whole.at(-1) ?? 0) ^ 1)])
      writeFileSync(at, rotten)

      for (const noHelp of [anothers, rotten]) {
        await target.put(id, noHelp)
        assert.equal((await rig.backups.verify(id)).ok, false)
        assert.deepEqual(readFileSync(at), rotten)
        assert.deepEqual(readdirSync(rig.legacyDir), [id])
      }
      await target.put(id, whole)
      const { ok, checks } = await rig.backups.verify(id)
      assert.equal(ok, true)
      assert.match(checks.at(-1)?.detail ?? "", /took the place of what stood here, which is kept as .*\.damaged\.$/)
      assert.deepEqual([readFileSync(at), readFileSync(`${at}.damaged`)], [whole, rotten])
    })
  })

  test("that was put aside under another's name is not written over by what is put aside later", async (t) => {
    const place = makeTemporary("copies")
    t.after(() => removeTemporary(place))
    const target = new DirectoryTarget(place)
    const instead: RigOptions["instead"] = ({ catalog, files }) => ({
      copies: { catalog: catalog as SqliteCatalog, target, files },
    })
    await withRig({ ...options, instead }, async (rig) => {
      const [one, two] = [await enter(rig, '{"port": 1}'), await enter(rig, '{"port": 2}', { stamp: stamps[1] })]
      const at = (name: string): string => join(rig.legacyDir, name)
      await target.put(one, readFileSync(at(one)))
      const second = readFileSync(at(two))
      renameSync(at(two), at(one))
      assert.equal((await rig.backups.verify(one)).ok, true)
      writeFileSync(at(one), Buffer.alloc(40))
      assert.equal((await rig.backups.verify(one)).ok, true)
      assert.deepEqual(readFileSync(at(`${one}.damaged`)), second)
    })
  })

  test("that was cut short before its row was made comes back from its copy, too", async (t) => {
    const place = makeTemporary("copies")
    t.after(() => removeTemporary(place))
    const target = new DirectoryTarget(place)
    const instead: RigOptions["instead"] = ({ catalog, files }) => ({
      copies: { catalog: catalog as SqliteCatalog, target, files },
    })
    await withRig({ ...options, instead }, async (rig) => {
      const id = putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', key)
      await target.put(id, readFileSync(join(rig.legacyDir, id)))
      writeFileSync(join(rig.legacyDir, id), "")
      await rig.reconcile()
      assert.equal((await rig.backups.verify(id)).ok, true)
    })
  })

  test("is not read, compared or restored as another one that changed places with it, also after a restart", async () => {
    await withRig(options, async (rig) => {
      const [one, two] = [await enter(rig, '{"port": 1}'), await enter(rig, '{"port": 2}', { stamp: stamps[1] })]
      const trade = (): void => {
        const at = (name: string): string => join(rig.legacyDir, name)
        renameSync(at(one), at("between"))
        renameSync(at(two), at(one))
        renameSync(at("between"), at(two))
      }
      trade()
      await changeType(rig, { format: "json" })
      for (const ask of [() => rig.backups.restore(one, onlyThis, caller()), () => rig.backups.content(one)]) {
        const fault = await refusal(ask())
        assert.equal(fault.code, "backup_corrupt")
        assert.match(fault.message, /holds another backup than the one that was entered/)
      }
      assert.equal((await rig.backups.verify(two)).ok, false)
      await rig.reconcile()
      assert.deepEqual(
        (await rig.versions()).map(({ state }) => state),
        ["damaged", "damaged"],
      )

      trade()
      for (const id of [one, two]) assert.equal((await rig.backups.verify(id)).ok, true)
    })
  })

  test("tells that today's format cannot hold it, and is whole all the same", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"list": [1, NaN]}')
      await changeType(rig, { format: "json" })
      await rig.catalog.markVersion(id, { state: "locked", verifiedAt: null })
      for (const ask of [() => rig.backups.content(id), () => rig.backups.diff(id, "live", caller())]) {
        assert.equal((await refusal(ask())).code, "config_unparsable")
      }
      const fault = await refusal(rig.backups.restore(id, onlyThis, caller()))
      assert.deepEqual([fault.code, fault.details.fileState], ["config_unparsable", "unchanged"])
      assert.equal(rig.text(), "# live\nport: 81\n")
      const { ok, checks } = await rig.backups.verify(id)
      assert.deepEqual([ok, checks.map(({ name }) => name)], [false, ["open", "render"]])
      assert.equal((await rig.versions())[0]?.state, "ok")
    })
  })

  test("restores numbers that the service's own reader refuses, and shows them as text only", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"limit": Infinity, "id": 123456789012345678901234567890}')
      const content = await rig.backups.content(id)
      assert.throws(() => content.document(), { code: "config_unparsable" })
      const report = await rig.backups.restore(id, onlyThis, caller())
      assert.equal(report.outcome, "written")
      assert.equal(rig.text(), "limit: .inf\nid: 123456789012345678901234567890\n")
    })
  })

  test("is shown as it was sealed when its type has left the settings", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}')
      rig.settings.inventory = new Inventory(rig.settings.inventory.vms, [], new Map())
      assert.equal((await rig.backups.content(id)).bytes.toString(), '{"port": 80}')
      assert.equal((await refusal(rig.backups.restore(id, onlyThis, caller()))).code, "config_type_not_found")
    })
  })

  test("is locked without its key: nothing is read, compared or restored", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}', { sealedWith: other })
      const [version] = await rig.versions()
      assert.deepEqual([version?.state, version?.digest, version?.size, version?.keyId], ["locked", null, null, null])
      for (const ask of [
        () => rig.backups.content(id),
        () => rig.backups.diff(id, "live", caller()),
        () => rig.backups.restore(id, onlyThis, caller()),
      ]) {
        assert.equal((await refusal(ask())).code, "backup_key_unavailable")
      }
      assert.equal((await rig.backups.verify(id)).ok, false)
      assert.equal((await rig.versions())[0]?.state, "locked")
    })
  })

  test("is had back once its key is loaded, though its row names no digest", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}', { sealedWith: other })
      putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', key)
      assert.equal((await rig.backups.content(id)).bytes.toString(), "port: 80\n")
      const { ok, checks } = await rig.backups.verify(id)
      assert.deepEqual([ok, checks.find(({ name }) => name === "digest")?.detail], [true, "The row names no digest."])
      assert.equal((await rig.versions())[0]?.state, "ok")
    })
  })

  test("is restored where nothing is known of what it held when it was entered, and the answer says so", async () => {
    await withRig(options, async (rig) => {
      const id = await enter(rig, '{"port": 80}', { sealedWith: other })
      putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', key)
      const codesOf = async (dryRun: boolean) =>
        (await rig.backups.restore(id, { ...onlyThis, dryRun }, caller())).warnings.map(({ code }) => code)

      assert.deepEqual(await codesOf(true), ["comments_lost", "origin_unproved"])
      assert.deepEqual(await codesOf(false), ["comments_lost", "origin_unproved"])
      assert.equal(rig.text(), "port: 80\n")

      // From a start at which it opens its row says what it holds; that it is of its name's config nothing says all the same.
      for (const _ of [1, 2]) {
        await rig.reconcile()
        assert.deepEqual(await codesOf(true), ["comments_lost", "origin_unproved"])
      }
    })
  })

  test("keeps its warning in a new catalog, and another one that comes in its place then is damage", async () => {
    await withRig(options, async (rig) => {
      const id = putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, "{}", other)
      await rig.reconcile()
      const first = putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 80}', key)
      for (const _ of ["key loaded", "reindex"]) {
        await rig.reconcile()
        assert.deepEqual(
          (await rig.backups.content(id)).warnings.map(({ code }) => code),
          ["comments_lost", "origin_unproved"],
        )
        await rig.catalog.forgetVersions([first])
      }
      await rig.reconcile()
      putLegacy(rig.legacyDir, { ...ref, stamp: stamps[0] }, '{"port": 81}', key)
      assert.equal((await refusal(rig.backups.content(id))).code, "backup_corrupt")
    })
  })

  test("is not restored where it is larger than its type allows", async () => {
    await withRig({ ...options, type: { maxBytes: 16 } }, async (rig) => {
      const id = await enter(rig, JSON.stringify({ name: "x".repeat(20) }))
      const fault = await refusal(rig.backups.restore(id, onlyThis, caller()))
      assert.deepEqual([fault.code, fault.details.fileState], ["body_too_large", "unchanged"])
    })
  })
})
