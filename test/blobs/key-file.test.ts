import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { isOpenToOthers, readKeyFile } from "../../src/blobs/key-file.ts"
import { StartError } from "../../src/domain/start-error.ts"

/** Holds a line end, text that looks like hex, and bytes that are no text. */
const key = Buffer.from("00ff0a0d61626364202122232425262728292a2b2c2d2e2f3031323334353620", "hex")
const hex = key.toString("hex")
const base64 = key.toString("base64")

suite("readKeyFile", () => {
  let root: string
  let path: string
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "keys-"))
    path = join(root, "backup.key")
  })
  afterEach(() => rm(root, { recursive: true }))

  for (const [what, content] of [
    ["32 raw bytes", key],
    ["32 raw bytes and a line end", Buffer.concat([key, Buffer.from("\n")])],
    ["64 hex digits", hex],
    ["64 hex digits in capitals", hex.toUpperCase()],
    ["64 hex digits and a line end", `${hex}\n`],
    ["64 hex digits and a line end of two bytes", `${hex}\r\n`],
    ["base64", base64],
    ["base64 and a line end", `${base64}\n`],
  ] as const) {
    test(`reads ${what}`, async () => {
      await writeFile(path, content, { mode: 0o600 })

      assert.deepEqual(await readKeyFile(path), { key, bytes: Buffer.from(content) })
    })
  }

  test("reads raw bytes that end in a line end of their own", async () => {
    const raw = Buffer.concat([key.subarray(1), Buffer.from("\n")])
    await writeFile(path, raw, { mode: 0o400 })

    assert.deepEqual((await readKeyFile(path)).key, raw)
  })

  test("follows a symbolic link, as secrets are mounted", async () => {
    await writeFile(join(root, "data"), hex, { mode: 0o600 })
    await symlink("data", path)

    assert.deepEqual((await readKeyFile(path)).key, key)
  })

  const cases: readonly (readonly [string, string | Buffer, RegExp])[] = [
    ["is empty", "", /is empty.*openssl rand -hex 32/],
    ["holds only a line end", "\n", /has 1 bytes/],
    ["has 31 bytes", Buffer.alloc(31, 1), /has 31 bytes/],
    ["has 34 raw bytes", Buffer.alloc(34, 1), /has 34 bytes/],
    ["has 62 hex digits", hex.slice(2), /has 62 bytes/],
    ["has 64 characters that are no hex digits", `${hex.slice(1)}g`, /has 64 bytes/],
    ["has two line ends", `${hex}\n\n`, /has 66 bytes/],
    ["has white space before the digits", ` ${hex}`, /has 65 bytes/],
    ["has base64 of 31 bytes", key.subarray(1).toString("base64"), /has 44 bytes/],
    ["has base64 that no encoder writes", `${base64.slice(0, 42)}B=`, /has 44 bytes/],
    ["is all zero", Buffer.alloc(32), /all zero/],
    ["is all zero in hex", "0".repeat(64), /all zero/],
    ["is a whole document", Buffer.alloc(5000, 1), /more than 1024 bytes/],
  ]
  for (const [what, content, message] of cases) {
    test(`refuses a file that ${what}, in words and without a byte of it`, async () => {
      await writeFile(path, content, { mode: 0o600 })

      await assert.rejects(readKeyFile(path), (error: unknown) => {
        assert.ok(error instanceof StartError)
        assert.match(error.message, message)
        assert.ok(error.message.includes(path))
        const text = content.toString("latin1").slice(0, 16)
        assert.ok(text.trim().length < 8 || !error.message.includes(text))
        return true
      })
    })
  }

  for (const mode of [0o640, 0o604, 0o620, 0o602, 0o610, 0o644]) {
    test(`refuses a file of mode ${mode.toString(8)}, and says how to close it`, async () => {
      await writeFile(path, hex)
      await chmod(path, mode)

      await assert.rejects(readKeyFile(path), {
        name: "StartError",
        message: /open to others \(mode 06\d\d\).*chmod 600/,
      })
    })
  }

  test("refuses a file that does not exist, and says how to make it", async () => {
    await assert.rejects(readKeyFile(path), { name: "StartError", message: /does not exist.*openssl rand -hex 32 > / })
  })

  test("refuses a directory", async () => {
    await mkdir(path, { mode: 0o700 })

    await assert.rejects(readKeyFile(path), { name: "StartError", message: /not a regular file/ })
  })

  test("refuses a FIFO without waiting for a writer", async () => {
    execFileSync("mkfifo", ["-m", "600", path])

    await assert.rejects(readKeyFile(path), { name: "StartError", message: /not a regular file/ })
  })
})

suite("isOpenToOthers", () => {
  const service = { uid: 990, groups: [990, 1200] }
  const root = { uid: 0, groups: [0] }
  const closed = [
    ["one's own, 0600", { mode: 0o600, uid: 990, gid: 990 }, service],
    ["one's own, 0400", { mode: 0o400, uid: 990, gid: 100 }, service],
    ["root's, read by root, 0600", { mode: 0o600, uid: 0, gid: 0 }, root],
    ["a credential of systemd: root:root 0440", { mode: 0o440, uid: 0, gid: 0 }, service],
    ["root's, given to the reader's group, 0640", { mode: 0o640, uid: 0, gid: 990 }, service],
    ["a secret of Kubernetes: root:fsGroup 0440", { mode: 0o440, uid: 0, gid: 1200 }, service],
    ["root's, with file type bits", { mode: 0o100440, uid: 0, gid: 990 }, service],
  ] as const
  for (const [what, file, reader] of closed) {
    test(`is not: ${what}`, () => assert.equal(isOpenToOthers(file, reader), false))
  }

  const open = [
    ["one's own that its group may read, though it is the reader's", { mode: 0o640, uid: 990, gid: 990 }, service],
    ["one's own that root's group may read", { mode: 0o440, uid: 990, gid: 0 }, service],
    ["root's own that root's group may read, where the reader is root", { mode: 0o440, uid: 0, gid: 0 }, root],
    ["root's, given to a group that is not the reader's", { mode: 0o440, uid: 0, gid: 100 }, service],
    ["another user's, given to the reader's group", { mode: 0o440, uid: 1000, gid: 990 }, service],
    ["root's that the reader's group may write", { mode: 0o460, uid: 0, gid: 990 }, service],
    ["root's that the reader's group may execute", { mode: 0o450, uid: 0, gid: 990 }, service],
    ["root's that all may read", { mode: 0o444, uid: 0, gid: 990 }, service],
    ["root's that all may write", { mode: 0o442, uid: 0, gid: 0 }, service],
    ["root's that all but its group may read", { mode: 0o404, uid: 0, gid: 0 }, service],
  ] as const
  for (const [what, file, reader] of open) {
    test(`is: ${what}`, () => assert.equal(isOpenToOthers(file, reader), true))
  }
})
