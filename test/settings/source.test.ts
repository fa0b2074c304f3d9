import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { mkdir } from "node:fs/promises"
import { join } from "node:path"
import { suite, test } from "node:test"
import { promisify } from "node:util"
import { SettingsError } from "../../src/settings/mistakes.ts"
import { loadSettings } from "../../src/settings.ts"
import { leastSettings, makeWorkspace } from "./workspace.ts"

const run = promisify(execFile)

/** Text of a whole file -> all that is said. */
const broken: Readonly<Record<string, string>> = {
  "": "the file: is empty; expected a mapping with vms and config_management",
  "# only a comment\n": "the file: is empty; expected a mapping with vms and config_management",
  "- a\n": "the file: is not a mapping; expected a mapping with vms and config_management",
  "text\n": "the file: is not a mapping; expected a mapping with vms and config_management",
  "a: 1\n---\nb: 2\n": "line 2: the file: holds several documents; expected one",
  "vms:\n\tvm01: {}\n": "line 2: the file: is not YAML from here on: a tab as indentation; expected spaces",
  'a: "open\nb: 1\n':
    "line 3: the file: is not YAML from here on: a character is missing; expected the closing quote, bracket, comma or colon",
  "a: { b: 1\n":
    "line 2: the file: is not YAML from here on: the indentation does not fit the lines before; expected that of its neighbours",
  "a: b: c\n":
    "line 1: the file: is not YAML from here on: a mapping within one line; expected quotes around a text that holds a colon",
  "a: @b\n":
    "line 1: the file: is not YAML from here on: a plain text cannot begin like this; expected quotes around it",
}

suite("A settings file", () => {
  for (const [text, expected] of Object.entries(broken)) {
    test(`that reads ${JSON.stringify(text)} is refused in words`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      assert.deepEqual(await mistakes(text), [`  ${expected}`])
    })
  }

  test("that does not exist is refused with where it was looked for", async (t) => {
    const { environment, directory } = await makeWorkspace(t)
    await assert.rejects(loadSettings("none.yml", environment), {
      name: "SettingsError",
      message:
        `${join(directory, "none.yml")}: 1 mistake\n  the file: does not exist; expected the settings there, ` +
        "or another place by --config FILE or CONFIG_MANAGER_CONFIG",
    })
  })

  test("that is a directory is refused", async (t) => {
    const { environment, directory } = await makeWorkspace(t)
    await mkdir(join(directory, "dir"))
    await assert.rejects(loadSettings("dir", environment), /is not a regular file; expected a YAML file/)
  })

  test("that is a FIFO is refused without waiting for a writer", async (t) => {
    const { environment, directory } = await makeWorkspace(t)
    await run("mkfifo", [join(directory, "fifo")])
    await assert.rejects(loadSettings("fifo", environment), /is not a regular file/)
  })

  test("whose path goes through a file is refused", async (t) => {
    const { environment, write } = await makeWorkspace(t)
    await write("plain", "")
    await assert.rejects(loadSettings("plain/config.yml", environment), /a part of its path is not a directory/)
  })

  test("whose path holds a NUL is refused", async (t) => {
    const { environment } = await makeWorkspace(t)
    await assert.rejects(loadSettings("a\0b", environment), SettingsError)
  })

  test("that is not UTF-8 is refused", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.deepEqual(await mistakes(Buffer.from(`${leastSettings}# caf\xe9\n`, "latin1")), [
      "  the file: is not UTF-8; expected UTF-8 text",
    ])
  })

  test("that is larger than 16 MiB is refused", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.deepEqual(await mistakes(Buffer.alloc(16 * 1024 * 1024 + 1, "#")), [
      "  the file: has 16777217 bytes; expected at most 16777216",
    ])
  })

  test("with a byte order mark and CRLF line ends is taken", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.equal(await mistakes(`\uFEFF${leastSettings.replaceAll("\n", "\r\n")}`), null)
  })

  test("never has its text in a message", async (t) => {
    const { load } = await makeWorkspace(t)
    const secret = "hunter2hunter2"
    const texts = [
      `a: ${secret}: b\n`,
      `a: *${secret}\n`,
      `a: "${secret}\n`,
      `${leastSettings}  encryption_key_path: [${secret}]\n  encryption_method: ${secret}\n  backup_remote_path: ${secret}\n`,
      `${leastSettings}ssh: { user: "${secret} x", passphrase_env: "${secret} y", port: "${secret}" }\n`,
      `${leastSettings}auth: { tokens: ${secret} }\nserver: { host: "${secret}:1" }\n`,
    ]
    for (const text of texts) {
      await assert.rejects(
        load(text),
        (error: Error) => error instanceof SettingsError && !error.message.includes(secret),
      )
    }
  })
})

