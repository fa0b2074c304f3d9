import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { Fault } from "../../src/domain/fault.ts"
import type { OpenOptions, ReadOptions } from "../../src/domain/transport.ts"
import type { Vm } from "../../src/domain/vm.ts"
import { type Standing, transportContract } from "../contracts/transport.ts"
import { textOf } from "../contracts/transport-scene.ts"
import { vmOf } from "../support/sshd.ts"
import { file, type MemoryFile, MemoryTransport, nowSeconds } from "./memory-transport.ts"

const asItself: OpenOptions = { become: false, sftpServer: null }
const plain: ReadOptions = { maxBytes: 1024, followSymlinks: false }
const paths = { path: "/a", stagingPath: "/a.new", oldPath: "/a.old", replaces: true }
const staged = { bytes: Buffer.from("new"), mode: 0o600, owner: null, keepOwner: true }
const lost = new Fault("connection_lost", "cut")

function vm(vmId: string): Vm {
  return vmOf({ host: "127.0.0.1", port: 22, user: "u", clientKeyPath: "" }, { vmId })
}

transportContract("MemoryTransport", async () => {
  const transport = new MemoryTransport()
  transport.unreachable.add("vm99")
  const at = (path: string) => transport.files.get(`vm01:${path}`) ?? null
  const put = async (path: string, change: Partial<MemoryFile>) => {
    transport.files.set(`vm01:${path}`, { ...file(""), mtime: nowSeconds(), ...change })
  }
  return {
    transport,
    vm: vm("vm01"),
    unreachable: vm("vm99"),
    path: (name) => `/etc/${name}`,
    write: (path, bytes, mode = 0o644) => put(path, { bytes: Buffer.from(bytes), mode }),
    readBack: async (path) => at(path)?.bytes ?? null,
    stat: async (path): Promise<Standing | null> => {
      const found = at(path)
      return found && { kind: found.kind === "fifo" ? "other" : found.kind, mode: found.mode, inode: found }
    },
    mkdir: (path) => put(path, { kind: "directory" }),
    symlink: (target, path) => put(path, { kind: "symlink", target }),
    fifo: (path) => put(path, { kind: "fifo" }),
    breakConnection: () => transport.breakConnection("vm01"),
    close: () => transport.close(),
  }
})

