import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { mkdirSync, writeFileSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import { namesPacket, statusPacket, uint64sPacket } from "../../demo/sftp-wire.ts"
import { Fault } from "../../src/domain/fault.ts"
import { textOf } from "../contracts/transport-scene.ts"
import { type Message, startFaultyServer } from "../faults/sftp-faults.ts"
import { sharedClientKey } from "../support/ssh-keys.ts"
import { vmOf } from "../support/sshd.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { asItself, plain, transportFor, upToOneMiB } from "./transport-harness.ts"

const text = "port: 80\n"
const extensions = {
  "posix-rename@openssh.com": "1",
  "fsync@openssh.com": "1",
  "hardlink@openssh.com": "1",
}

/** A server whose answers can be rewritten, with one file, and a transport. */
async function arrangeServer(t: TestContext) {
  const home = makeTemporary("odd-answers")
  const root = join(home, "vm")
  mkdirSync(join(root, "etc"), { recursive: true })
  writeFileSync(join(root, "etc", "app.yml"), text)
  const clientKeyPath = await sharedClientKey()
  const server = await startFaultyServer({ root, authorizedKey: await readFile(`${clientKeyPath}.pub`, "utf8") })
  const transport = transportFor({ knownHostsPath: join(home, "known_hosts") }, { callTimeoutMs: 1_000 })
  t.after(async () => {
    await transport.close()
    await server.close()
    await removeTemporary(home)
  })
  const { port, fingerprint, faults } = server
  const vm = vmOf({ host: "127.0.0.1", port, user: "x", clientKeyPath }, { hostKeys: [fingerprint] })
  return { faults, open: () => transport.open(vm, asItself), path: "/etc/app.yml" }
}

const typeAt = 4
const idAt = 5
const attributesType = 105
const head = 9
/** Where each attribute stands behind the flags when all of them are told, as the draft has them (5). */
const attributes = {
  size: { flag: 1, at: 4, length: 8 },
  owner: { flag: 2, at: 12, length: 8 },
  mode: { flag: 4, at: 20, length: 4 },
  time: { flag: 8, at: 24, length: 8 },
} as const

/** The same answer, one attribute less. */
function without(name: keyof typeof attributes, answer: Buffer): Buffer {
  const { flag, at, length } = attributes[name]
  const less = Buffer.concat([answer.subarray(0, head + at), answer.subarray(head + at + length)])
  less.writeUInt32BE(less.length - 4, 0)
  less.writeUInt32BE(answer.readUInt32BE(head) & ~flag, head)
  return less
}

suite("An SFTP server that leaves out", { timeout: 20_000 }, () => {
  for (const name of ["size", "owner", "mode", "time"] as const) {
    test(`the ${name} of files: it cannot be used, and no file is made up of what it tells`, async (t) => {
      const { faults, open, path } = await arrangeServer(t)
      faults.rewrite = (_message, answer) => (answer?.[typeAt] === attributesType ? without(name, answer) : answer)
      const session = await open()
      await assert.rejects(session.read(path, upToOneMiB), { code: "vm_unsupported", message: /leaves out/ })
      assert.equal(session.dead, true)
    })
  }

  for (const name of ["lstat", "open", "fstat"]) {
    test(`all of an answer to ${name}, and says yes: it cannot be used`, async (t) => {
      const { faults, open, path } = await arrangeServer(t)
      faults.rewrite = (message: Message, answer) =>
        answer !== null && message.name === name ? statusPacket(answer.readUInt32BE(idAt), 0, "") : answer
      const session = await open()
      await assert.rejects(session.read(path, upToOneMiB), { code: "vm_unsupported" })
    })
  }

  test("the size of a directory only: files are written as ever", async (t) => {
    const { faults, open, path } = await arrangeServer(t)
    faults.rewrite = (message, answer) =>
      answer?.[typeAt] === attributesType && message.path === "/etc/." ? without("size", answer) : answer
    const session = await open()
    await session.stage(`${path}.new`, plain("port: 81\n"))
    assert.equal((await session.read(`${path}.new`, upToOneMiB))?.bytes.toString(), "port: 81\n")
    session.close()
  })
})

suite("An SFTP server that tells", { timeout: 20_000 }, () => {
  test("a directory's path from where nobody knows: the file keeps the path it was asked for by", async (t) => {
    const { faults, open, path } = await arrangeServer(t)
    faults.rewrite = ({ name }, answer) =>
      answer !== null && name === "realpath"
        ? namesPacket(answer.readUInt32BE(idAt), [{ name: ".", longName: ".", attributes: {} }])
        : answer
    const session = await open()
    assert.equal((await session.read(path, upToOneMiB))?.realPath, path)
    session.close()
  })

  for (const told of [0, 4]) {
    test(`${told} bytes of a file that holds more, as of those of /proc: it is not read for one of ${told}`, async (t) => {
      const { faults, open, path } = await arrangeServer(t)
      faults.rewrite = (_message, answer) => {
        if (answer?.[typeAt] === attributesType) answer.writeBigUInt64BE(BigInt(told), head + attributes.size.at)
        return answer
      }
      const session = await open()
      await assert.rejects(session.read(path, upToOneMiB), { code: "not_a_regular_file", message: /more bytes/ })
      assert.equal(session.dead, false)
      session.close()
    })
  }
})

suite("An SFTP server that allows less at once than every server must", { timeout: 20_000 }, () => {
  const limits = { packet: 34_000, read: 8_192, write: 8_192, handles: 0 }

  for (const [what, changed] of [
    ["to write", { write: 1_000 }],
    ["to read", { read: 1_000 }],
    ["of either", {}],
  ] as const) {
    test(`${what}: a file of many such parts is written, replaced and read whole`, async (t) => {
      const { faults, open, path } = await arrangeServer(t)
      const { packet, read, write, handles } = { ...limits, ...changed }
      faults.extensions = { ...extensions, "limits@openssh.com": "1" }
      faults.rewrite = (message, answer) =>
        answer !== null && message.name === "limits"
          ? uint64sPacket(answer.readUInt32BE(idAt), [packet, read, write, handles])
          : answer
      const session = await open()
      const bytes = randomBytes(100_000)
      await session.stage(`${path}.new`, plain(bytes))
      const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
      const { live } = await session.swap(paths, upToOneMiB)
      assert.ok(live !== null && live !== "odd" && live.bytes.equals(bytes))
      assert.ok((await session.read(path, upToOneMiB))?.bytes.equals(bytes))
      session.close()
    })
  }
})

suite("An SFTP server that refuses a second name and has made it", { timeout: 20_000 }, () => {
  for (const status of [2, 3, 4]) {
    test(`with status ${status}: what stands under it is told, an edit of the last moment too`, async (t) => {
      const { faults, open, path } = await arrangeServer(t)
      faults.rewrite = ({ name }, answer) =>
        answer !== null && name === "hardlink" ? statusPacket(answer.readUInt32BE(idAt), status, "File exists") : answer
      const session = await open()
      await session.stage(`${path}.new`, plain("port: 81\n"))
      const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
      const { live, old } = await session.swap(paths, upToOneMiB)
      assert.deepEqual([textOf(live), textOf(old)], ["port: 81\n", text])
      session.close()
    })
  }

  test("or not: nothing stands there, which takes no question more", async (t) => {
    const { faults, open, path } = await arrangeServer(t)
    faults.rule = ({ name }) => (name === "hardlink" ? { how: "refuse", status: 4 } : null)
    const session = await open()
    await session.stage(`${path}.new`, plain("port: 81\n"))
    const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
    assert.equal((await session.swap(paths, upToOneMiB)).old, null)
    const asked = faults.messages.filter((message) => message.path === paths.oldPath).map(({ name }) => name)
    assert.deepEqual(asked, ["lstat", "open"])
    session.close()
  })
})

suite("An SFTP server that refuses to read for a moment, right after a rename", { timeout: 20_000 }, () => {
  for (const [times, outcome] of [
    [2, ["port: 81\n", text]],
    [3, "write_failed"],
    [4, "write_failed"],
  ] as const) {
    test(`${times} times: what stands there is read, or nothing is said of it`, async (t) => {
      const { faults, open, path } = await arrangeServer(t)
      const session = await open()
      await session.stage(`${path}.new`, plain("port: 81\n"))
      let refusals = 0
      faults.rule = ({ name }) => (name === "read" && ++refusals <= times ? { how: "refuse", status: 4 } : null)
      const paths = { path, stagingPath: `${path}.new`, oldPath: `${path}.old`, replaces: true }
      const told = await session.swap(paths, upToOneMiB).then(
        ({ live, old }) => [textOf(live), textOf(old)],
        (error: unknown) => error instanceof Fault && error.code,
      )
      assert.deepEqual(told, outcome)
      assert.equal(session.dead, false)
      session.close()
    })
  }
})

test("An SFTP server that gives no file away may leave a new one the owner that it has already", async (t) => {
  const { faults, open, path } = await arrangeServer(t)
  let changes = 0
  // The owner is asked for first.
  faults.rule = ({ name }) => (name === "fsetstat" && ++changes === 1 ? { how: "refuse", status: 8 } : null)
  const session = await open()
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  assert.equal((await session.stage(`${path}.new`, { ...plain(text), owner })).ownerKept, true)
  session.close()
})
