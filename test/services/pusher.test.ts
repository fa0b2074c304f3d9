import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import { file } from "../fakes/memory-transport.ts"
import {
  anyone,
  audit,
  caller,
  edit,
  live,
  lost,
  makeRig,
  path,
  type Rig,
  type RigOptions,
  ref,
  refusal,
  withRig,
} from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const owner = { uid: 1000, gid: 33 }

suite("a push that succeeds", () => {
  test("keeps the old bytes and the new ones, and the file its mode and owner", async () => {
    await withRig({ files: { [live]: file(old, 0o640, owner) } }, async (rig) => {
      const report = await rig.put(next)
      assert.equal(report.outcome, "written")
      assert.equal(rig.text(), next)
      const { mode, uid, gid } = rig.transport.files.get(live) ?? assert.fail()
      assert.deepEqual({ mode, uid, gid }, { mode: 0o640, ...owner })
      const [written, found] = await rig.versions()
      assert.deepEqual([written?.backupId, found?.backupId], [report.versionId, report.backupId])
      assert.deepEqual([written?.digest, found?.digest], [digestOf(Buffer.from(next)), digestOf(Buffer.from(old))])
      assert.deepEqual([written?.trigger, found?.trigger], ["written", "found"])
      assert.equal(found?.supersededAt, written?.validFrom)
    })
  })

  test("makes one version only where the newest already is what stands there", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const first = await rig.put(next)
      const second = await rig.put("port: 82\n")
      assert.equal(second.backupId, first.versionId)
      assert.equal((await rig.versions()).length, 3)
    })
  })

  test("creates a file with the type's mode, and has nothing to keep of before", async () => {
    await withRig({}, async (rig) => {
      const report = await rig.put(next)
      assert.deepEqual([report.outcome, report.backupId, report.previousDigest], ["created", null, null])
      assert.equal(rig.transport.files.get(live)?.mode, 0o640)
      assert.deepEqual(
        (await rig.versions()).map((version) => version.uid),
        [rig.transport.user.uid],
      )
    })
  })

  test("leaves the same bytes alone, and keeps a version of them all the same", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const report = await rig.put(old)
      assert.equal(report.outcome, "unchanged")
      assert.deepEqual(
        rig.transport.steps.filter((step) => step.startsWith("stage")),
        [],
      )
      assert.deepEqual(
        (await rig.versions()).map((version) => version.backupId),
        [report.versionId],
      )
      await rig.put(old)
      assert.equal((await rig.versions()).length, 1)
    })
  })

  test("leaves no version behind with backup=false", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const report = await rig.put(next, { backup: false })
      assert.deepEqual([report.outcome, report.backupId, report.versionId], ["written", null, null])
      assert.deepEqual(await rig.versions(), [])
    })
  })

  test("goes on with backup=false where no version can be kept, and says so", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.blobs.failing.set("put", "backup_storage_unavailable")
      const report = await rig.put(next, { backup: false })
      assert.equal(report.outcome, "written")
      assert.deepEqual(report.warnings.map(({ code }) => code).sort(), ["no_schema", "version_not_kept"])
    })
  })

  test("works where the VM refuses second names", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.hardLinks = false
      await rig.put(next)
      assert.equal(rig.text(), next)
    })
  })

  test("gives the file to the SSH user where the type allows it, with a warning", async () => {
    await withRig(
      { files: { [live]: file(old, 0o644, { uid: 7, gid: 7 }) }, type: { keepOwner: false } },
      async (rig) => {
        rig.transport.mayGiveOwners = false
        const report = await rig.put(next)
        assert.ok(report.warnings.some(({ code }) => code === "owner_changed"))
        assert.deepEqual(
          (await rig.versions()).map(({ uid }) => uid),
          [rig.transport.user.uid, 7],
        )
      },
    )
  })

  test("tells once of a staging file that is not ours, and leaves it", async () => {
    await withRig({ files: { [live]: file(old), [`${live}.new`]: file("x") } }, async (rig) => {
      const codes = async (text: string) => (await rig.put(text)).warnings.map(({ code }) => code)
      assert.ok((await codes(next)).includes("foreign_staging_file"))
      assert.ok(!(await codes("port: 82\n")).includes("foreign_staging_file"))
      assert.equal(rig.transport.files.get(`${live}.new`)?.bytes.toString(), "x")
    })
  })
})

