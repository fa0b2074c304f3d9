import assert from "node:assert/strict"
import { mkdir, readdir, rm, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import { after, before, suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import { SftpTarget } from "../../src/services/sftp-target.ts"
import { copyTargetContract } from "../contracts/copy-target.ts"
import { MemoryTransport } from "../fakes/memory-transport.ts"
import { transportFor } from "../ssh/transport-harness.ts"
import { type Sshd, startSshd, vmOf } from "../support/sshd.ts"

let sshd: Sshd
before(async () => {
  sshd = await startSshd()
})
after(() => sshd.stop())

let count = 0
function overSsh() {
  count += 1
  const path = join(sshd.root, `copies-${count}`)
  const transport = transportFor(sshd)
  const target = new SftpTarget({ name: "sftp://copies@far/srv", host: vmOf(sshd), path, transport })
  return { path, transport, target }
}

copyTargetContract("SftpTarget on OpenSSH", async () => {
  const { path, transport, target } = overSsh()
  await mkdir(path)
  return {
    target,
    plant: async (name, bytes) => {
      await mkdir(dirname(join(path, name)), { recursive: true })
      await writeFile(join(path, name), bytes)
    },
    files: async () => {
      const entries = await readdir(path, { recursive: true, withFileTypes: true })
      const files = entries.filter((entry) => !entry.isDirectory())
      return files.map((entry) => relative(path, join(entry.parentPath, entry.name))).sort()
    },
    close: () => transport.close(),
  }
})

suite("SftpTarget", () => {
  test("does not make the directory itself", async (t) => {
    const { path, transport, target } = overSsh()
    t.after(() => transport.close())

    await assert.rejects(target.put("vm01/central/a.cmb", Buffer.from("x")), { code: "write_failed" })

    await assert.rejects(readdir(path), { code: "ENOENT" })
  })

  test("makes directories again that have gone since", async (t) => {
    const { path, transport, target } = overSsh()
    t.after(() => transport.close())
    await mkdir(path)
    await target.put("vm01/central/a.cmb", Buffer.from("a"))
    await rm(join(path, "vm01"), { recursive: true })

    await assert.rejects(target.put("vm01/central/b.cmb", Buffer.from("b")))
    await target.put("vm01/central/b.cmb", Buffer.from("b"))

    assert.deepEqual(await readdir(join(path, "vm01/central")), ["b.cmb"])
  })

  test("says that it is full as every place does", async () => {
    const transport = new MemoryTransport({})
    const target = new SftpTarget({ name: "far", host: vmOf(sshd), path: "/srv", transport })
    transport.failNext("stage", new Fault("vm_disk_full", "No space is left."))

    await assert.rejects(target.put("keyring.json", Buffer.from("x")), { code: "storage_full" })
  })

  test("gives its session back, whatever became of the work", async () => {
    const transport = new MemoryTransport({})
    const target = new SftpTarget({ name: "far", host: vmOf(sshd), path: "/srv", transport })
    await target.put("keyring.json", Buffer.from("x"))
    transport.unreachable.add(vmOf(sshd).vmId)

    await assert.rejects(target.get("keyring.json"), { code: "vm_unreachable" })
  })
})
