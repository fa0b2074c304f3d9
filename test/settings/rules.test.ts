import assert from "node:assert/strict"
import { join } from "node:path"
import { suite, test } from "node:test"
import { SettingsError } from "../../src/settings/mistakes.ts"
import { leastSettings, makeWorkspace, originalSettings } from "./workspace.ts"

const remotePath = 'an absolute path without "..", ".", "//", control characters or a slash at its end'

/** In place of `{ default: /opt/app/central.yml }` in line 5 -> what is said of config_paths.central. */
const pathMistakes: Readonly<Record<string, string>> = {
  "{}": 'is empty; expected a mapping of VM ids, "label=value" or "default" to paths, at least one',
  "/a": 'is text; expected a mapping of VM ids, "label=value" or "default" to paths, at least one',
  ...Object.fromEntries(
    ["relative.yml", "/a/../b", "/a/./b", "/a//b", "/a/", "/", '"/a\\nb"', '"/a\\0"', "~/a"].map((path) => [
      `{ default: ${path} }`,
      `default: is not in the right form; expected ${remotePath}`,
    ]),
  ),
  '{ default: "" }': `default: is empty; expected ${remotePath}`,
  "{ default: 5 }": `default: is 5; expected ${remotePath}`,
  '{ default: "/{host}.yml" }':
    "default: has a placeholder that is not filled in; expected {vmId} or {name}, and no other braces",
  '{ default: "/{vmId.yml" }':
    "default: has a placeholder that is not filled in; expected {vmId} or {name}, and no other braces",
  "{ vm1: /a }": 'vm1: is not a VM of vms; expected a VM id, "label=value" or "default" (did you mean vm01?)',
  '{ "=edge": /a }': '=edge: is not in the right form; expected "label=value", both given',
  '{ "role=": /a }': 'role=: is not in the right form; expected "label=value", both given',
  "{ default: /a.yml, vm01: /a.json }":
    "has paths of several formats (json, yaml); expected one, or config_types.central.format",
}