suite("a push that is refused before the swap", () => {
  const cases: readonly { name: string; arrange: (rig: Rig) => void; code: string; kept: number }[] = [
    {
      name: "no version can be kept",
      arrange: (rig) => rig.blobs.failing.set("put", "storage_full"),
      code: "storage_full",
      kept: 0,
    },
    {
      name: "the staging file cannot be written",
      arrange: (rig) => rig.transport.failNext("stage", new Fault("vm_disk_full", "full")),
      code: "vm_disk_full",
      kept: 1,
    },
    {
      name: "the owner cannot be given",
      arrange: (rig) => {
        rig.transport.mayGiveOwners = false
      },
      code: "vm_permission_denied",
      kept: 1,
    },
    {
      name: "the rename is refused",
      arrange: (rig) => rig.transport.failNext("swap", new Fault("vm_permission_denied", "no")),
      code: "vm_permission_denied",
      kept: 1,
    },
    {
      name: "the connection is lost while staging",
      arrange: (rig) => rig.transport.failNext("stage", lost()),
      code: "connection_lost",
      kept: 1,
    },
    {
      name: "the connection is lost while staging, and the file was written",
      arrange: (rig) => rig.transport.failNext("stage", lost("vm_timeout"), { applied: true }),
      code: "vm_timeout",
      kept: 1,
    },
    {
      name: "the connection is lost at the second look",
      arrange: (rig) => rig.transport.failNext("read", lost(), { skip: 1 }),
      code: "connection_lost",
      kept: 1,
    },
  ]
  for (const { name, arrange, code, kept } of cases) {
    test(`leaves the live file alone when ${name}`, async () => {
      await withRig({ files: { [live]: file(old, 0o640, { uid: 7, gid: 7 }) } }, async (rig) => {
        arrange(rig)
        const fault = await refusal(rig.put(next))
        assert.equal(fault.code, code)
        assert.equal(fault.details.fileState, "unchanged")
        assert.equal(rig.text(), old)
        const operation = await rig.end(({ operationId }) => operationId === fault.details.operationId)
        assert.deepEqual([operation.state, operation.fileState, operation.problem?.code], ["failed", "unchanged", code])
        rig.blobs.failing.clear()
        assert.equal((await rig.versions()).length, kept)
      })
    })
  }

  test("sees an edit during the push, and leaves it", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.onStep("stage", () => edit(rig, "edited: by hand\n"))
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "unchanged"])
      assert.equal(rig.text(), "edited: by hand\n")
    })
  })

  test("sees a change of mode alone during the push", async () => {
    await withRig({ files: { [live]: file(old, 0o644) } }, async (rig) => {
      rig.transport.onStep("stage", () => {
        const found = rig.transport.files.get(live)
        if (found) found.mode = 0o600
      })
      assert.equal((await refusal(rig.put(next))).code, "concurrent_modification")
      assert.equal(rig.transport.files.get(live)?.mode, 0o600)
    })
  })

  test("sees a file that somebody created meanwhile, and leaves it", async () => {
    await withRig({}, async (rig) => {
      rig.transport.onStep("stage", () => void rig.transport.files.set(live, file("somebody: else\n")))
      assert.equal((await refusal(rig.put(next))).code, "concurrent_modification")
      assert.equal(rig.text(), "somebody: else\n")
    })
  })

  test("holds If-Match against the live file, and tells what stands there", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const fault = await refusal(rig.put(next, { precondition: { ...anyone, ifMatch: ["0".repeat(64)] } }))
      assert.deepEqual([fault.code, fault.details.currentDigest], ["precondition_failed", digestOf(Buffer.from(old))])
      assert.deepEqual(await rig.versions(), [])
    })
  })

  test("ends when the caller hangs up before the swap", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const hangUp = new AbortController()
      rig.transport.onStep("stage", () => hangUp.abort(), "after")
      const fault = await refusal(rig.put(next, { signal: hangUp.signal }))
      assert.equal(fault.code, "request_timeout")
      assert.equal(rig.text(), old)
    })
  })

  test("goes through when the caller hangs up at the swap", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const hangUp = new AbortController()
      rig.transport.onStep("swap", () => hangUp.abort())
      await rig.put(next, { signal: hangUp.signal })
      assert.equal(rig.text(), next)
    })
  })

  test("leaves a row of every attempt, with its problem", async () => {
    await withRig({}, async (rig) => {
      rig.transport.unreachable.add("vm01")
      const fault = await refusal(rig.put(next))
      const operation = await rig.operations.get(fault.details.operationId ?? "")
      assert.deepEqual([operation.state, operation.problem?.code], ["failed", "vm_unreachable"])
      assert.equal(rig.ended.length, 1)
    })
  })
})

