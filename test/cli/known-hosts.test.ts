import assert from "node:assert/strict"
import { suite, type TestContext, test } from "node:test"
import { knownHostsScan, type ScanParts } from "../../src/cli/known-hosts.ts"
import { Fault } from "../../src/domain/fault.ts"
import { makeWorkspace } from "../settings/workspace.ts"
import { Recorder } from "./recorder.ts"

const fleet = `vms:
  vm01: { ip: 10.0.0.1 }
  vm02: { ip: 10.0.0.2, ssh_port: 2222 }
  vm03: { ip: 10.0.0.3, enabled: false }
config_management:
  config_paths: { central: { default: /a.yml } }
ssh: { connect_timeout: 2 }
`

const behindJump = fleet
  .replace("ip: 10.0.0.1", 'ip: 10.0.0.1, proxy_jump: "me@gate:2022"')
  .replace("ssh_port: 2222", 'ssh_port: 2222, proxy_jump: "me@gate:2022"')

const shown: ScanParts["scan"] = async (host, port) => [
  { type: "ssh-ed25519", fingerprint: "SHA256:abc", line: `[${host}]:${port} ssh-ed25519 AAAA` },
]

async function scan(t: TestContext, options: { text?: string; targets?: readonly string[]; scan?: ScanParts["scan"] }) {
  const { load } = await makeWorkspace(t)
  const output = new Recorder()
  const asked: string[] = []
  const code = await knownHostsScan({
    settings: await load(options.text ?? fleet),
    targets: options.targets ?? [],
    scan: (host, port, limits) => {
      asked.push(`${host} ${port} ${limits.timeoutMs}`)
      return (options.scan ?? shown)(host, port, limits)
    },
    output,
  })
  return { code, output, asked }
}

suite("config-manager known-hosts scan", () => {
  test("prints each key's line under a comment with its fingerprint, and tells to compare them", async (t) => {
    const { code, output, asked } = await scan(t, {})
    assert.equal(code, 0)
    assert.deepEqual(asked, ["10.0.0.1 22 2000", "10.0.0.2 2222 2000"])
    assert.equal(
      output.stdout,
      `# vm01 ssh-ed25519 SHA256:abc
[10.0.0.1]:22 ssh-ed25519 AAAA
# vm02 ssh-ed25519 SHA256:abc
[10.0.0.2]:2222 ssh-ed25519 AAAA
`,
    )
    assert.match(output.stderr, /^These keys are what the network answered.*\/home\/operator\/\.ssh\/known_hosts\.\n$/)
  })

  test("takes VM ids, host names and addresses", async (t) => {
    const targets = ["vm02", "gate", "gate:2022", "[::1]:22", "::1", "10.0.0.9"]
    const { code, asked } = await scan(t, { targets })
    assert.equal(code, 0)
    assert.deepEqual(asked, ["10.0.0.2 2222 2000", "gate 22 2000", "gate 2022 2000", "::1 22 2000", "10.0.0.9 22 2000"])
  })

  test("goes on after a VM that cannot be reached, and ends with 1", async (t) => {
    const { code, output } = await scan(t, {
      scan: (host, port, limits) =>
        host === "10.0.0.1"
          ? Promise.reject(new Fault("vm_unreachable", "No answer in 2 s."))
          : shown(host, port, limits),
    })
    assert.equal(code, 1)
    assert.match(output.stdout, /^# vm02/)
    assert.match(output.stderr, /^vm01: No answer in 2 s\.\nThese keys/)
  })

  test("gives no advice where there is no key, and ends with 1", async (t) => {
    const { code, output } = await scan(t, { targets: ["vm01"], scan: async () => [] })
    assert.equal(code, 1)
    assert.deepEqual([output.stdout, output.stderr], ["", "vm01: it showed no host key.\n"])
  })

  for (const target of ["", "a b", "-x", "gate:0", "gate:65536", "gate:ssh", "[gate", "1.2.3:22", "a:1:2"]) {
    test(`refuses ${JSON.stringify(target)} and contacts nobody`, async (t) => {
      const { code, output, asked } = await scan(t, { targets: [target] })
      assert.equal(code, 1)
      assert.equal(output.stderr, `${JSON.stringify(target)} is neither a VM of the settings nor HOST[:PORT].\n`)
      assert.deepEqual(asked, [])
    })
  }

  test("asks whether a name that fails was meant to be a VM of the settings", async (t) => {
    const nobody: ScanParts["scan"] = () => Promise.reject(new Fault("vm_unreachable", "Its name is not known."))
    const { code, output } = await scan(t, { targets: ["vm09", "gate", "vm 01", "vm02"], scan: nobody })
    assert.equal(code, 1)
    assert.equal(
      output.stderr,
      `vm09 (did you mean vm01?): Its name is not known.
gate: Its name is not known.
"vm 01" is neither a VM of the settings (did you mean vm01?) nor HOST[:PORT].
vm02: Its name is not known.
`,
    )
  })

  test("contacts no disabled VM, named or not", async (t) => {
    const { code, output, asked } = await scan(t, { targets: ["vm03"] })
    assert.equal(code, 1)
    assert.equal(output.stderr, "vm03: the settings have it disabled, so it is not contacted.\n")
    assert.deepEqual(asked, [])
  })

  test("scans a shared jump host once, and says how to get the keys behind it", async (t) => {
    const { code, output, asked } = await scan(t, { text: behindJump })
    assert.equal(code, 1)
    assert.deepEqual(asked, ["gate 2022 2000"])
    assert.match(output.stdout, /^# jump host gate ssh-ed25519 SHA256:abc\n/)
    assert.match(output.stderr, /^vm02: it is behind a jump host, .*: on gate, run ssh-keyscan -p 2222 10\.0\.0\.2\.$/m)
  })

  test("has at most 8 scans under way, and prints in the order of the fleet", async (t) => {
    const vms = Array.from({ length: 30 }, (_, index) => `  vm${index + 10}: { ip: h${index + 10} }\n`).join("")
    let running = 0
    let most = 0
    const { output } = await scan(t, {
      text: fleet.replace(/ {2}vm01.*?config_management/s, `${vms}config_management`),
      scan: async (host, port, limits) => {
        running += 1
        most = Math.max(most, running)
        for (let turns = Number(host.slice(1)) % 7; turns >= 0; turns -= 1) await new Promise(setImmediate)
        running -= 1
        return shown(host, port, limits)
      },
    })
    assert.equal(most, 8)
    const order = output.stdout.match(/(?<=# vm)[0-9]+/g)?.map(Number)
    assert.deepEqual(
      order,
      Array.from({ length: 30 }, (_, index) => index + 10),
    )
  })

  test("lets a bug up", async (t) => {
    await assert.rejects(scan(t, { scan: () => Promise.reject(new TypeError("x is not a function")) }), {
      name: "TypeError",
    })
  })
})