suite("Aliases in a settings file", () => {
  test("that multiply are refused, soon", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const levels = Array.from(
      { length: 12 },
      (_, level) => `  l${level + 1}: &l${level + 1} [${Array(10).fill(`*l${level}`).join(", ")}]\n`,
    )
    const before = performance.now()
    const found = await mistakes(`bomb:\n  l0: &l0 [a, b]\n${levels.join("")}${leastSettings}webhooks: *l12\n`)
    assert.ok(performance.now() - before < 10_000)
    assert.equal(found?.length, 1)
    assert.match(found?.[0] ?? "", /webhooks: holds more than 500000 values; expected fewer aliases$/)
  })

  test("that multiply in merge keys are refused, soon", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const levels = Array.from(
      { length: 9 },
      (_, level) => `  l${level + 1}: &l${level + 1} { <<: [${Array(10).fill(`*l${level}`).join(", ")}] }\n`,
    )
    const before = performance.now()
    const found = await mistakes(`bomb:\n  l0: &l0 { a: b }\n${levels.join("")}${leastSettings}limits: { <<: *l9 }\n`)
    assert.ok(performance.now() - before < 10_000)
    assert.match(found?.[0] ?? "", /limits: holds more than 500000 values; expected fewer aliases$/)
  })

  test("that stand for what they are in are refused", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.deepEqual(await mistakes(`${leastSettings}webhooks: &w [*w]\n`), [
      "  line 6: webhooks: nests deeper than 32 levels; expected plain settings",
    ])
  })

  test("that multiply in a section of another tool are none of our business", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.equal(await mistakes(`other: &w [*w, *w]\n${leastSettings}`), null)
  })

  test("may be many, one per VM", async (t) => {
    const { load } = await makeWorkspace(t)
    const vms = Array.from({ length: 1000 }, (_, index) => `  vm${index}: { <<: *d }\n`)
    const settings = await load(
      `x: &d { ip: gate }\n${leastSettings.replace("  vm01: { ip: 10.0.0.10 }\n", vms.join(""))}`,
    )
    assert.equal(settings.inventory.vms.length, 1000)
  })

  test("take the nearest anchor before them", async (t) => {
    const { load } = await makeWorkspace(t)
    const { inventory } = await load(
      leastSettings.replace("{ ip: 10.0.0.10 }", "{ ip: &a one }\n  vm02: { name: &a two, ip: *a }"),
    )
    assert.equal(inventory.vm("vm02").host, "two")
  })

  test("without an anchor are refused", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.deepEqual(await mistakes(`${leastSettings}limits: *nowhere\nx: *nowhere\n`), [
      "  line 6: limits: is an alias (*name) without its anchor (&name); expected the anchor before it",
    ])
  })

  test("keep the mistakes at the line of what they stand for", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.deepEqual(
      await mistakes(`x: &d { ip: gate, ssh_port: 0 }\n${leastSettings.replace("ip: 10.0.0.10", "<<: *d")}`),
      ["  line 1: vms.vm01.ssh_port: is 0; expected a whole number from 1 to 65535"],
    )
  })
})

suite("Nesting in a settings file", () => {
  for (const text of [
    "[".repeat(100_000),
    `a: ${"{b: ".repeat(20_000)}`,
    `${leastSettings}limits: ${"[".repeat(50)}${"]".repeat(50)}\n`,
  ]) {
    test(`of ${JSON.stringify(text.slice(0, 6))} ${text.length} characters is refused and does not end the process`, async (t) => {
      const { load } = await makeWorkspace(t)
      await assert.rejects(load(text), SettingsError)
    })
  }
})