suite("a push whose answer to the swap is lost", () => {
  test("finds out that the new bytes stand there, and ends as if nothing had happened", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      const report = await rig.put(next)
      assert.equal(report.outcome, "written")
      assert.equal((await rig.operations.get(report.operationId ?? "")).state, "succeeded")
      assert.equal((await rig.versions()).length, 2)
    })
  })

  test("finds out that the old bytes stand there, and says so", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", lost())
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["connection_lost", "unchanged"])
      assert.equal(rig.text(), old)
      assert.equal((await rig.versions()).length, 1)
    })
  })

  test("removes the staging file before it reads, so that a late rename finds nothing", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", lost())
      await refusal(rig.put(next))
      const after = rig.transport.steps.slice(rig.transport.steps.findIndex((step) => step.startsWith("swap")) + 1)
      // Whether it stood tells that the rename was not done.
      assert.match(after[1] ?? "", /^exists .*\.new$/)
      assert.match(after[2] ?? "", /^remove .*\.new$/)
      assert.match(after[3] ?? "", /^read /)
    })
  })

  test("touches nothing when neither the old nor the new bytes stand there", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, file("somebody: else\n")), "after")
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "unknown"])
      assert.equal(rig.text(), "somebody: else\n")
    })
  })

  test("keeps the old bytes then even with backup=false: they stand nowhere else any more", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, file("somebody: else\n")), "after")
      const fault = await refusal(rig.put(next, { backup: false }))
      assert.deepEqual(
        (await rig.versions()).map(({ digest }) => digest),
        [digestOf(Buffer.from(old))],
      )
      assert.equal(fault.details.backupId, (await rig.versions())[0]?.backupId)
    })
  })

  test("ends where the old bytes stand nowhere and could not be kept either, with backup=false", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.blobs.failing.set("put", "storage_full")
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, file("somebody: else\n")), "after")
      const fault = await refusal(rig.put(next, { backup: false }))
      assert.deepEqual([fault.code, fault.details.backupId], ["concurrent_modification", null])
    })
  })

  test("answers outcome_unknown while the VM is away, closes the config, and goes on until it knows", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 800 }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      const ends = rig.transport.onStep("swap", () => void rig.transport.unreachable.add("vm01"), "after")
      const fault = await refusal(rig.put(next))
      ends()
      assert.deepEqual([fault.code, fault.details.fileState], ["outcome_unknown", "unknown"])
      const { operationId = "" } = fault.details
      assert.equal((await rig.operations.get(operationId)).state, "in_doubt")
      assert.equal((await refusal(rig.put("port: 82\n"))).code, "operation_in_doubt")
      rig.transport.unreachable.clear()
      const operation = await rig.end((each) => each.operationId === operationId)
      assert.deepEqual([operation.state, operation.fileState], ["succeeded", "written"])
      assert.equal((await rig.put("port: 82\n")).outcome, "written")
    })
  })

  test("ends as unknown when the VM leaves the settings meanwhile", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 800 }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.onStep("swap", () => void rig.transport.unreachable.add("vm01"), "after")
      const { operationId } = (await refusal(rig.put(next))).details
      rig.settings.inventory = new (
        rig.settings.inventory.constructor as typeof import("../../src/domain/inventory.ts").Inventory
      )([], [], new Map())
      const operation = await rig.end((each) => each.operationId === operationId)
      assert.deepEqual([operation.state, operation.fileState], ["failed", "unknown"])
      rig.transport.files.delete(`${live}.${operationId}.old`)
    })
  })
})

