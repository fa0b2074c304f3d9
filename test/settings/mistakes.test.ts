import assert from "node:assert/strict"
import { suite, test } from "node:test"
import { leastSettings, makeWorkspace } from "./workspace.ts"

const aPath = 'a path on this machine: absolute, "~/..." or relative to the working directory'
const anId = 'an id: a letter or digit, then up to 62 letters, digits, "_", "." or "-"'
const jump = '"user@host:port" (an IPv6 address in brackets); "" for none'
const ownDirectory =
  "is a directory of this service's own; expected one off this host: a copy beside the original is none"
const pin = '"SHA256:" and 43 characters of base64, as ssh-keygen -lf prints it'

/** What is put into the VM's mapping -> what is said of it. The VM stands in line 2. */
const vmMistakes: Readonly<Record<string, string>> = {
  "rol: a": "rol: is not a known setting; expected one of the known ones (did you mean role?)",
  "zzzzzzzz: a":
    "zzzzzzzz: is not a known setting; expected one of name, ip, role, enabled, ssh_user, ssh_port, labels, host_key, private_key_path, proxy_jump",
  '"a\\nb": a':
    '"a\\nb": is not a known setting; expected one of name, ip, role, enabled, ssh_user, ssh_port, labels, host_key, private_key_path, proxy_jump',
  "enabled: yes": "enabled: is text; expected true or false (yes, no, on and off are text in YAML 1.2)",
  "enabled: 1": "enabled: is 1; expected true or false",
  "ssh_port: 0": "ssh_port: is 0; expected a whole number from 1 to 65535",
  "ssh_port: 65536": "ssh_port: is 65536; expected a whole number from 1 to 65535",
  "ssh_port: 22.5": "ssh_port: is 22.5; expected a whole number from 1 to 65535",
  "ssh_port: .inf": "ssh_port: is Infinity; expected a whole number from 1 to 65535",
  "ssh_port: 022":
    "ssh_port: is a number with a leading zero, which is octal in YAML 1.1 and decimal in 1.2; expected no such zero, or quotes where text is meant",
  'ssh_port: "22"': "ssh_port: is text; expected a whole number from 1 to 65535",
  "ssh_port:": "ssh_port: has no value; expected a whole number from 1 to 65535",
  "ssh_user: a b": 'ssh_user: is not in the right form; expected a user name: no blanks, no "@", no ":"',
  'ssh_user: ""': 'ssh_user: is empty; expected a user name: no blanks, no "@", no ":"',
  'name: "a\\nb"': "name: is not in the right form; expected 1 to 128 characters on one line",
  "role: []": "role: is a list; expected up to 128 characters on one line",
  "role: edge, labels: { role: core }":
    "labels.role: differs from the VM's role, which is the label role too; expected one of them",
  "labels: { n: 5 }":
    "labels.n: is 5; expected text of 1 to 128 characters on one line (put a number or true in quotes)",
  'labels: { "a=b": c }':
    'labels.a=b: cannot be a name here; expected a label name: a letter or digit, then up to 62 letters, digits, "_", ".", "/" or "-"',
  "labels: x": "labels: is text; expected a mapping",
  "host_key: SHA256:short": `host_key: is not in the right form; expected ${pin}, or a list of them`,
  "host_key: []": `host_key: is empty; expected ${pin}, or a list of them`,
  "host_key: [MD5:aa]": `host_key[0]: is not in the right form; expected ${pin}`,
  "host_key: { a: b }": `host_key: is a mapping; expected ${pin}, or a list of them`,
  'private_key_path: "a\\0b"': `private_key_path: is not in the right form; expected ${aPath}; "" for none`,
  "private_key_path: ~root/key": `private_key_path: is not in the right form; expected ${aPath}; "" for none`,
  "proxy_jump: host:22": `proxy_jump: is not in the right form; expected ${jump}`,
  "proxy_jump: me@host": `proxy_jump: is not in the right form; expected ${jump}`,
  'proxy_jump: "me@::1:22"': `proxy_jump: is not in the right form; expected ${jump}`,
  'proxy_jump: "me@[10.0.0.1]:22"': `proxy_jump: is not in the right form; expected ${jump}`,
  "proxy_jump: me@host:0": `proxy_jump: is not in the right form; expected ${jump}`,
  "proxy_jump: me@host:65536": `proxy_jump: is not in the right form; expected ${jump}`,
  "ssh_port: !!python/int 22": "ssh_port: has an unknown tag (!...); expected a plain value",
  "<<: 5": "merges (<<) something that is not a mapping; expected a mapping",
}

