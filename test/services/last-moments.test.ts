import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import { Inventory } from "../../src/domain/inventory.ts"
import { file, MemoryTransport } from "../fakes/memory-transport.ts"
import { anyone, caller, edit, live, lost, path, type Rig, type RigOptions, ref, refusal, withRig } from "./rig.ts"

const old = "port: 80\n"
const next = "port: 81\n"
const digest = (text: string): string => digestOf(Buffer.from(text))

/** Somebody writes to the live file the moment that the journal says a rollback begins. */
function whenRollingBack(text: string): RigOptions["instead"] {
  return ({ transport }) => ({
    failpoint: async (step) => {
      const found = step === "rolling_back" && transport instanceof MemoryTransport ? transport.files.get(live) : null
      if (found) found.bytes = Buffer.from(text)
    },
  })
}

suite("bytes that stand nowhere else", () => {
  test("are kept when two editors meet a swap whose answer is lost", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, file("by: editor two\n")), "after")
      rig.transport.failNext("swap", lost(), { applied: true })
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "unknown"])
      assert.equal(rig.text(), "by: editor two\n")
      assert.deepEqual(
        (await rig.versions()).map((version) => version.digest),
        [digest("by: editor one\n"), digest(old)],
      )
    })
  })

  test("stay under the second name, and the operation open, for as long as they cannot be kept", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 300 }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, file("by: editor two\n")), "after")
      rig.transport.onStep("swap", () => void rig.blobs.failing.set("put", "storage_full"), "after")
      rig.transport.failNext("swap", lost(), { applied: true })
      const fault = await refusal(rig.put(next))
      const { operationId = "" } = fault.details
      assert.equal(rig.transport.files.get(`${live}.${operationId}.old`)?.bytes.toString(), "by: editor one\n")
      assert.equal((await rig.operations.get(operationId)).state, "in_doubt")
      rig.blobs.failing.clear()
      await rig.end((each) => each.operationId === operationId)
      assert.equal((await rig.versions())[0]?.digest, digest("by: editor one\n"))
    })
  })

  test("stay when somebody writes while the edit before is about to be given back, and that one is kept", async () => {
    await withRig({ files: { [live]: file(old) }, instead: whenRollingBack("by: editor two\n") }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
      const { code, details } = await refusal(rig.put(next))
      assert.deepEqual([code, details.fileState], ["concurrent_modification", "unknown"])
      assert.equal(rig.text(), "by: editor two\n")
      assert.equal((await rig.versions())[0]?.digest, digest("by: editor one\n"))
    })
  })

  for (const [what, files] of [
    ["a file", { [live]: file(old) }],
    ["a created file", {}],
  ] as const) {
    test(`stay when somebody writes to ${what} that is about to be taken back`, async () => {
      await withRig({ files, instead: whenRollingBack("by: hand\n") }, async (rig) => {
        rig.transport.onStep(
          "swap",
          () => void Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0 }),
          "after",
        )
        rig.transport.failNext("swap", lost(), { applied: true })
        const { code, details } = await refusal(rig.put(next))
        assert.deepEqual([code, details.fileState], ["concurrent_modification", "unknown"])
        assert.equal(rig.text(), "by: hand\n")
      })
    })
  }

  for (const isLost of [false, true]) {
    const answer = isLost ? "is given back and the answer to that is lost" : "is given back"
    test(`are kept when somebody writes the moment that the edit before ${answer}`, async () => {
      await withRig({ files: { [live]: file(old) } }, async (rig) => {
        rig.transport.onStep("swap", () => edit(rig, "by: editor one\n"))
        rig.transport.onStep("rename", () => edit(rig, "by: editor two\n"))
        if (isLost) rig.transport.failNext("rename", lost(), { applied: true })
        const { code, details } = await refusal(rig.put(next))
        assert.deepEqual([code, details.fileState], ["concurrent_modification", "rolled_back"])
        assert.equal(rig.text(), "by: editor one\n")
        assert.equal((await rig.versions())[0]?.digest, digest("by: editor two\n"))
      })
    })
  }

  for (const [what, files] of [
    ["a file", { [live]: file(old) }],
    ["a created file", {}],
  ] as const) {
    test(`are kept when somebody writes to ${what} the moment that it is taken back`, async () => {
      await withRig({ files }, async (rig) => {
        rig.transport.onStep(
          "swap",
          () => void Object.assign(rig.transport.files.get(live) ?? {}, { mode: 0 }),
          "after",
        )
        rig.transport.onStep("rename", () => edit(rig, "by: hand\n"))
        rig.transport.failNext("swap", lost(), { applied: true })
        const { details } = await refusal(rig.put(next))
        assert.deepEqual([details.fileState, rig.text()], ["rolled_back", what === "a file" ? old : null])
        assert.equal((await rig.versions())[0]?.digest, digest("by: hand\n"))
      })
    })
  }

  test("are kept once more when the newest version's blob no longer opens", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const first = await rig.put(next)
      rig.blobs.damage({ ...ref, backupId: first.versionId ?? "" })
      const second = await rig.put("port: 82\n")
      assert.notEqual(second.backupId, first.versionId)
      assert.equal((await rig.backups.content(second.backupId ?? "")).bytes.toString(), next)
      assert.equal((await rig.catalog.getVersion(first.versionId ?? ""))?.state, "damaged")
      rig.blobs.damaged.clear()
    })
  })

  test("are kept by POST /backups too when the newest version's blob is gone", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      const first = await rig.backups.create(ref, caller())
      rig.blobs.blobs.clear()
      const second = await rig.backups.create(ref, caller())
      assert.equal(second.made, true)
      await rig.catalog.changeOperation((await rig.versions())[0]?.operationId ?? "", {}, { remove: [first.backupId] })
    })
  })
})

