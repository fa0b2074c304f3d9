import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { accessSync, constants, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { after, suite, test } from "node:test"
import { exitCodes, parseArguments } from "../../src/cli/arguments.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"

const root = join(import.meta.dirname, "..", "..")
const home = "/opt/config-manager"
const unit = readFileSync(join(root, "deploy", "systemd", "config-manager.service"), "utf8")
const dir = makeTemporary("unit")
after(() => removeTemporary(dir))

/** All values of a directive, in order. */
function valuesOf(name: string): readonly string[] {
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value ?? "")
}

function analyze(...args: readonly string[]): { readonly status: number | null; readonly said: string } {
  const path = join(dir, "config-manager.service")
  // The checkout stands in for the place that the unit names: what it starts must be there.
  writeFileSync(path, unit.replace(/^Documentation=.*\n/m, "").replaceAll(`${home}/`, `${root}/`))
  const { status, stdout, stderr, error } = spawnSync("systemd-analyze", [...args, path], { encoding: "utf8" })
  assert.equal(error, undefined, 'The unit is checked by systemd-analyze: run "npm run setup" (it installs systemd).')
  return { status, said: `${stdout}${stderr}` }
}

suite("deploy/systemd/config-manager.service", () => {
  test("is clean to systemd-analyze verify", () => {
    assert.deepEqual(analyze("verify", "--man=no"), { status: 0, said: "" })
  })

  test("is exposed no more than docs/operate.md says", () => {
    const { said } = analyze("security", "--offline=true", "--no-pager")
    const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1])
    const operate = readFileSync(join(root, "docs", "operate.md"), "utf8")
    const told = Number(/\*\*([\d.]+) of 10\*\*/.exec(operate)?.[1])
    assert.ok(exposure <= told, `${exposure} > ${told}`)
  })

  test("starts what the command line understands", () => {
    const [program = "", script = "", ...args] = (valuesOf("ExecStart")[0] ?? "").split(" ")
    accessSync(join(root, program.replace(`${home}/`, "")), constants.X_OK)
    accessSync(join(root, script.replace(`${home}/`, "")), constants.R_OK)
    const command = parseArguments(args)
    assert.deepEqual(command, {
      command: "serve",
      file: "/etc/config-manager/config.yml",
      insecureHttp: false,
      noAuth: false,
      newKey: false,
    })
  })

  test("does not start again what was refused, and ends nothing before it is done", () => {
    assert.deepEqual(valuesOf("Restart"), ["on-failure"])
    assert.deepEqual(valuesOf("RestartPreventExitStatus"), [`${exitCodes.usage} ${exitCodes.refused}`])
    assert.ok(Number(valuesOf("TimeoutStopSec")[0]) > 15)
    assert.match(valuesOf("ExecReload")[0] ?? "", /-HUP \$MAINPID$/)
  })

  test("hands the key over as a credential, under the name that the environment says", () => {
    const [name, source] = (valuesOf("LoadCredential")[0] ?? "").split(":")
    assert.equal(source, "/etc/config-manager/backup.key")
    assert.ok(valuesOf("Environment").includes(`CONFIG_MANAGER_BACKUP_KEY_PATH=%d/${name}`))
  })

  test("runs as a user of its own that writes in its two directories only", () => {
    assert.deepEqual(valuesOf("User"), ["config-manager"])
    assert.deepEqual(valuesOf("ProtectSystem"), ["strict"])
    assert.deepEqual(valuesOf("StateDirectory"), ["config-manager"])
    assert.match(valuesOf("ReadWritePaths")[0] ?? "", /^\/var\/backups\/config-manager( -\S+)?$/)
  })

  test("lets V8 write code to memory, which it cannot do without", () => {
    assert.deepEqual(valuesOf("MemoryDenyWriteExecute"), ["no"])
  })
})

suite("deploy/systemd/config-manager", () => {
  const path = join(root, "deploy", "systemd", "config-manager")

  test("is a shell script that can be executed", () => {
    accessSync(path, constants.X_OK)
    assert.equal(spawnSync("sh", ["-n", path], { encoding: "utf8" }).stderr, "")
  })

  test("runs as the unit does: user, directory, settings, key, program", () => {
    const script = readFileSync(path, "utf8")
    const [program = "", main = "", , , settings = ""] = (valuesOf("ExecStart")[0] ?? "").split(" ")
    for (const part of [
      `runuser -u ${valuesOf("User")[0]} `,
      `cd ${valuesOf("WorkingDirectory")[0]}\n`,
      `CONFIG_MANAGER_CONFIG=${settings} `,
      `CONFIG_MANAGER_BACKUP_KEY_PATH=${valuesOf("LoadCredential")[0]?.split(":")[1]} `,
      `${program} ${main} "$@"`,
    ]) {
      assert.ok(script.includes(part), part)
    }
  })
})