/** In place of `vm01: { ip: 10.0.0.10 }` in line 2 -> all that is said. */
const fleetMistakes: Readonly<Record<string, readonly string[]>> = {
  "vm01: {}": ["line 2: vms.vm01.ip: is missing; expected an IP address or a host name"],
  "vm01: { ip: 10.0.0.256 }": ["line 2: vms.vm01.ip: is not in the right form; expected an IP address or a host name"],
  "vm01: { ip: 10.0.0 }": ["line 2: vms.vm01.ip: is not in the right form; expected an IP address or a host name"],
  'vm01: { ip: "[::1]" }': ["line 2: vms.vm01.ip: is not in the right form; expected an IP address or a host name"],
  'vm01: { ip: "a b" }': ["line 2: vms.vm01.ip: is not in the right form; expected an IP address or a host name"],
  "vm01: { ip: -a }": ["line 2: vms.vm01.ip: is not in the right form; expected an IP address or a host name"],
  'vm01: { ip: "" }': ["line 2: vms.vm01.ip: is empty; expected an IP address or a host name"],
  "vm01: 10.0.0.10": ["line 2: vms.vm01: is text; expected a mapping that describes one VM, at least its ip"],
  "vm01:": ["line 2: vms.vm01: has no value; expected a mapping that describes one VM, at least its ip"],
  "clock.json: { ip: a }": [
    "line 2: vms.clock.json: cannot be a VM's id; expected another one (a file of ours in backup_location has it)",
  ],
  "Lock.db: { ip: a }": [
    "line 2: vms.Lock.db: cannot be a VM's id; expected another one (a file of ours in backup_location has it)",
  ],
  '"a/b": { ip: a }': [`line 2: vms.a/b: cannot be a name here; expected ${anId}`],
  "__proto__: { ip: a }": [`line 2: vms.__proto__: cannot be a name here; expected ${anId}`],
  "default: { ip: a }": [
    'line 2: vms.default: cannot be a VM\'s id; expected another one ("default" has a meaning in config_paths)',
  ],
  "? [a]\n  : { ip: a }": ["line 2: vms: has a key that is not text; expected names"],
  "vm01: { ip: a }\n  vm01: { ip: b }": ["line 3: vms.vm01: is there twice (first in line 2); expected each key once"],
}

