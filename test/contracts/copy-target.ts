import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { afterEach, beforeEach, suite, test } from "node:test"
import type { CopyTarget } from "../../src/domain/copies.ts"

export interface CopyTargetUnderTest {
  readonly target: CopyTarget
  /** Puts a file there behind the target's back; its directories are made. */
  plant(name: string, bytes: Buffer): Promise<void>
  /** Names of all files there, hidden ones too. */
  files(): Promise<readonly string[]>
  close(): Promise<void>
}

/** What every place for copies does; `make` gives an empty one. */
export function copyTargetContract(name: string, make: () => Promise<CopyTargetUnderTest>): void {
  suite(`${name} as a CopyTarget`, { timeout: 30_000 }, () => {
    let given: CopyTargetUnderTest
    let target: CopyTarget
    beforeEach(async () => {
      given = await make()
      target = given.target
    })
    afterEach(() => given.close())

    async function listed(): Promise<readonly string[]> {
      const names: string[] = []
      for await (const each of target.list()) names.push(each)
      return names.sort()
    }

    for (const bytes of [Buffer.alloc(0), Buffer.from("text"), randomBytes(100_000)]) {
      test(`gives back ${bytes.length} bytes as they were put`, async () => {
        await target.put("vm01/central/a.cmb", bytes)

        assert.deepEqual(await target.get("vm01/central/a.cmb"), bytes)
      })
    }

    test("puts a file over another of its name, and leaves nothing else behind", async () => {
      await target.put("keyring.json", Buffer.from("a longer first one"))
      await target.put("keyring.json", Buffer.from("second"))

      assert.equal((await target.get("keyring.json"))?.toString(), "second")
      assert.deepEqual(await given.files(), ["keyring.json"])
    })

    test("is not stopped by what an attempt that did not end has left", async () => {
      await given.plant("vm01/central/.a.cmb.tmp", Buffer.from("half"))
      await target.put("vm01/central/a.cmb", Buffer.from("whole"))

      assert.equal((await target.get("vm01/central/a.cmb"))?.toString(), "whole")
      assert.deepEqual(await given.files(), ["vm01/central/a.cmb"])
    })

    test("finds nothing where nothing stands, or a directory does", async () => {
      await target.put("vm01/central/a.cmb", Buffer.from("x"))

      for (const absent of ["b.enc", "vm01/central/b.cmb", "vm02/central/a.cmb", "vm01", "vm01/central"]) {
        assert.equal(await target.get(absent), null, absent)
      }
    })

    test("removes a file and no other, and takes one that is gone for removed", async () => {
      await target.put("vm01/central/a.cmb", Buffer.from("a"))
      await target.put("vm01/central/b.cmb", Buffer.from("b"))

      await target.remove("vm01/central/a.cmb")
      await target.remove("vm01/central/a.cmb")
      await target.remove("vm09/central/a.cmb")

      assert.deepEqual(await given.files(), ["vm01/central/b.cmb"])
    })

    test("lists the names of all files, and no temporary or hidden ones", async () => {
      const names = ["keyring.json", "backup_vm01_central_20260102_030405.enc", "vm01/central/a.cmb", "vm01/env/b.cmb"]
      for (const each of names) await target.put(each, Buffer.from(each))
      await given.plant("vm01/env/.c.cmb.tmp", Buffer.from("half"))
      await given.plant(".lock", Buffer.from("x"))

      assert.deepEqual(await listed(), [...names].sort())
    })

    test("lists nothing where there is nothing", async () => {
      assert.deepEqual(await listed(), [])
    })

    for (const bad of ["", "/", "..", "../a", "/etc/passwd", "a/../b", ".hidden", "a//b", "a/b/c/d", "a\0b", "a\nb"]) {
      test(`leads nowhere for the name ${JSON.stringify(bad)}`, async () => {
        await assert.rejects(async () => target.put(bad, Buffer.from("x")))
        await assert.rejects(async () => target.get(bad))
        await assert.rejects(async () => target.remove(bad))
        assert.deepEqual(await given.files(), [])
      })
    }
  })
}