suite("a VM that does not answer while a push is taken back", () => {
  test("keeps the caller no longer than promised, and the config closed until it is done", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 300 }, async (rig) => {
      const gate = Promise.withResolvers<void>()
      rig.transport.failNext("stage", new Fault("vm_disk_full", "no space"), { killsSession: false })
      const ends = rig.transport.onStep("remove", () => gate.promise)
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["vm_disk_full", "unchanged"])
      assert.equal((await refusal(rig.put(next))).code, "operation_in_doubt")
      ends()
      gate.resolve()
      const operation = await rig.end(({ operationId }) => operationId === fault.details.operationId)
      assert.deepEqual([operation.state, operation.problem?.code], ["failed", "vm_disk_full"])
      assert.equal((await rig.put(next)).outcome, "written")
    })
  })
})

suite("a catalog that refuses a write", () => {
  test("keeps the config closed until the end of a refused push is kept", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 300 }, async (rig) => {
      rig.transport.onStep("stage", () => edit(rig, "by: hand\n"))
      refuseOnce(rig, (change) => change.finishedAt !== undefined)
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "unchanged"])
      const operation = await rig.end(({ operationId }) => operationId === fault.details.operationId)
      assert.deepEqual([operation.state, operation.problem?.code], ["failed", "concurrent_modification"])
      assert.equal((await rig.put(next)).outcome, "written")
    })
  })

  test("leaves no blob, and names none, when the rows of versions are refused", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      refuseOnce(rig, (change) => change.phase === "kept")
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.backupId], ["storage_busy", null])
      assert.equal((await rig.operations.get(fault.details.operationId ?? "")).backupId, null)
      assert.equal(rig.blobs.blobs.size, 0)
    })
  })

  test("leaves no blob when the row of a backup is refused", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      refuseOnce(rig, (change) => change.state === "succeeded")
      const fault = await refusal(rig.backups.create(ref, caller()))
      assert.equal(fault.code, "storage_busy")
      assert.deepEqual(
        [(await rig.operations.get(fault.details.operationId ?? "")).backupId, rig.blobs.blobs.size],
        [null, 0],
      )
    })
  })

  test("names no version when the store is full", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.blobs.failing.set("put", "storage_full")
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.backupId], ["storage_full", null])
    })
  })
})

