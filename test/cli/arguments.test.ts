import assert from "node:assert/strict"
import { suite, test } from "node:test"
import fc from "fast-check"
import { helpText, parseArguments } from "../../src/cli/arguments.ts"

const line = (text: string) => parseArguments(text.split(" ").filter((word) => word !== ""))

/** A command line -> the sentence on stderr, less the hint at --help. */
const refusals: Readonly<Record<string, string>> = {
  "": "No command is given.",
  start: 'There is no command "start".',
  "serve now": 'serve takes no argument "now".',
  "check now": 'check takes no argument "now".',
  "check --new-key": "--new-key is for serve only.",
  "known-hosts scan --new-key": "--new-key is for serve only.",
  "known-hosts": "known-hosts knows scan only.",
  "known-hosts add": 'known-hosts knows scan only, not "add".',
  "serve --confg a": "Unknown option '--confg'.",
  "serve -x": "Unknown option '-x'.",
  "serve --config a --config b": "--config takes one FILE, once.",
  "serve --config=": "--config takes one FILE, once.",
  "serve --no-auth=yes": "Option '--no-auth' does not take an argument.",
}

suite("parseArguments", () => {
  for (const [text, sentence] of Object.entries(refusals)) {
    test(`refuses ${JSON.stringify(text)}`, () => {
      assert.deepEqual(line(text), { command: "refused", message: `${sentence} See config-manager --help.` })
    })
  }

  test("refuses --config without a file", () => {
    const found = line("serve --config")
    assert.equal(found.command, "refused")
    assert.match(found.command === "refused" ? found.message : "", /--config/)
  })

  test("refuses --config that would swallow another flag", () => {
    assert.equal(line("serve --config --no-auth").command, "refused")
  })

  test("takes serve with its flags, in any order", () => {
    assert.deepEqual(line("--no-auth serve --config a.yml --insecure-http --new-key"), {
      command: "serve",
      file: "a.yml",
      insecureHttp: true,
      noAuth: true,
      newKey: true,
    })
    assert.deepEqual(line("serve"), { command: "serve", file: null, insecureHttp: false, noAuth: false, newKey: false })
  })

  test("takes check and known-hosts scan", () => {
    assert.deepEqual(line("check --config=a.yml"), {
      command: "check",
      file: "a.yml",
      insecureHttp: false,
      noAuth: false,
    })
    assert.deepEqual(line("known-hosts scan vm01 10.0.0.1:22 --config a"), {
      command: "known-hosts scan",
      file: "a",
      targets: ["vm01", "10.0.0.1:22"],
    })
    assert.deepEqual(line("known-hosts scan"), { command: "known-hosts scan", file: null, targets: [] })
  })

  test("takes --help and --version before anything else", () => {
    assert.deepEqual(line("serve what --help"), { command: "help" })
    assert.deepEqual(line("-h"), { command: "help" })
    assert.deepEqual(line("--version"), { command: "version" })
  })

  test("answers any words without throwing, a refusal in one line", () => {
    const words = fc.oneof(
      fc.string(),
      fc.constantFrom("serve", "check", "known-hosts", "scan", "--config", "--no-auth", "--", "-"),
    )
    fc.assert(
      fc.property(fc.array(words, { maxLength: 5 }), (argv) => {
        const found = parseArguments(argv)
        if (found.command === "refused") assert.doesNotMatch(found.message, /\n/)
      }),
    )
  })

  test("knows every flag that the help names, and the other way round", () => {
    const flags = new Set(helpText.match(/--[a-z-]+/g))
    assert.deepEqual([...flags].sort(), [
      "--config",
      "--help",
      "--insecure-http",
      "--new-key",
      "--no-auth",
      "--version",
    ])
    for (const flag of ["--insecure-http", "--new-key", "--no-auth"])
      assert.equal(line(`serve ${flag}`).command, "serve")
  })
})
