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
  "reindex now": 'reindex takes no argument "now".',
  "reindex --new-key": "--new-key is for serve only.",
  "reindex --all": "--all is for verify only.",
  "reindex --key a": "--key is for open only.",
  open: "open takes the file of one BLOB.",
  "open -": "open takes the file of one BLOB.",
  "open a b": 'open takes one BLOB, and no argument "b".',
  "open a --key=": "--key takes one KEYFILE, once.",
  "open a --key b --key c": "--key takes one KEYFILE, once.",
  "open a --insecure-http": "--insecure-http is for serve and check only.",
  "verify a": 'verify takes no argument "a".',
  "verify --no-auth": "--no-auth is for serve and check only.",
  "verify --all --sample 5%": "verify takes --all or --sample, not both.",
  "verify --sample 5%  --sample 6%": "--sample takes one PERCENT%, once.",
  "verify --sample 5": "--sample takes a percentage above 0%, such as 5%.",
  "verify --sample 0%": "--sample takes a percentage above 0%, such as 5%.",
  "verify --sample 101%": "--sample takes a percentage above 0%, such as 5%.",
  "verify --sample 1e1%": "--sample takes a percentage above 0%, such as 5%.",
  "verify --from a": "--from is for restore-catalog only.",
  "rewrap now": 'rewrap takes no argument "now".',
  "rewrap --new-key": "--new-key is for serve only.",
  "rewrap --from a": "--from is for restore-catalog only.",
  "rewrap --key a": "--key is for open only.",
  "rewrap --all": "--all is for verify only.",
  "restore-catalog /mnt/copies": 'restore-catalog takes no argument "/mnt/copies".',
  "restore-catalog --from": "Option '--from <value>' argument missing.",
  "restore-catalog --from=": "--from takes one PLACE, once.",
  "restore-catalog --from a --from b": "--from takes one PLACE, once.",
  "restore-catalog --new-key": "--new-key is for serve only.",
  "restore-catalog --sample 5%": "--sample is for verify only.",
  "restore-catalog --no-auth": "--no-auth is for serve and check only.",
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

  test("takes reindex, open and verify", () => {
    assert.deepEqual(line("reindex --config a"), { command: "reindex", file: "a" })
    assert.deepEqual(line("open a.cmb"), { command: "open", blob: "a.cmb", key: null })
    assert.deepEqual(line("open --key k a.cmb"), { command: "open", blob: "a.cmb", key: "k" })
    assert.deepEqual(line("verify"), { command: "verify", file: null, share: 1 })
    assert.deepEqual(line("verify --all --config a"), { command: "verify", file: "a", share: 1 })
    assert.deepEqual(line("verify --sample 2.5%"), { command: "verify", file: null, share: 0.025 })
    assert.deepEqual(line("verify --sample 100%"), { command: "verify", file: null, share: 1 })
  })

  test("takes rewrap and restore-catalog", () => {
    assert.deepEqual(line("rewrap"), { command: "rewrap", file: null })
    assert.deepEqual(line("--config a rewrap"), { command: "rewrap", file: "a" })
    assert.deepEqual(line("restore-catalog"), { command: "restore-catalog", file: null, from: null })
    const from = "copies@far:/srv/copies"
    assert.deepEqual(line(`restore-catalog --from ${from} --config a`), { command: "restore-catalog", file: "a", from })
  })

  test("refuses open with settings: it needs none", () => {
    const found = line("open a --config b")
    assert.match(found.command === "refused" ? found.message : "", /^--config is for serve and .* only\./)
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
      "--all",
      "--config",
      "--from",
      "--help",
      "--insecure-http",
      "--key",
      "--new-key",
      "--no-auth",
      "--sample",
      "--version",
    ])
    for (const flag of ["--insecure-http", "--new-key", "--no-auth"])
      assert.equal(line(`serve ${flag}`).command, "serve")
  })
})
