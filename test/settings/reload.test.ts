import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { planReload } from "../../src/settings/reload.ts"
import { leastSettings, makeWorkspace } from "./workspace.ts"

/** What is added to the least settings -> what then needs a restart. */
const restarts: Readonly<Record<string, readonly string[]>> = {
  "server: { port: 9090 }": ["server.port"],
  "server: { host: localhost }": ["server.host"],
  "server: { tls_cert_path: a, tls_key_path: b }": ["server.tls_cert_path", "server.tls_key_path"],
  "server: { cors_origins: [https://a.example] }": ["server.cors_origins"],
  "state_dir: /elsewhere": ["state_dir"],
  "  backup_location: /elsewhere": ["config_management.backup_location"],
  "  encryption_key_path: key": ["config_management.encryption_key_path"],
  "  encryption_old_key_paths: [key]": ["config_management.encryption_old_key_paths"],
  "  schema_dir: elsewhere": ["config_management.schema_dir"],
  "remote_execution: { default_timeout: 31, default_retry: 1, connection_pool_size: 1, key_storage_path: a }": [
    "remote_execution.default_timeout",
    "remote_execution.default_retry",
    "remote_execution.connection_pool_size",
    "remote_execution.key_storage_path",
  ],
  "ssh: { known_hosts_path: a, private_key_path: b, passphrase_env: C, agent: true }": [
    "ssh.known_hosts_path",
    "ssh.private_key_path",
    "ssh.passphrase_env",
    "ssh.agent",
  ],
  "ssh: { connect_timeout: 1, keepalive: 1, max_handshakes: 1, idle_timeout: 1 }": [
    "ssh.connect_timeout",
    "ssh.keepalive",
    "ssh.max_handshakes",
    "ssh.idle_timeout",
  ],
}

suite("planReload", () => {
  for (const [more, expected] of Object.entries(restarts)) {
    test(`asks for a restart for ${JSON.stringify(more.trim())}`, async (t) => {
      const { load } = await makeWorkspace(t)
      const current = await load(leastSettings)
      assert.deepEqual(planReload(current, await load(`${leastSettings}${more}\n`)), expected)
    })
  }

  test("takes in VMs, types, paths, schemas, retention, limits and the defaults of VMs", async (t) => {
    const { load } = await makeWorkspace(t)
    const current = await load(leastSettings)
    const next = await load(`vms: { vm02: { ip: b, role: edge } }
config_management:
  backup_retention_days: 120
  config_paths: { env: { default: /.env } }
  config_schemas: { env: env.schema.json }
  config_types: { env: { max_bytes: 5 } }
ssh: { user: ops, port: 2222, proxy_jump: "a@b:22" }
limits: { body_bytes: 2048, min_confirm_seconds: 20, requests_per_minute: 0, connections: 5 }
metrics: { open: false }
`)
    assert.deepEqual(planReload(current, next), [])
  })

  test("tells a certificate's path from its key's", async (t) => {
    const { load } = await makeWorkspace(t)
    const withTls = (cert: string, key: string) =>
      load(`${leastSettings}server: { tls_cert_path: ${cert}, tls_key_path: ${key} }\n`)
    const current = await withTls("a", "b")
    assert.deepEqual(planReload(current, await withTls("a", "c")), ["server.tls_key_path"])
    assert.deepEqual(planReload(current, await withTls("c", "b")), ["server.tls_cert_path"])
  })

  test("finds nothing to do in the same file", async (t) => {
    const { load } = await makeWorkspace(t)
    assert.deepEqual(planReload(await load(leastSettings), await load(leastSettings)), [])
  })
})