suite("a push that is edited in the last moment", () => {
  test("gives an edit between the second look and the rename back", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "edited: by hand\n"))
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "rolled_back"])
      assert.equal(rig.text(), "edited: by hand\n")
      assert.equal((await rig.versions()).length, 1)
    })
  })

  for (const [what, change] of [
    ["mode", { mode: 0o600 }],
    ["owner", { uid: 0, gid: 0 }],
  ] as const) {
    test(`gives a change of ${what} alone between the second look and the rename back`, async () => {
      await withRig({ files: { [live]: file(old) } }, async (rig) => {
        rig.transport.onStep("swap", () => void Object.assign(rig.transport.files.get(live) ?? {}, change))
        const fault = await refusal(rig.put(next))
        assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "rolled_back"])
        const { bytes, mtime: _, ...stands } = rig.transport.files.get(live) ?? file("")
        assert.equal(bytes.toString(), old)
        assert.deepEqual(stands, { mode: 0o644, uid: 1000, gid: 1000, kind: "file", target: "", ...change })
      })
    })
  }

  test("puts the old file back when the new one does not have its mode", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      rig.transport.onStep("swap", () => spoil(rig), "before")
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["write_failed", "rolled_back"])
      assert.equal(rig.text(), old)
      assert.equal(rig.transport.files.get(live)?.mode, 0o640)
    })
  })

  test("puts the old bytes back from the version where there is no second name", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      rig.transport.hardLinks = false
      const ends = rig.transport.onStep("swap", () => spoil(rig), "before")
      const fault = await refusal(rig.put(next))
      ends()
      assert.deepEqual([fault.code, fault.details.fileState], ["write_failed", "rolled_back"])
      assert.equal(rig.text(), old)
    })
  })

  test("removes a created file whose mode is wrong", async () => {
    await withRig({}, async (rig) => {
      rig.transport.onStep("swap", () => spoil(rig), "before")
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["write_failed", "rolled_back"])
      assert.equal(rig.text(), null)
    })
  })

  test("ends as rolled back when the answer to the rename of the rollback is lost", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      const ends = rig.transport.onStep("swap", () => spoil(rig), "before")
      rig.transport.failNext("rename", lost(), { applied: true })
      const fault = await refusal(rig.put(next))
      ends()
      assert.equal(rig.text(), old)
      const operation = await rig.end((each) => each.operationId === fault.details.operationId)
      assert.deepEqual([operation.state, operation.fileState], ["rolled_back", "rolled_back"])
    })
  })

  test("says when the rollback fails, and goes on until the old bytes are back", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      const ends = rig.transport.onStep("swap", () => spoil(rig), "before")
      rig.transport.failNext("rename", new Fault("write_failed", "no"), { killsSession: false })
      const fault = await refusal(rig.put(next))
      ends()
      assert.deepEqual([fault.code, fault.details.fileState], ["rollback_failed", "written"])
      const operation = await rig.end((each) => each.operationId === fault.details.operationId)
      assert.deepEqual([operation.state, operation.fileState], ["rolled_back", "rolled_back"])
      assert.equal(rig.text(), old)
    })
  })
})

