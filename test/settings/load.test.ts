import assert from "node:assert/strict"
import { join } from "node:path"
import { suite, test } from "node:test"
import { fileURLToPath } from "node:url"
import { loadSettings } from "../../src/settings.ts"
import { leastSettings, makeWorkspace, originalSettings } from "./workspace.ts"

const pin = `SHA256:${"a".repeat(43)}`
const otherPin = `SHA256:${"b".repeat(43)}`

/** The least settings with text put in behind `vm01: { ip: 10.0.0.10`. */
const withVm = (members: string) => leastSettings.replace("ip: 10.0.0.10", `ip: 10.0.0.10, ${members}`)

suite("loadSettings takes", () => {
  test("the original's file unchanged, whatever other tools keep in it", async (t) => {
    const { load, directory } = await makeWorkspace(t)

    const settings = await load(originalSettings)

    assert.equal(settings.file, join(directory, "config.yml"))
    assert.deepEqual(
      settings.inventory.vms.map(({ vmId, name, host, port, user, role, enabled }) => [
        vmId,
        name,
        host,
        port,
        user,
        role,
        enabled,
      ]),
      [
        ["vm01", "threat-hunt-vm01", "10.0.0.10", 22, "thadmin", "ingest-parser", true],
        ["vm02", "threat-hunt-vm02", "10.0.0.11", 22, "thadmin", "database", true],
        ["vm03", "threat-hunt-vm03", "10.0.0.12", 2222, "thadmin", "analysis-jupyter", true],
        ["vm04", "threat-hunt-vm04", "10.0.0.13", 22, "root", "orchestrator-n8n", false],
      ],
    )
    assert.deepEqual(
      settings.inventory.types.map(({ type, format, schemaFile }) => [type, format, schemaFile]),
      [
        ["central", "yaml", "central_config.schema.json"],
        ["env", "env", "env.schema.json"],
        ["vm_specific", "yaml", "vm_config.schema.json"],
      ],
    )
    const pathOf = (vmId: string) => settings.inventory.locate({ vmId, type: "vm_specific" }).path
    assert.deepEqual(["vm02", "vm03"].map(pathOf), [
      "/opt/th_timmy/configs/vm02-config.yml",
      "/opt/th_timmy/configs/vm-config.yml",
    ])
    assert.deepEqual(settings.schemas.dir, join(directory, "configs/schemas"))
    assert.deepEqual([...settings.schemas.files.keys()].sort(), ["central", "env", "vm_specific"])
    assert.deepEqual(settings.execution, {
      timeoutMs: 30_000,
      retries: 3,
      poolSize: 10,
      keyStoragePath: "/home/operator/.ssh/th_timmy_keys",
    })
    assert.deepEqual(settings.backups, {
      location: "/var/backups/th_timmy/config",
      retentionDays: 90,
      keyPath: null,
      oldKeyPaths: [],
      remote: null,
    })
  })

  test("the example that comes with the service", async () => {
    const cwd = fileURLToPath(new URL("../..", import.meta.url))
    const settings = await loadSettings("configs/config.example.yml", { home: "/home/operator", cwd })
    assert.ok(settings.inventory.vms.length > 0)
    assert.ok(settings.schemas.files.size > 0)
  })

  test("the least there can be, every default filled in", async (t) => {
    const { load } = await makeWorkspace(t)

    const settings = await load(leastSettings)

    assert.deepEqual(settings.inventory.vms, [
      {
        vmId: "vm01",
        name: "vm01",
        host: "10.0.0.10",
        port: 22,
        user: "thadmin",
        role: null,
        labels: {},
        enabled: true,
        hostKeys: [],
        privateKeyPath: null,
        proxyJump: null,
      },
    ])
    assert.deepEqual(settings.inventory.types, [
      {
        type: "central",
        format: "yaml",
        schemaFile: null,
        yamlVersion: null,
        mode: 0o640,
        keepOwner: true,
        maxBytes: 1_048_576,
        requireIfMatch: false,
        followSymlinks: false,
        become: false,
        sftpServer: null,
      },
    ])
    assert.deepEqual(settings.ssh, {
      user: "thadmin",
      port: 22,
      knownHostsPath: "/home/operator/.ssh/known_hosts",
      privateKeyPath: null,
      passphraseEnv: null,
      agent: false,
      proxyJump: null,
      connectTimeoutMs: 10_000,
      keepaliveMs: 5_000,
      maxHandshakes: 8,
      idleTimeoutMs: 300_000,
    })
    assert.deepEqual(settings.server, { host: "127.0.0.1", port: 8080, tls: null, corsOrigins: [] })
    assert.equal(settings.stateDir, "/home/operator/.local/state/config-manager")
    assert.deepEqual(settings.limits, { bodyBytes: 1_048_576, requestsPerMinute: 600, connections: 10_000 })
    assert.equal(settings.execution.poolSize, 32)
  })

  test("all that a VM can say", async (t) => {
    const { load } = await makeWorkspace(t)
    const settings = await load(
      withVm(
        `role: edge, labels: { site: lab }, host_key: [ "${pin}", "${otherPin}" ], private_key_path: keys/a, proxy_jump: "me@[::1]:2022"`,
      ),
    )
    const [vm] = settings.inventory.vms
    assert.deepEqual(vm?.labels, { site: "lab", role: "edge" })
    assert.deepEqual(vm?.hostKeys, [pin, otherPin])
    assert.equal(vm?.privateKeyPath, join(settings.file, "../keys/a"))
    assert.deepEqual(vm?.proxyJump, { user: "me", host: "::1", port: 2022 })
  })

  test("ssh's user, port and jump host for VMs that name none, and an empty proxy_jump for a direct way", async (t) => {
    const { load } = await makeWorkspace(t)
    const text = `${leastSettings}ssh: { user: ops, port: 2200, proxy_jump: "j@gate.example:22" }\n`
    const [through] = (await load(text)).inventory.vms
    assert.deepEqual([through?.user, through?.port, through?.proxyJump?.host], ["ops", 2200, "gate.example"])
    const [direct] = (await load(text.replace("ip: 10.0.0.10", 'ip: 10.0.0.10, proxy_jump: ""'))).inventory.vms
    assert.equal(direct?.proxyJump, null)
  })

  test("one host_key as text", async (t) => {
    const { load } = await makeWorkspace(t)
    assert.deepEqual((await load(withVm(`host_key: "${pin}"`))).inventory.vms[0]?.hostKeys, [pin])
  })

  for (const ip of ["vm01.example.org", "vm01", '"2001:db8::1"', "10.0.0.255", "a_b.example"]) {
    test(`${ip} as an address`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      assert.equal(await mistakes(leastSettings.replace("10.0.0.10", ip)), null)
    })
  }

  test("paths by label and with placeholders", async (t) => {
    const { load } = await makeWorkspace(t)
    const rules = `{ "role=edge": "/etc/{name}.yml", default: "/opt/{vmId}.yml" }`
    const text = withVm("name: one, role: edge }\n  vm02: { ip: vm02").replace(
      "{ default: /opt/app/central.yml }",
      rules,
    )
    const { inventory } = await load(text)
    assert.equal(inventory.locate({ vmId: "vm01", type: "central" }).path, "/etc/one.yml")
    assert.equal(inventory.locate({ vmId: "vm02", type: "central" }).path, "/opt/vm02.yml")
  })

  test("only the VMs that allowed_vm_ids names", async (t) => {
    const { load } = await makeWorkspace(t)
    const text = `${withVm("name: a }\n  vm02: { ip: b")}remote_execution: { allowed_vm_ids: [vm02] }\n`
    assert.deepEqual(
      (await load(text)).inventory.vms.map(({ vmId }) => vmId),
      ["vm02"],
    )
  })

  test("options of a type", async (t) => {
    const { load } = await makeWorkspace(t)
    const options = `{ format: json, mode: "0600", keep_owner: false, max_bytes: 10, require_if_match: true, follow_symlinks: true, become: true, sftp_server: /usr/lib/sftp-server, check_command: "" }`
    const { inventory } = await load(`${leastSettings}  config_types: { central: ${options} }\n`)
    assert.deepEqual(inventory.type("central"), {
      type: "central",
      format: "json",
      schemaFile: null,
      yamlVersion: null,
      mode: 0o600,
      keepOwner: false,
      maxBytes: 10,
      requireIfMatch: true,
      followSymlinks: true,
      become: true,
      sftpServer: "/usr/lib/sftp-server",
    })
  })

  for (const [path, format] of [
    ["/a.yaml", "yaml"],
    ["/a.json", "json"],
    ["/.env", "env"],
    ["/prod.env", "env"],
    ["/environment", "text"],
    ["/env", "text"],
    ["/a.conf", "text"],
  ] as const) {
    test(`${path} as ${format}`, async (t) => {
      const { load } = await makeWorkspace(t)
      const { inventory } = await load(leastSettings.replace("/opt/app/central.yml", path))
      assert.equal(inventory.type("central").format, format)
    })
  }

  test("schema: none in place of a schema file that is not there", async (t) => {
    const { load } = await makeWorkspace(t)
    const text = `${leastSettings}  config_schemas: { central: gone.json }\n  config_types: { central: { schema: none } }\n`
    const settings = await load(text)
    assert.equal(settings.inventory.type("central").schemaFile, null)
    assert.equal(settings.schemas.files.size, 0)
  })

  test("merge keys, the mapping's own keys first", async (t) => {
    const { load } = await makeWorkspace(t)
    const text = `defaults: &d { ip: gate, ssh_port: 2200, ssh_user: a }\n${leastSettings.replace("ip: 10.0.0.10", "<<: [*d], ssh_user: b")}`
    const [vm] = (await load(text)).inventory.vms
    assert.deepEqual([vm?.host, vm?.port, vm?.user], ["gate", 2200, "b"])
  })

  test("ids that look like numbers or like members of every object", async (t) => {
    const { load } = await makeWorkspace(t)
    const text = leastSettings.replace(
      "vm01: { ip: 10.0.0.10 }",
      "007: { ip: a }\n  constructor: { ip: b }\n  toString: { ip: c }",
    )
    const { inventory } = await load(text)
    assert.deepEqual(
      inventory.vms.map(({ vmId }) => vmId),
      ["007", "constructor", "toString"],
    )
  })

  test("YAML 1.2 also where a directive asks for 1.1", async (t) => {
    const { mistakes } = await makeWorkspace(t)
    assert.deepEqual(await mistakes(`%YAML 1.1\n---\n${withVm("enabled: no")}`), [
      "  line 4: vms.vm01.enabled: is text; expected true or false (yes, no, on and off are text in YAML 1.2)",
    ])
  })

  test("nothing that can be changed afterwards", async (t) => {
    const { load } = await makeWorkspace(t)
    const settings = await load(leastSettings)
    assert.throws(() => Object.assign(settings.server, { port: 1 }), TypeError)
    assert.throws(() => Object.assign(settings, { stateDir: "/" }), TypeError)
  })

  test("a fleet of 10 000 VMs within ten seconds, loaded machines included", async (t) => {
    const { load } = await makeWorkspace(t)
    const vms = Array.from(
      { length: 10_000 },
      (_, index) => `  vm${index}: { ip: 10.0.0.1, role: edge, labels: { site: lab } }\n`,
    )
    const text = leastSettings.replace("  vm01: { ip: 10.0.0.10 }\n", vms.join(""))
    const before = performance.now()
    assert.equal((await load(text)).inventory.vms.length, 10_000)
    const took = performance.now() - before
    t.diagnostic(`${Math.round(took)} ms`)
    assert.ok(took < 10_000, `took ${took} ms`)
  })
})
