import assert from "node:assert/strict"
import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { suite, type TestContext, test } from "node:test"
import { checkCommand } from "../../src/cli/check.ts"
import { StartError } from "../../src/domain/start-error.ts"
import type { ListeningFlags } from "../../src/settings/listening.ts"
import type { Settings } from "../../src/settings.ts"
import { AjvValidator } from "../../src/validation/validator.ts"
import { leastSettings, makeWorkspace } from "../settings/workspace.ts"
import { Recorder } from "./recorder.ts"

interface Fixture {
  readonly text?: string
  readonly checkKeys?: (settings: Settings) => Promise<string>
  readonly placeChecks?: readonly (() => void)[]
  readonly flags?: ListeningFlags
  readonly load?: (files: ReadonlyMap<string, string>) => Promise<void>
}

/** Runs the command over settings; the validator and the keys are stand-ins that say yes where nothing else is given. */
async function check(t: TestContext, fixture: Fixture) {
  const workspace = await makeWorkspace(t)
  await workspace.write("config.yml", fixture.text ?? leastSettings)
  const output = new Recorder()
  const schemas: { dir: string; files: string[]; closed: number } = { dir: "", files: [], closed: 0 }
  const code = await checkCommand({
    file: "config.yml",
    environment: workspace.environment,
    openValidator: (dir) => ({
      load: async (files) => {
        schemas.dir = dir
        schemas.files = [...files.values()]
        await fixture.load?.(files)
      },
      close: async () => {
        schemas.closed += 1
      },
    }),
    placeChecks: () => fixture.placeChecks ?? [],
    checkKeys: fixture.checkKeys ?? (async () => "one key file"),
    flags: fixture.flags ?? { insecureHttp: false, noAuth: false },
    output,
  })
  return { code, output, schemas, workspace }
}

suite("config-manager check", () => {
  test("says all mistakes of the settings and nothing else, exit 78", async (t) => {
    const { code, output, schemas, workspace } = await check(t, {
      text: `${leastSettings}server: { port: -1, prot: 1 }\n`,
    })
    assert.equal(code, 78)
    assert.equal(output.stdout, "")
    assert.equal(
      output.stderr,
      `${join(workspace.directory, "config.yml")}: 2 mistakes
  line 6: server.prot: is not a known setting; expected one of the known ones (did you mean port?)
  line 6: server.port: is -1; expected a whole number from 0 to 65535
`,
    )
    assert.equal(schemas.closed, 0)
  })

  test("says what is wrong with schemas, keys and certificate all at once, exit 78", async (t) => {
    const { code, output, schemas, workspace } = await check(t, {
      text: `${leastSettings}  config_schemas: { central: env.schema.json }\nserver: { tls_cert_path: c.pem, tls_key_path: k.pem }\n`,
      load: () => Promise.reject(new Error("env.schema.json does not compile.")),
      checkKeys: () => Promise.reject(new StartError("The key file has 3 bytes.")),
    })
    assert.equal(code, 78)
    const { directory } = workspace
    assert.deepEqual(
      output.stderr.split("\n").filter((line) => line !== "" && !line.startsWith("note: ")),
      [
        "env.schema.json does not compile.",
        "The key file has 3 bytes.",
        `TLS: cannot read ${join(directory, "c.pem")} and ${join(directory, "k.pem")}.`,
      ],
    )
    assert.doesNotMatch(output.stdout, /^ok$/m)
    assert.equal(schemas.closed, 1)
  })

  test("compiles the schemas for real, and ends by itself", async (t) => {
    const workspace = await makeWorkspace(t)
    await workspace.write("configs/schemas/env.schema.json", '{ "type": "objekt" }')
    await workspace.write("config.yml", `${leastSettings}  config_schemas: { central: env.schema.json }\n`)
    const output = new Recorder()
    const code = await checkCommand({
      file: "config.yml",
      environment: workspace.environment,
      openValidator: (schemaDir) => new AjvValidator({ schemaDir }),
      placeChecks: () => [],
      checkKeys: async () => "one key file",
      flags: { insecureHttp: false, noAuth: false },
      output,
    })
    assert.equal(code, 78)
    assert.match(output.stderr, /env\.schema\.json/)
  })

  test("says all that the directories and the catalog would refuse, exit 78", async (t) => {
    const refusing = (place: string) => () => {
      throw new StartError(`${place} cannot be had.`)
    }
    const { code, output } = await check(t, { placeChecks: [refusing("state_dir"), refusing("backup_location")] })
    assert.equal(code, 78)
    assert.match(output.stderr, /\nstate_dir cannot be had\.\nbackup_location cannot be had\.\n$/)
    assert.doesNotMatch(output.stdout, /^ok$/m)
  })

  test("lets a bug up", async (t) => {
    await assert.rejects(check(t, { checkKeys: () => Promise.reject(new TypeError("x is not a function")) }), {
      name: "TypeError",
    })
  })

  test("says what it will be and a last line ok, exit 0, and writes nothing", async (t) => {
    const { code, output, schemas, workspace } = await check(t, {
      text: `${leastSettings}  config_schemas: { central: env.schema.json }\nssh: { known_hosts_path: config.yml, private_key_path: config.yml }\n`,
    })
    assert.equal(code, 0)
    assert.equal(output.stderr, "")
    assert.match(output.stdout, /^state: {10}\/home\/operator\/\.local\/state\/config-manager$/m)
    assert.match(output.stdout, /\nkeys: one key file\nok\n$/)
    assert.deepEqual(schemas, {
      dir: join(workspace.directory, "configs/schemas"),
      files: ["env.schema.json"],
      closed: 1,
    })
    assert.deepEqual((await readdir(workspace.directory)).sort(), ["config.yml", "configs"])
  })

  test("refuses what serve would refuse: an address beyond this machine, unless its flags are given", async (t) => {
    const text = `${leastSettings}server: { host: 0.0.0.0 }\n`
    const refused = await check(t, { text })
    assert.equal(refused.code, 78)
    const sentence = /^server\.host 0\.0\.0\.0 can be reached from other machines: .*--insecure-http.*--no-auth/m
    assert.match(refused.output.stderr, sentence)
    const allowed = await check(t, { text, flags: { insecureHttp: true, noAuth: true } })
    assert.equal(allowed.code, 0)
  })

  test("notes what will surprise: nobody's known_hosts, and no key to log in with", async (t) => {
    const { code, output } = await check(t, {})
    assert.equal(code, 0)
    const { stderr } = output
    assert.match(stderr, /^note: \/home\/operator\/\.ssh\/known_hosts cannot be read, so 1 VMs without host_key/m)
    assert.match(
      stderr,
      /^note: \/home\/operator\/\.ssh\/th_timmy_keys cannot be read, so VMs without private_key_path/m,
    )
  })
})