suite("a restart", () => {
  const steps = ["prepare", "stage", "swap before", "swap after"] as const
  for (const step of steps) {
    test(`resolves a push that ended with its process at: ${step}`, async () => {
      const rig = await makeRig({ files: { [live]: file(old, 0o640, owner) }, timeoutMs: 800 })
      const [name, when = "after"] = step.split(" ") as [string, "before" | "after" | undefined]
      // From that step on the VM answers nobody, and the process ends: what is left is what a kill leaves.
      const hold = rig.transport.onStep(
        name === "prepare" ? "stage" : (name as "stage"),
        () => {
          rig.transport.unreachable.add("vm01")
          rig.transport.breakConnection("vm01")
          throw lost()
        },
        name === "prepare" ? "before" : when,
      )
      await refusal(rig.put(next))
      hold()
      await rig.stop()
      rig.transport.unreachable.clear()
      const again = await makeRig({ after: rig })
      const open = await again.catalog.openOperations()
      assert.equal(open.length, 1)
      assert.equal(await again.resolver.takeUp(), 1)
      assert.equal((await refusal(again.put("port: 82\n"))).code, "operation_in_doubt")
      const operation = await again.end(({ operationId }) => operationId === open[0]?.operation.operationId)
      const applied = step === "swap after"
      assert.equal(operation.state, applied ? "succeeded" : "failed")
      assert.equal(again.text(), applied ? next : old)
      assert.equal((await again.versions()).length, applied ? 2 : 1)
      await audit(again)
      await again.stop()
      await again.remove()
    })
  }
})

suite("Backups.restore", () => {
  test("puts bytes, mode and owner back", async () => {
    await withRig({ files: { [live]: file(old, 0o640, owner) } }, async (rig) => {
      const { backupId } = await rig.put(next)
      rig.transport.files.set(live, file("x: 1\n", 0o600, { uid: 1, gid: 1 }))
      const report = await rig.backups.restore(
        backupId ?? "",
        { vmId: null, dryRun: false, precondition: anyone },
        caller(),
      )
      assert.deepEqual([report.outcome, report.restoredFrom, report.schemaValid], ["written", backupId, null])
      const { mode, uid, gid, bytes } = rig.transport.files.get(live) ?? assert.fail()
      assert.deepEqual({ mode, uid, gid, text: bytes.toString() }, { mode: 0o640, ...owner, text: old })
    })
  })

  test("goes on where too many configs wait to be held against a schema, and says that nobody knows", async () => {
    const instead: RigOptions["instead"] = ({ validator }) => ({
      validator: { ...validator, validate: () => Promise.reject(new Fault("config_busy", "Too many wait.")) },
    })
    await withRig({ files: { [live]: file(old) }, type: { schemaFile: "app.schema.json" }, instead }, async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      rig.transport.files.set(live, file("x: 1\n"))

      const report = await rig.backups.restore(backupId, { vmId: null, dryRun: false, precondition: anyone }, caller())

      assert.deepEqual([report.outcome, report.schemaValid, rig.text()], ["written", null, old])
    })
  })

  test("writes when only the mode differs, and keeps the found attributes as a version", async () => {
    await withRig({ files: { [live]: file(old, 0o640, owner) } }, async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      rig.transport.files.set(live, file(old, 0o600, owner))
      const report = await rig.backups.restore(backupId, { vmId: null, dryRun: false, precondition: anyone }, caller())
      assert.equal(report.outcome, "written")
      assert.equal(rig.transport.files.get(live)?.mode, 0o640)
      assert.deepEqual(
        (await rig.versions()).map(({ mode }) => String(mode)),
        ["0640", "0600", "0640"],
      )
    })
  })

  test("finds out a lost swap that changed the mode only", async () => {
    for (const applied of [true, false]) {
      await withRig({ files: { [live]: file(old, 0o640, owner) } }, async (rig) => {
        const { backupId } = await rig.backups.create(ref, caller())
        rig.transport.files.set(live, file(old, 0o600, owner))
        rig.transport.failNext("swap", lost(), { applied })
        const restored = rig.backups.restore(backupId, { vmId: null, dryRun: false, precondition: anyone }, caller())
        if (applied) assert.equal((await restored).outcome, "written")
        else assert.equal((await refusal(restored)).code, "connection_lost")
        assert.equal(rig.transport.files.get(live)?.mode, applied ? 0o640 : 0o600)
      })
    }
  })

  test("keeps the other VM's mode and owner when it goes there", async () => {
    const other = `vm02:${path}`
    await withRig(
      { files: { [live]: file(old, 0o640, owner), [other]: file("x: 1\n", 0o604, { uid: 5, gid: 6 }) } },
      async (rig) => {
        const { backupId } = await rig.backups.create(ref, caller())
        await rig.backups.restore(backupId, { vmId: "vm02", dryRun: false, precondition: anyone }, caller())
        const { mode, uid, gid, bytes } = rig.transport.files.get(other) ?? assert.fail()
        assert.deepEqual({ mode, uid, gid, text: bytes.toString() }, { mode: 0o604, uid: 5, gid: 6, text: old })
      },
    )
  })

  test("writes nothing from a version that is damaged or gone", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      rig.blobs.damage({ ...ref, backupId })
      const options = { vmId: null, dryRun: false, precondition: anyone }
      edit(rig, next)
      assert.equal((await refusal(rig.backups.restore(backupId, options, caller()))).code, "backup_corrupt")
      assert.equal(rig.text(), next)
      rig.blobs.damaged.clear()
    })
  })

  test("changes nothing in a dry run, and leaves no operation", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      edit(rig, next)
      const before = rig.ended.length
      const report = await rig.backups.restore(backupId, { vmId: null, dryRun: true, precondition: anyone }, caller())
      assert.deepEqual([report.outcome, report.dryRun, report.operationId], ["written", true, null])
      assert.match(report.diff ?? "", /-port: 81\n\+port: 80\n/)
      assert.equal(rig.text(), next)
      assert.equal(rig.ended.length, before)
    })
  })
})

