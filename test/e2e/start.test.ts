import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { once } from "node:events"
import { readdirSync } from "node:fs"
import { chmod, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { join } from "node:path"
import { suite, test } from "node:test"
import { idPattern } from "../../src/domain/vm.ts"
import { type Home, makeHome, type ServicePlan } from "../support/service.ts"
import { centralSchema } from "./world.ts"

const plan: ServicePlan = {
  settings: {
    vms: { vm01: { ip: "127.0.0.1", ssh_user: "nobody" } },
    config_management: {
      config_paths: { central: { default: "/x.yml" } },
      config_schemas: { central: "central.json" },
    },
  },
  schemas: { "central.json": centralSchema },
}

type Section = Readonly<Record<string, unknown>>

/** A home whose start must be refused: exit 78, a sentence, nothing on standard output, no stack. */
async function refusal(
  spoil: (home: Home) => unknown,
  over: Pick<ServicePlan, "environment"> & {
    readonly settings?: Section
    readonly management?: Section
    readonly flags?: readonly string[]
  } = {},
): Promise<string> {
  const management = { ...(plan.settings.config_management as Section), ...over.management }
  const home = await makeHome({
    ...plan,
    environment: over.environment ?? {},
    settings: { ...plan.settings, ...over.settings, config_management: management },
  })
  try {
    await spoil(home)
    const { code, stdout, stderr } = await home.run(["serve", ...(over.flags ?? [])])
    assert.equal(code, 78, stderr)
    assert.equal(stdout, "")
    assert.doesNotMatch(stderr, /\n\s+at |node:internal/)
    return stderr
  } finally {
    await home.remove()
  }
}

suite("A start that is refused ends with exit code 78 and says why", { concurrency: 2 }, () => {
  test("a schema file that is missing, with the way out", async () => {
    const told = await refusal(({ dir }) => rm(join(dir, "schemas", "central.json")))
    assert.match(told, /line \d+: config_management\.config_schemas\.central: .*central\.json does not exist/)
    assert.match(told, /config_types\.central\.schema: none/)
  })

  test("a level of the log that there is none of", async () => {
    const told = await refusal(() => {}, { environment: { CONFIG_MANAGER_LOG_LEVEL: "loud" } })
    assert.match(
      told,
      /^CONFIG_MANAGER_LOG_LEVEL is "loud"; it is one of trace, debug, info, warn, error, fatal, silent/,
    )
  })

  test("a certificate that is a named pipe, which is not waited for", async () => {
    const told = await refusal(({ dir }) => execFileSync("mkfifo", [join(dir, "cert.pem")]), {
      settings: { server: { port: 0, tls_cert_path: "cert.pem", tls_key_path: "key.pem" } },
    })
    assert.match(told, /^server\.tls_cert_path .*cert\.pem .* are not a certificate and its key/)
  })

  test("a VM whose id is the name of any file that the store keeps", async () => {
    const home = await makeHome(plan)
    try {
      await (await home.start()).stop()
      const names = readdirSync(home.backups).filter((name) => idPattern.test(name))
      assert.ok(names.length >= 2, names.join())
      const vms = Object.fromEntries(names.map((name) => [name, { ip: "127.0.0.1" }]))
      const told = await refusal(() => {}, { settings: { vms } })
      assert.equal(told.match(/cannot be a VM's id/g)?.length, names.length, told)
    } finally {
      await home.remove()
    }
  })

  test("a schema that does not compile, by name", async () => {
    const told = await refusal(({ dir }) => writeFile(join(dir, "schemas", "central.json"), '{"type":"objekt"}'))
    assert.match(told, /central\.json/)
  })

  test("a backup directory that cannot be made", async () => {
    const told = await refusal(({ dir }) => writeFile(join(dir, "in-the-way"), ""), {
      management: { backup_location: "in-the-way/backups" },
    })
    assert.match(told, /in-the-way\/backups/)
    assert.match(told, /writable/)
    assert.match(told, /elevated/)
  })

  test("no key at all", async () => {
    const told = await refusal(() => {}, { management: { encryption_key_path: "" } })
    assert.match(told, /TH_TIMMY_CONFIG_BACKUP_KEY_PATH/)
  })

  test("a key that is too short, with its length and no byte of it", async () => {
    const told = await refusal(({ keyFile }) => writeFile(keyFile, "S3CRET-KEY"))
    assert.match(told, /10 bytes/)
    assert.doesNotMatch(told, /S3CRET/)
  })

  test("a key that others can read", async () => {
    const told = await refusal(({ keyFile }) => chmod(keyFile, 0o644))
    assert.match(told, /0644/)
    assert.match(told, /chmod 600/)
  })

  test("a port that is taken", async () => {
    const server = createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    const address = server.address()
    const port = typeof address === "object" && address ? address.port : 0
    const told = await refusal(() => {}, { settings: { server: { port } } })
    assert.match(told, new RegExp(`127\\.0\\.0\\.1:${port} is taken`))
    server.close()
  })

  test("an address beyond this machine without TLS and tokens", async () => {
    const told = await refusal(() => {}, { settings: { server: { host: "0.0.0.0", port: 0 } } })
    assert.match(told, /--insecure-http/)
  })

  test("several mistakes at once, each with its line, and no value of them", async () => {
    const told = await refusal(() => {}, {
      settings: { vms: { vm01: { ip: "", ssh_port: 70_000, ssh_usr: "x" } }, ssh: { user: ["S3CRET"] } },
      management: { backup_retention_days: 30, encryption_method: "ROT13" },
    })
    for (const setting of ["ip", "ssh_port", "ssh_usr", "ssh.user", "backup_retention_days", "encryption_method"]) {
      assert.match(told, new RegExp(`line \\d+: \\S*${setting.replace(".", "\\.")}: `), setting)
    }
    assert.match(told, /ssh_user/)
    assert.doesNotMatch(told, /S3CRET|ROT13/)
  })

  test("settings that are no YAML, or not there", async () => {
    assert.match(await refusal(({ settingsFile }) => writeFile(settingsFile, "vms: [\n")), /line \d+/)
    assert.match(await refusal(({ settingsFile }) => rm(settingsFile)), /config\.yml/)
  })
})