suite("MemoryTransport", () => {
  test("fails a step before it takes effect, once, and the session goes on", async () => {
    const fleet = new MemoryTransport({ "vm01:/a": file("old") })
    const session = await fleet.open(vm("vm01"), asItself)
    fleet.failNext("rename", new Fault("write_failed", "no"))
    await assert.rejects(session.rename("/a", "/b"), { code: "write_failed" })
    assert.equal(fleet.files.has("vm01:/a"), true)
    await session.rename("/a", "/b")
    assert.equal(fleet.files.has("vm01:/a"), false)
  })

  test("loses an answer: the swap has happened, the session is dead, a new one works", async () => {
    const fleet = new MemoryTransport({ "vm01:/a": file("old") })
    const session = await fleet.open(vm("vm01"), asItself)
    await session.stage("/a.new", staged)
    fleet.failNext("swap", lost, { applied: true })
    await assert.rejects(session.swap(paths, plain), { code: "connection_lost" })
    assert.equal(session.dead, true)
    const next = await fleet.open(vm("vm01"), asItself)
    assert.equal((await next.read("/a", plain))?.bytes.toString(), "new")
    assert.equal((await next.read("/a.old", plain))?.bytes.toString(), "old")
  })

  test("loses a request: nothing has happened, the session is dead", async () => {
    const fleet = new MemoryTransport({ "vm01:/a": file("old") })
    const session = await fleet.open(vm("vm01"), asItself)
    await session.stage("/a.new", staged)
    fleet.failNext("swap", lost)
    await assert.rejects(session.swap(paths, plain), { code: "connection_lost" })
    assert.equal(session.dead, true)
    assert.equal(fleet.files.get("vm01:/a")?.bytes.toString(), "old")
  })

  test("lets as many steps pass, and fails as many, as it is told; then the next failure's turn comes", async () => {
    const fleet = new MemoryTransport()
    const session = await fleet.open(vm("vm01"), asItself)
    fleet.failNext("exists", new Fault("write_failed", "first"), { skip: 2, times: 2 })
    fleet.failNext("exists", new Fault("write_failed", "second"))
    const outcomes: string[] = []
    for (let n = 0; n < 6; n++) {
      outcomes.push(await session.exists("/a").then(String, (error: Error) => error.message))
    }
    assert.deepEqual(outcomes, ["false", "false", "first", "first", "second", "false"])
  })

  test("kills or spares the session as it is told, and others of the same VM with it", async () => {
    const fleet = new MemoryTransport()
    const session = await fleet.open(vm("vm01"), asItself)
    const other = await fleet.open(vm("vm01"), asItself)
    const elsewhere = await fleet.open(vm("vm02"), asItself)
    fleet.failNext("exists", lost, { killsSession: false })
    await assert.rejects(session.exists("/a"), { code: "connection_lost" })
    assert.equal(session.dead, false)
    fleet.failNext("exists", new Fault("write_failed", "no"), { killsSession: true })
    await assert.rejects(session.exists("/a"), { code: "write_failed" })
    assert.deepEqual([session.dead, other.dead, elsewhere.dead], [true, true, false])
  })

  test("fails to open", async () => {
    const fleet = new MemoryTransport()
    fleet.failNext("open", new Fault("vm_auth_failed", "no"))
    await assert.rejects(fleet.open(vm("vm01"), asItself), { code: "vm_auth_failed" })
    await fleet.open(vm("vm01"), asItself)
  })

  test("runs hooks right before and right after a step, until they are taken off", async () => {
    const fleet = new MemoryTransport({ "vm01:/a": file("old") })
    const session = await fleet.open(vm("vm01"), asItself)
    await session.stage("/a.new", staged)
    const off = fleet.onStep("swap", () => void fleet.files.set("vm01:/a", file("edited")))
    fleet.onStep("swap", ({ vmId, paths: [path] }) => void fleet.files.set(`${vmId}:${path}`, file("after")), "after")
    const report = await session.swap(paths, plain)
    assert.deepEqual([textOf(report.live), textOf(report.old)], ["new", "edited"])
    assert.equal(fleet.files.get("vm01:/a")?.bytes.toString(), "after")
    off()
    await session.stage("/a.new", staged)
    assert.equal(textOf((await session.swap({ ...paths, oldPath: "/a.old2" }, plain)).old), "after")
  })

  test("tells which steps were taken, in order", async () => {
    const fleet = new MemoryTransport()
    const session = await fleet.open(vm("vm01"), asItself)
    await session.stage("/a.new", staged)
    await session.swap({ ...paths, replaces: false }, plain)
    await session.remove(["/x", "/y"])
    await session.run("true", { timeoutMs: 1, maxOutputBytes: 1 })
    assert.deepEqual(fleet.steps, ["open vm01", "stage vm01:/a.new", "swap vm01:/a", "remove vm01:/x,/y", "run vm01"])
  })

  test("refuses to give files to others, or leaves them the user's, where the user may not", async () => {
    const fleet = new MemoryTransport()
    fleet.mayGiveOwners = false
    const session = await fleet.open(vm("vm01"), asItself)
    const foreign = { ...staged, owner: { uid: 0, gid: 0 } }
    await assert.rejects(session.stage("/a.new", foreign), { code: "vm_permission_denied" })
    assert.equal(fleet.files.size, 0)
    assert.deepEqual(await session.stage("/a.new", { ...foreign, keepOwner: false }), {
      uid: 1000,
      gid: 1000,
      ownerKept: false,
    })
  })

  test("swaps without a second name where the VM refuses hard links", async () => {
    const fleet = new MemoryTransport({ "vm01:/a": file("old") })
    fleet.hardLinks = false
    const session = await fleet.open(vm("vm01"), asItself)
    await session.stage("/a.new", staged)
    assert.equal((await session.swap(paths, plain)).old, null)
    assert.equal(fleet.files.has("vm01:/a.old"), false)
  })
})