suite("Backups.create", () => {
  test("makes a version once, however often it is asked", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const first = await rig.backups.create(ref, caller())
      const second = await rig.backups.create(ref, caller())
      assert.deepEqual([first.made, second.made, second.backupId], [true, false, first.backupId])
    })
  })

  test("keeps nothing where no file stands, and leaves the attempt's row", async () => {
    await withRig({}, async (rig) => {
      const fault = await refusal(rig.backups.create(ref, caller()))
      assert.equal(fault.code, "config_not_found")
      assert.equal((await rig.operations.get(fault.details.operationId ?? "")).kind, "backup")
    })
  })

  test("keeps no row when the blob cannot be kept", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.blobs.failing.set("put", "storage_full")
      assert.equal((await refusal(rig.backups.create(ref, caller()))).code, "storage_full")
      assert.deepEqual(await rig.versions(), [])
    })
  })
})

suite("a config whose path was moved in the settings", () => {
  const [moved, movedLive] = ["/srv/app.yml", "vm01:/srv/app.yml"]
  const move = ({ settings }: Rig): void => {
    const { vms, types } = settings.inventory
    settings.inventory = new Inventory(vms, types, new Map([["app", { default: moved }]]))
  }
  const told = async (rig: Rig) => (await rig.versions()).map(({ path: at, trigger }) => [at, trigger])

  const files = { [live]: file(old), [movedLive]: file(old) }
  const ways: readonly [string, (rig: Rig) => Promise<unknown>][] = [
    ["a backup", ({ backups }) => backups.create(ref, caller(), "found")],
    ["a push of the same bytes", (rig) => rig.put(old)],
  ]
  for (const [what, keep] of ways) {
    test(`has a version of the same bytes at the new path by ${what}, and one only`, async () => {
      await withRig({ files }, async (rig) => {
        await keep(rig)
        move(rig)
        await keep(rig)
        await keep(rig)
        assert.deepEqual(await told(rig), [
          [moved, "found"],
          [path, "found"],
        ])
      })
    })
  }

  test("has what a push replaces there kept as found there, and restored there", async () => {
    await withRig({ files }, async (rig) => {
      await rig.put(old)
      move(rig)
      const { backupId } = await rig.put(next)
      assert.deepEqual(await told(rig), [
        [moved, "written"],
        [moved, "found"],
        [path, "found"],
      ])
      const [, , first] = await rig.versions()
      assert.notEqual(backupId, first?.backupId)
      await rig.backups.restore(first?.backupId ?? "", { vmId: null, dryRun: false, precondition: anyone }, caller())
      assert.equal(rig.transport.files.get(movedLive)?.bytes.toString(), old)
    })
  })
})

/** Takes the mode of the staging file away just before it is renamed. */
function spoil(rig: Rig): void {
  for (const [name, found] of rig.transport.files) if (name.endsWith(".new")) found.mode = 0
}
