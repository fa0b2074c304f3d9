import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { describeSettings } from "../../src/settings/describe.ts"
import { ourSections } from "../../src/settings/schema.ts"
import { settingsTable } from "../../src/settings/table.ts"
import { leastSettings, makeWorkspace } from "./workspace.ts"

suite("describeSettings", () => {
  test("tells every path absolute, each VM and each of its files", async (t) => {
    const { load, directory } = await makeWorkspace(t)
    const pin = `SHA256:${"a".repeat(43)}`
    const settings = await load(`vms:
  vm01: { ip: "2001:db8::1", host_key: "${pin}", private_key_path: keys/one }
  vm02: { ip: b, enabled: false, proxy_jump: "me@[::1]:22" }
config_management:
  encryption_key_path: keys/backup
  encryption_old_key_paths: [keys/old]
  backup_location: backups
  config_paths:
    central: { vm01: /opt/central.yml }
    env: { default: "/opt/{vmId}/.env" }
  config_schemas: { env: env.schema.json }
  config_types: { central: { yaml_version: "1.1", become: true } }
server: { port: 0, tls_cert_path: c.pem, tls_key_path: k.pem }
state_dir: state
ssh: { agent: true, private_key_path: ~/.ssh/id, known_hosts_path: known }
`)
    assert.equal(
      describeSettings(settings).replaceAll(directory, "/cwd"),
      `settings:       /cwd/config.yml
listens on:     https://127.0.0.1:0 (a free port)
certificate:    /cwd/c.pem, key /cwd/k.pem
state:          /cwd/state
backups:        /cwd/backups, kept 90 days after they were superseded
backup key:     /cwd/keys/backup
old backup key: /cwd/keys/old
copies go to:   nowhere off this host (backup_remote_path is empty)
schemas:        /cwd/configs/schemas
SSH keys:       /home/operator/.ssh/th_timmy_keys
SSH key:        /home/operator/.ssh/id where a VM has none of its own, then the SSH agent
known hosts:    /cwd/known

config types (2)
  central: yaml 1.1, schema none, at most 1048576 bytes, as root
  env: env, schema env.schema.json, at most 1048576 bytes

VMs (2)
  vm01: thadmin@[2001:db8::1]:22, key /cwd/keys/one, host key pinned
    central: /opt/central.yml
    env: /opt/vm01/.env
  vm02: thadmin@b:22, disabled, by way of me@[::1]:22
    env: /opt/vm02/.env
`,
    )
  })

  test("says where a key comes from that the settings do not name", async (t) => {
    const { load } = await makeWorkspace(t)
    const text = describeSettings(await load(leastSettings))
    assert.match(text, /^backup key: {5}from the environment \(a key file or a passphrase\)/m)
    assert.match(text, /^SSH key: {8}none where a VM has none of its own, then no agent$/m)
  })
})

suite("settingsTable", () => {
  test("has a text and a place of its own for every setting", () => {
    const rows = settingsTable()
    assert.deepEqual(
      rows.filter(({ text }) => text === ""),
      [],
    )
    assert.equal(new Set(rows.map(({ name }) => name)).size, rows.length)
    assert.deepEqual(new Set(rows.map(({ name }) => name.split(/[.[]/)[0])), ourSections)
    assert.deepEqual(
      rows.filter(({ name }) => name.includes("<name>")),
      [],
    )
  })

  test("tells defaults as they are written, and what is required", () => {
    const defaults = new Map(settingsTable().map((row) => [row.name, row.default]))
    assert.equal(defaults.get("remote_execution.default_timeout"), "30")
    assert.equal(defaults.get("config_management.encryption_key_path"), '""')
    assert.equal(defaults.get("config_management.config_types.<type>.mode"), '"0640"')
    assert.equal(defaults.get("config_management.config_paths.<type>.<vmId, label=value or default>"), "required")
    assert.equal(defaults.get("vms.<vmId>.ip"), "required")
    assert.equal(defaults.get("vms.<vmId>.ssh_user"), "")
  })
})