suite("loadSettings refuses", () => {
  for (const [rules, expected] of Object.entries(pathMistakes)) {
    test(`config_paths with ${JSON.stringify(rules)}`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      const colon = /^(is|has) /.test(expected) ? ": " : "."
      assert.deepEqual(await mistakes(leastSettings.replace("{ default: /opt/app/central.yml }", rules)), [
        `  line 5: config_management.config_paths.central${colon}${expected}`,
      ])
    })
  }

  test("two types that share a file on a VM", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const text = `${leastSettings}    other: { vm01: /opt/app/central.yml }\n`
    assert.deepEqual(await mistakes(text), [
      "  line 6: config_management.config_paths.other: is the same file as central on vm01; expected a file of its own",
    ])
  })

  test("two types that share a file only once placeholders are filled in", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const text = `${leastSettings.replace("/opt/app/central.yml", `"/opt/app/{vmId}.yml"`)}    other: { vm01: /opt/app/vm01.yml }\n`
    assert.deepEqual(await mistakes(text), [
      "  line 6: config_management.config_paths.other: is the same file as central on vm01; expected a file of its own",
    ])
  })

  test("a VM name that leads out of its place in a path", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const text = leastSettings
      .replace("ip: 10.0.0.10", "ip: a, name: ../../etc")
      .replace("/opt/app/central.yml", `"/opt/{name}"`)
    assert.deepEqual(await mistakes(text), [
      '  line 5: config_management.config_paths.central: gives no usable path for vm01; expected a VM name without "/" in it',
    ])
  })

  test("a path that no version could name", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const withPath = (length: number) => leastSettings.replace("/opt/app/central.yml", `/${"a".repeat(length - 1)}`)
    assert.deepEqual(await mistakes(withPath(1999)), [
      "  line 5: config_management.config_paths.central: gives a path of 2001 bytes; expected at most 2000",
    ])
    assert.equal(await mistakes(withPath(1998)), null)
  })

  test("a schema file that does not exist, and says what to write instead", async (t) => {
    const { mistakes, directory } = await makeWorkspace(t)
    const text = originalSettings.replace("central_config.schema.json", "gone.json")
    assert.deepEqual(await mistakes(text), [
      `  line 69: config_management.config_schemas.central: ${join(directory, "configs/schemas/gone.json")} does not exist; ` +
        "expected the schema there, or config_types.central.schema: none",
    ])
  })

  test("a schema file that is a directory", async (t) => {
    const { mistakes, directory, write } = await makeWorkspace(t)
    await write("configs/schemas/dir/x", "")
    assert.deepEqual(await mistakes(`${leastSettings}  config_schemas: { central: dir }\n`), [
      `  line 6: config_management.config_schemas.central: ${join(directory, "configs/schemas/dir")} is not a file; ` +
        "expected the schema there, or config_types.central.schema: none",
    ])
  })

  test("what this version does not act on, each by its name", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const text = `${leastSettings}  backup_remote_path: /mnt/copies
  config_types: { central: { check_command: a %s, reload_command: b, health_command: c } }
auth: { tokens: [ { name: ops, sha256: ${"a".repeat(64)}, scopes: [restore], vms: ["*"], types: ["*"], expires: "2027-01-31" } ] }
schedules: [ { name: nightly, kind: backup, cron: "0 2 * * *", timezone: UTC, jitter: 300, select: { all: true }, types: [central] } ]
webhooks: [ { name: chat, url: "https://example.com/x", secret_env: S, events: [drift] } ]
`
    const found = await mistakes(text)
    assert.deepEqual(
      found?.map((line) => line.replace(/ \(.*/, "")),
      [
        "  line 7: config_management.config_types.central.check_command: is not acted on by this version: remove it",
        "  line 7: config_management.config_types.central.reload_command: is not acted on by this version: remove it",
        "  line 7: config_management.config_types.central.health_command: is not acted on by this version: remove it",
        "  line 8: auth.tokens: is not acted on by this version: remove it",
        "  line 9: schedules: is not acted on by this version: remove it",
        "  line 10: webhooks: is not acted on by this version: remove it",
      ],
    )
  })

  test("required sections that are missing, and those that are nearly there", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const text = "vm: { vm01: { ip: a } }\nconfig_managment: {}\n"
    assert.deepEqual(await mistakes(text), [
      "  vms: is missing; expected a mapping of VM ids to VMs, at least one",
      "  config_management: is missing; expected a mapping, at least with config_paths",
      "  line 1: vm: is one letter off a section of ours; expected vms, or a name less like it",
      "  line 2: config_managment: is one letter off a section of ours; expected config_management, or a name less like it",
    ])
  })

  test("many mistakes in one message that begins with the file and their number", async (t) => {
    const { load, directory } = await makeWorkspace(t)
    const text = `vms:
  vm01: { ip: 10.0.0.10, ssh_port: 0 }
  vm02: { ssh_user: a }
config_management:
  backup_retention_days: 30
  config_paths:
    central: { default: /opt/a.yml, vm03: /x.yml }
    other: { default: /opt/a.yml }
  config_schemas: { other: gone.json }
server: { prot: 80 }
`
    await assert.rejects(load(text), (error: Error) => {
      assert.ok(error instanceof SettingsError)
      assert.equal(error.name, "SettingsError")
      assert.equal(
        error.message,
        `${join(directory, "config.yml")}: 6 mistakes
  line 2: vms.vm01.ssh_port: is 0; expected a whole number from 1 to 65535
  line 3: vms.vm02.ip: is missing; expected an IP address or a host name
  line 5: config_management.backup_retention_days: is 30; expected a whole number from 90 to 36500
  line 7: config_management.config_paths.central.vm03: is not a VM of vms; expected a VM id, "label=value" or "default" (did you mean vm01?)
  line 9: config_management.config_schemas.other: ${join(directory, "configs/schemas/gone.json")} does not exist; expected the schema there, or config_types.other.schema: none
  line 10: server.prot: is not a known setting; expected one of the known ones (did you mean port?)`,
      )
      return true
    })
  })

  test("a shared file beside mistakes elsewhere, both told at once", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    const text = `${leastSettings}    other: { default: /opt/app/central.yml }\nserver: { port: x }\nssh: { port: 0 }\n`
    assert.deepEqual(await mistakes(text), [
      "  line 6: config_management.config_paths.other: is the same file as central on vm01; expected a file of its own",
      "  line 7: server.port: is text; expected a whole number from 0 to 65535",
      "  line 8: ssh.port: is 0; expected a whole number from 1 to 65535",
    ])
  })

  for (const [mistake, expected] of [
    [
      "vms: { vm01: { ip: a }, vm02: }",
      "line 1: vms.vm02: has no value; expected a mapping that describes one VM, at least its ip",
    ],
    ["vms: { vm01: { ip: a }, vm02: { ip: b, labels: 5 } }", "line 1: vms.vm02.labels: is 5; expected a mapping"],
    [
      "vms: { vm01: { ip: a } }\nremote_execution: { allowed_vm_ids: 5 }",
      "line 2: remote_execution.allowed_vm_ids: is 5; expected a list of VM ids, each once; leave it out to allow all",
    ],
  ] as const) {
    test(`a shared file beside ${JSON.stringify(mistake)}, which is not looked into`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      const paths = "config_management: { config_paths: { a: { default: /x }, b: { default: /x } } }\n"
      assert.deepEqual(await mistakes(`${mistake}\n${paths}`), [
        `  ${expected}`,
        `  line ${mistake.split("\n").length + 1}: config_management.config_paths.b: is the same file as a on vm01; expected a file of its own`,
      ])
    })
  }
})

suite("loadSettings leaves alone", () => {
  for (const section of [
    "ssl: { cert: a }",
    "oauth: { issuer: b }",
    "sso:",
    "server_names: []",
    "vmware: {}",
    "sarvar: {}",
    "server: {}\nservers: {}",
  ]) {
    test(`another tool's section ${JSON.stringify(section)}`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      assert.equal(await mistakes(`${leastSettings}${section}\n`), null)
    })
  }
})
