import assert from "node:assert/strict"
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type TestContext, test } from "node:test"
import { Inventory } from "../../src/domain/inventory.ts"
import { transportFor } from "../ssh/transport-harness.ts"
import { startSshd, vmOf } from "../support/sshd.ts"
import { makeRig, refusal } from "./rig.ts"

const old = "port: 80\n"

/** A config at current/app.yml on a real VM: `current` is a symlink to `one`, and led to `two` once `step` is past. */
async function arrange(t: TestContext, step: string) {
  const sshd = await startSshd()
  const at = (name: string): string => join(sshd.root, name)
  for (const release of ["one", "two"]) {
    mkdirSync(at(release))
    writeFileSync(join(at(release), "app.yml"), old)
  }
  symlinkSync("one", at("current"))
  symlinkSync("two", at("next"))
  const transport = transportFor(sshd)
  const rig = await makeRig({
    instead: ({ inventory }) => {
      const path = join(at("current"), "app.yml")
      const only = new Inventory([vmOf(sshd)], inventory().types, new Map([["app", { default: path }]]))
      const failpoint = async (name: string): Promise<void> => {
        if (name === step) renameSync(at("next"), at("current"))
      }
      return { transport, inventory: () => only, failpoint }
    },
  })
  t.after(async () => {
    await rig.stop()
    await transport.close()
    await sshd.stop()
    await rig.remove()
  })
  return { rig, at }
}

test("a directory that is led elsewhere while a push prepares stops it, and nothing is left in either", async (t) => {
  const { rig, at } = await arrange(t, "staged")
  const { code, details } = await refusal(rig.put("port: 81\n"))
  assert.deepEqual([code, details.fileState], ["concurrent_modification", "unchanged"])
  for (const release of ["one", "two"]) {
    assert.deepEqual(readdirSync(at(release)), ["app.yml"])
    assert.equal(readFileSync(join(at(release), "app.yml"), "utf8"), old)
  }
})

test("a directory that is led elsewhere right before the rename does not part a push from its own files", async (t) => {
  const { rig, at } = await arrange(t, "looked")
  await rig.put("port: 81\n")
  for (const release of ["one", "two"]) assert.deepEqual(readdirSync(at(release)), ["app.yml"])
  assert.equal(readFileSync(join(at("two"), "app.yml"), "utf8"), old)
})