suite("settings that change while an outcome is open", () => {
  for (const replaces of [true, false]) {
    test(`do not change what is found: a lower max_bytes, ${replaces ? "a replaced" : "a created"} file`, async () => {
      await withRig({ files: replaces ? { [live]: file(old) } : {} }, async (rig) => {
        rig.transport.failNext("swap", lost(), { applied: true })
        rig.transport.onStep("swap", () => changeType(rig, { maxBytes: 3 }), "after")
        const report = await rig.put(next)
        assert.equal(report.outcome, replaces ? "written" : "created")
        assert.equal((await rig.versions())[0]?.digest, digest(next))
      })
    })
  }

  test("keep a VM that was switched off from being contacted", async () => {
    await withRig({ files: { [live]: file(old) }, timeoutMs: 300 }, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.onStep("swap", () => enable(rig, false), "after")
      const fault = await refusal(rig.put(next))
      assert.equal(fault.code, "outcome_unknown")
      assert.match(rig.transport.steps.at(-1) ?? "", /^swap/)
      enable(rig, true)
      const operation = await rig.end(({ operationId }) => operationId === fault.details.operationId)
      assert.equal(operation.state, "succeeded")
    })
  })
})

suite("what is told", () => {
  test("is never `unchanged` where something stands that was not there", async () => {
    await withRig({}, async (rig) => {
      rig.transport.failNext("swap", lost(), { applied: true })
      const link = { ...file(""), kind: "symlink" as const, target: "/etc/other.yml" }
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, link), "after")
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "unknown"])
    })
  })

  test("is `rolled_back` when the answer to giving an edit back is lost", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.transport.onStep("swap", () => edit(rig, "by: hand\n"))
      rig.transport.failNext("rename", lost(), { applied: true })
      const fault = await refusal(rig.put(next))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "rolled_back"])
      assert.equal(rig.text(), "by: hand\n")
    })
  })

  test("is `unknown` when a restore of the mode was lost and somebody gave the file yet another one", async () => {
    await withRig({ files: { [live]: file(old, 0o640) } }, async (rig) => {
      const { backupId } = await rig.backups.create(ref, caller())
      rig.transport.files.set(live, file(old, 0o600))
      rig.transport.failNext("swap", lost(), { applied: true })
      rig.transport.onStep("swap", () => void rig.transport.files.set(live, file(old, 0o666)), "after")
      const options = { vmId: null, dryRun: false, precondition: anyone }
      const fault = await refusal(rig.backups.restore(backupId, options, caller()))
      assert.deepEqual([fault.code, fault.details.fileState], ["concurrent_modification", "unknown"])
    })
  })
})

suite("a dry run", () => {
  const rehearse = (rig: Rig, text: string) =>
    rig.configs.put(
      ref,
      { bytes: Buffer.from(text) },
      { validate: true, backup: true, dryRun: true, precondition: anyone },
      caller(),
    )

  test("fails as the real one does when the store is full", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      rig.blobs.failing.set("put", "storage_full")
      assert.equal((await refusal(rehearse(rig, next))).code, "storage_full")
    })
  })

  test("needs no store where nothing would be kept", async () => {
    await withRig({ files: { [live]: file(old) } }, async (rig) => {
      await rig.backups.create(ref, caller())
      rig.blobs.failing.set("put", "storage_full")
      assert.equal((await rehearse(rig, old)).outcome, "unchanged")
    })
  })

  test("does not use up what is told once", async () => {
    await withRig({ files: { [live]: file(old), [`${live}.new`]: file("x") } }, async (rig) => {
      await rehearse(rig, next)
      assert.ok((await rig.put(next)).warnings.some(({ code }) => code === "foreign_staging_file"))
    })
  })
})

/** The catalog refuses the first change that fits. */
function refuseOnce(rig: Rig, fits: (change: Parameters<Rig["catalog"]["changeOperation"]>[1]) => boolean): void {
  const change = rig.catalog.changeOperation.bind(rig.catalog)
  rig.catalog.changeOperation = async (operationId, what, versions) => {
    if (!fits(what)) return change(operationId, what, versions)
    rig.catalog.changeOperation = change
    throw new Fault("storage_busy", "The catalog was told to refuse.")
  }
}

function changeType(rig: Rig, changes: { readonly maxBytes: number }): void {
  const { vms, types } = rig.settings.inventory
  const changed = types.map((type) => ({ ...type, ...changes }))
  rig.settings.inventory = new Inventory(vms, changed, new Map([["app", { default: path }]]))
}

function enable(rig: Rig, enabled: boolean): void {
  const { vms, types } = rig.settings.inventory
  const changed = vms.map((vm) => ({ ...vm, enabled }))
  rig.settings.inventory = new Inventory(changed, types, new Map([["app", { default: path }]]))
}