/** Behind the least settings, in line 6 -> all that is said. */
const moreMistakes: Readonly<Record<string, readonly string[]>> = {
  "  backup_retention_days: 89": [
    "line 6: config_management.backup_retention_days: is 89; expected a whole number from 90 to 36500",
  ],
  "  encryption_method: DES": [
    'line 6: config_management.encryption_method: is not supported; expected "AES" (AES-256-GCM), the only method there is',
  ],
  '  backup_location: ""': [`line 6: config_management.backup_location: is empty; expected ${aPath}`],
  "  encryption_old_key_paths: [a, b, c, d]": [
    "line 6: config_management.encryption_old_key_paths: is too long; expected a list of at most 3 paths, each once",
  ],
  "  encryption_old_key_paths: [a, a]": [
    "line 6: config_management.encryption_old_key_paths: names the same twice; expected a list of at most 3 paths, each once",
  ],
  "  backup_remote_path: /var/backups/th_timmy/config/": [
    `line 6: config_management.backup_remote_path: ${ownDirectory}`,
  ],
  "  backup_remote_path: /var/backups/th_timmy/config/copies": [
    `line 6: config_management.backup_remote_path: ${ownDirectory}`,
  ],
  "  backup_remote_path: /var/lib/cm/copies\nstate_dir: /var/lib/cm": [
    `line 6: config_management.backup_remote_path: ${ownDirectory}`,
  ],
  "  backup_remote_path: nearby": [
    'line 6: config_management.backup_remote_path: is not in the right form; expected a directory (absolute), user@host:/path or sftp://user@host:port/path; "" for none',
  ],
  "  config_types: { central: { mode: 0640 } }": [
    "line 6: config_management.config_types.central.mode: is a number with a leading zero, which is octal in YAML 1.1 and decimal in 1.2; expected no such zero, or quotes where text is meant",
  ],
  "  config_types: { central: { mode: 640 } }": [
    'line 6: config_management.config_types.central.mode: is 640; expected octal permission bits in quotes that let the owner read, such as "0640"',
  ],
  '  config_types: { central: { mode: "0999" } }': [
    'line 6: config_management.config_types.central.mode: is not in the right form; expected octal permission bits in quotes that let the owner read, such as "0640"',
  ],
  '  config_types: { central: { mode: "0240" } }': [
    'line 6: config_management.config_types.central.mode: is not in the right form; expected octal permission bits in quotes that let the owner read, such as "0640"',
  ],
  "  config_types: { central: { yaml_version: 1.1 } }": [
    'line 6: config_management.config_types.central.yaml_version: is 1.1; expected "1.1" or "1.2", in quotes',
  ],
  '  config_types: { central: { format: json, yaml_version: "1.1" } }': [
    "line 6: config_management.config_types.central.yaml_version: stands at a type of format json; expected it at yaml only",
  ],
  "  config_types: { central: { format: toml } }": [
    "line 6: config_management.config_types.central.format: is not supported; expected one of yaml, json, env, text",
  ],
  "  config_types: { central: { max_bytes: 0 } }": [
    "line 6: config_management.config_types.central.max_bytes: is 0; expected a whole number from 1 to 67108864",
  ],
  '  config_types: { central: { sftp_server: "/usr/lib/x; rm" } }': [
    'line 6: config_management.config_types.central.sftp_server: is not in the right form; expected an absolute path of letters, digits and _ . + - only; "" to look in the usual places',
  ],
  "  config_types: { central: { schema: central.json } }": [
    'line 6: config_management.config_types.central.schema: is not supported; expected "none"; a schema\'s file is named in config_schemas',
  ],
  "  config_types: { centrl: {} }": [
    "line 6: config_management.config_types.centrl: is not a config type; expected one that config_paths names (did you mean central?)",
  ],
  "  config_schemas: { other: env.schema.json }": [
    "line 6: config_management.config_schemas.other: is not a config type; expected one that config_paths names",
  ],
  "  config_schemas: { central: ../env.schema.json }": [
    'line 6: config_management.config_schemas.central: is not in the right form; expected a file name under schema_dir, without ".." (for none: config_types.<type>.schema: none)',
  ],
  '  config_schemas: { central: "" }': [
    'line 6: config_management.config_schemas.central: is empty; expected a file name under schema_dir, without ".." (for none: config_types.<type>.schema: none)',
  ],
  "remote_execution: { key_storage_type: vault }": [
    'line 6: remote_execution.key_storage_type: is not supported; expected "encrypted_dir", the only kind of key storage there is: a directory of key files',
  ],
  "remote_execution: { audit_log_destination: syslog }": [
    'line 6: remote_execution.audit_log_destination: is not supported; expected "file", the only destination there is: a file under state_dir',
  ],
  "remote_execution: { checksum_algorithm: md5 }": [
    'line 6: remote_execution.checksum_algorithm: is not supported; expected "sha256", the only algorithm there is',
  ],
  "remote_execution: { default_timeout: 0 }": [
    "line 6: remote_execution.default_timeout: is 0; expected a number from 0.1 to 3600",
  ],
  "remote_execution: { default_retry: -1 }": [
    "line 6: remote_execution.default_retry: is -1; expected a whole number from 0 to 10",
  ],
  "remote_execution: { allowed_vm_ids: [] }": [
    "line 6: remote_execution.allowed_vm_ids: is empty; expected a list of VM ids, each once; leave it out to allow all",
  ],
  "remote_execution: { allowed_vm_ids: [vm01, vm02] }": [
    "line 6: remote_execution.allowed_vm_ids[1]: is not a VM of vms; expected a VM id (did you mean vm01?)",
  ],
  "remote_execution: { default_timeut: 1 }": [
    "line 6: remote_execution.default_timeut: is not a known setting; expected one of the known ones (did you mean default_timeout?)",
  ],
  "ssh:": ["line 6: ssh: has no value; expected a mapping"],
  "ssh: { passphrase_env: a b }": [
    'line 6: ssh.passphrase_env: is not in the right form; expected the name of an environment variable; "" for none',
  ],
  "ssh: { max_handshakes: 0 }": ["line 6: ssh.max_handshakes: is 0; expected a whole number from 1 to 64"],
  "server: { port: -1 }": ["line 6: server.port: is -1; expected a whole number from 0 to 65535"],
  "server: { host: 127.0.0.1:80 }": [
    "line 6: server.host: is not in the right form; expected an IP address or a host name",
  ],
  "server: { tls_cert_path: a.pem }": [
    "line 6: server.tls_cert_path: stands without tls_key_path; expected both or neither",
  ],
  "server: { tls_key_path: a.pem }": [
    "line 6: server.tls_key_path: stands without tls_cert_path; expected both or neither",
  ],
  'server: { cors_origins: ["*"] }': [
    "line 6: server.cors_origins[0]: is not in the right form; expected an origin such as https://ops.example.com, without a path",
  ],
  "limits: { requests_per_minute: -1 }": [
    "line 6: limits.requests_per_minute: is -1; expected a whole number from 0 to 1000000",
  ],
  "state_dir: /var/backups/th_timmy/config": [
    "line 6: state_dir: is the same directory as config_management.backup_location; expected one of its own",
  ],
  "state_dir: 5": [`line 6: state_dir: is 5; expected ${aPath}`],
  "server: {}\nserver: {}": ["line 7: server: is there twice (first in line 6); expected each key once"],
  "shedules: []": ["line 6: shedules: is one letter off a section of ours; expected schedules, or a name less like it"],
  "serevr: {}": ["line 6: serevr: is one letter off a section of ours; expected server, or a name less like it"],
  "sssh: { user: a }": ["line 6: sssh: is one letter off a section of ours; expected ssh, or a name less like it"],
}

suite("loadSettings tells each setting by itself:", () => {
  for (const [member, expected] of Object.entries(vmMistakes)) {
    test(`a VM with ${JSON.stringify(member)}`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      const at = expected.startsWith("merges") ? ": " : "."
      assert.deepEqual(await mistakes(leastSettings.replace("ip: 10.0.0.10", `ip: 10.0.0.10, ${member}`)), [
        `  line 2: vms.vm01${at}${expected}`,
      ])
    })
  }

  for (const [vm, expected] of Object.entries(fleetMistakes)) {
    test(`a fleet with ${JSON.stringify(vm)}`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      assert.deepEqual(
        await mistakes(leastSettings.replace("vm01: { ip: 10.0.0.10 }", vm)),
        expected.map((line) => `  ${line}`),
      )
    })
  }

  for (const [more, expected] of Object.entries(moreMistakes)) {
    test(`settings with ${JSON.stringify(more.trim())}`, async (t) => {
      const { mistakes } = await makeWorkspace(t)
      assert.deepEqual(
        await mistakes(`${leastSettings}${more}\n`),
        expected.map((line) => `  ${line}`),
      )
    })
  }
})
