import assert from "node:assert/strict"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { closeSync, openSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, beforeEach, suite, test } from "node:test"
import { masterKey, sealBlob } from "../../src/blobs/cipher.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { legacyFile } from "../blobs/legacy-files.ts"
import { vector, vectorBlob } from "../blobs/vector.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

const bin = join(import.meta.dirname, "..", "..", "bin", "config-manager.js")

suite("config-manager open", () => {
  let dir: string
  let key: string
  let blob: string
  const write = (name: string, bytes: Buffer | string): string => {
    writeFileSync(join(dir, name), bytes, { mode: 0o600 })
    return join(dir, name)
  }
  const open = (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [bin, "open", ...args], {
      cwd: dir,
      env: { PATH: process.env.PATH ?? "", ...env },
      timeout: 15_000,
      maxBuffer: 64 * 1024 * 1024,
    })
    return { status, stdout, stderr: stderr.toString() }
  }

  beforeEach(() => {
    dir = makeTemporary("open")
    key = write("key", Buffer.from(vector.keyFile.master, "hex"))
    blob = write("a-blob", vectorBlob())
  })
  afterEach(() => removeTemporary(dir))

  test("writes the bytes to stdout, exactly, and what is known of them to stderr", () => {
    const { status, stdout, stderr } = open([blob, "--key", key])

    assert.equal(status, 0, stderr)
    assert.equal(stdout.toString(), vector.plain)
    for (const line of [
      "vm:        vm01",
      "type:      central",
      "path:      /opt/th_timmy/configs/central.yml",
      "mode:      0640",
      "owner:     0:0",
      "time:      2026-01-02T03:04:05.678Z",
      `digest:    ${digestOf(Buffer.from(vector.plain))}`,
      "reason:    -",
      `operation: ${vector.header.operation_id}`,
      `key:       ${vector.keyFile.keyId}`,
    ]) {
      assert.ok(stderr.includes(`${line}\n`), `${line}\n${stderr}`)
    }
  })

  test("opens with the key or the passphrase that the environment names", () => {
    const sealed = write("by-passphrase", vectorBlob("passphrase"))
    for (const [path, env] of [
      [blob, { CONFIG_MANAGER_BACKUP_KEY_PATH: key }],
      [blob, { TH_TIMMY_CONFIG_BACKUP_KEY_PATH: key }],
      [sealed, { CONFIG_MANAGER_BACKUP_PASSPHRASE: vector.passphrase.passphrase }],
    ] as const) {
      const { status, stdout, stderr } = open([path], env)
      assert.deepEqual([status, stdout.toString()], [0, vector.plain], stderr)
    }
  })

  test("opens a backup of the original service, also under the names that one is kept by which was replaced", () => {
    const master = Buffer.from(vector.keyFile.master, "hex")
    for (const kept of ["", ".damaged", ".2.damaged"]) {
      const path = write(`backup_vm01_central_20250102_030405.enc${kept}`, legacyFile('{"port": 80}', master))

      const { status, stdout, stderr } = open([path, "--key", key])

      assert.deepEqual([status, stdout.toString()], [0, '{"port": 80}'], stderr)
      assert.match(stderr, /original service/)
    }
  })

  test("writes all of a large one, also into a pipe", () => {
    const bytes = Buffer.alloc(8 * 1024 * 1024, "0123456789abcdef\n")
    const header = { ...vector.header, plain_len: bytes.length }
    const sealed = sealBlob(header, bytes, masterKey(Buffer.from(vector.keyFile.master, "hex")))

    const { status, stdout } = open([write("large", sealed), "--key", key])

    assert.deepEqual([status, digestOf(stdout)], [0, digestOf(bytes)])
  })

  test("ends without a word of its own when nobody reads on", async () => {
    const bytes = Buffer.alloc(8 * 1024 * 1024, "x")
    const header = { ...vector.header, plain_len: bytes.length }
    const path = write("large", sealBlob(header, bytes, masterKey(Buffer.from(vector.keyFile.master, "hex"))))
    const child = spawn(process.execPath, [bin, "open", path, "--key", key], { stdio: ["ignore", "pipe", "pipe"] })
    let stderr = ""
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text
    })
    await once(child.stdout, "readable")
    child.stdout.destroy()

    assert.deepEqual(await once(child, "close"), [1, null])
    assert.doesNotMatch(stderr, /EPIPE|Error|at /)
  })

  test("says in a sentence that the disk is full, as every command does", () => {
    const full = openSync("/dev/full", "w")
    const intoFull = (args: readonly string[]) =>
      spawnSync(process.execPath, [bin, ...args], {
        stdio: ["ignore", full, "pipe"],
        encoding: "utf8",
        timeout: 15_000,
      })
    try {
      for (const args of [["open", blob, "--key", key], ["--help"]]) {
        const { status, stderr } = intoFull(args)
        assert.equal(status, 1, stderr)
        assert.match(stderr, /^The output cannot be written \(ENOSPC\); what it was to say is lost\.$/m)
        assert.doesNotMatch(stderr, /Error|\n\s+at /)
      }
    } finally {
      closeSync(full)
    }
  })

  const refusals: Readonly<Record<string, () => readonly [args: readonly string[], status: number, sentence: RegExp]>> =
    {
      "a damaged one": () => {
        const bytes = vectorBlob()
        bytes[300] = (bytes[300] ?? 0) ^ 1
        return [[write("damaged", bytes), "--key", key], 1, /^.*damaged: The sealed version is damaged/]
      },
      "another key": () => [[blob, "--key", write("other", Buffer.alloc(32, 9))], 1, new RegExp(vector.keyFile.keyId)],
      "a legacy backup with another key": () => {
        return [
          [write("backup_a_b_20250101_000000.enc", Buffer.alloc(60)), "--key", key],
          1,
          /another key.*or it is damaged/,
        ]
      },
      "a file that is none": () => [[write("text", "port: 80\n"), "--key", key], 1, /damaged: it has only 9 bytes/],
      "a file that is not there": () => [[join(dir, "nothing"), "--key", key], 1, /there is no such file/],
      "a directory": () => [[dir, "--key", key], 1, /EISDIR/],
      "no key": () => [[blob], 78, /no key to open it with.*--key/],
      "a key that is none": () => [[blob, "--key", write("short", "abc")], 78, /3 bytes/],
      "no file at all": () => [["--key", key], 64, /BLOB/],
      "standard input": () => [["-", "--key", key], 64, /BLOB/],
    }
  for (const [what, make] of Object.entries(refusals)) {
    test(`says in a sentence what is wrong with ${what}, and writes nothing`, () => {
      const [args, expected, sentence] = make()
      const { status, stdout, stderr } = open(args)
      assert.deepEqual([status, stdout.length], [expected, 0], stderr)
      assert.match(stderr, sentence)
      assert.doesNotMatch(stderr, /\n\s+at /)
    })
  }

  test("lets no control character of a file get to the terminal", () => {
    const header = { ...vector.header, reason: "\u001b[2Jx\u202e" }
    const path = write(
      "odd",
      sealBlob(header, Buffer.from(vector.plain), masterKey(Buffer.from(vector.keyFile.master, "hex"))),
    )

    const { stderr } = open([path, "--key", key])

    assert.match(stderr, /^reason: {4}\?\[2Jx\?$/m)
  })
})
