import assert from "node:assert/strict"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { suite, test } from "node:test"
import { load } from "js-yaml"
import { stagesOf } from "./dockerfile.ts"

interface Service {
  readonly build: { readonly context: string }
  readonly volumes: readonly string[]
  readonly secrets: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  readonly [key: string]: unknown
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>
  readonly volumes: Readonly<Record<string, unknown>>
  readonly secrets: Readonly<Record<string, { readonly file: string }>>
}

const root = join(import.meta.dirname, "..", "..")
const compose = load(readFileSync(join(root, "deploy", "compose.yml"), "utf8")) as Compose
const image = stagesOf(readFileSync(join(root, "Dockerfile"), "utf8")).at(-1)

function service(): Service {
  const [found, ...others] = Object.values(compose.services)
  assert.deepEqual(others, [])
  assert.ok(found)
  return found
}

suite("deploy/compose.yml", () => {
  test("builds the image of this checkout", () => {
    assert.ok(existsSync(join(root, "deploy", service().build.context, "Dockerfile")))
  })

  test("gives the container nothing that it does not need", () => {
    const { read_only, cap_drop, security_opt, privileged, user } = service()
    assert.deepEqual(
      { read_only, cap_drop, security_opt, privileged, user },
      {
        read_only: true,
        cap_drop: ["ALL"],
        security_opt: ["no-new-privileges:true"],
        privileged: undefined,
        user: undefined,
      },
    )
  })

  test("lets a stop take longer than the service's own limit of 15 s", () => {
    assert.ok(Number(/^(\d+)s$/.exec(String(service().stop_grace_period))?.[1]) > 15)
  })

  test("keeps both volumes of the image under a name, and mounts everything else read-only", () => {
    const volumes = service().volumes.map((volume) => volume.split(":"))
    const named = volumes.filter(([source = ""]) => !source.startsWith("/"))
    const declared = image?.instructions.find(({ name }) => name === "VOLUME")?.value ?? "[]"
    assert.deepEqual(named.map(([, target]) => target).sort(), (JSON.parse(declared) as string[]).sort())
    assert.deepEqual(named.map(([source]) => source).sort(), Object.keys(compose.volumes).sort())
    const mounted = volumes.filter(([source = ""]) => source.startsWith("/"))
    assert.deepEqual(
      mounted.map(([, target, mode]) => [target, mode]),
      [["/etc/config-manager", "ro"]],
    )
  })

  test("hands the key over as a secret, and says to the service where", () => {
    assert.deepEqual(service().secrets, Object.keys(compose.secrets))
    const [name] = service().secrets
    assert.equal(service().environment.CONFIG_MANAGER_BACKUP_KEY_PATH, `/run/secrets/${name}`)
  })

  test("stays on the host's loopback: no port is published", () => {
    assert.equal(service().network_mode, "host")
    assert.equal(service().ports, undefined)
    assert.equal(service().command, undefined)
  })

  test("keeps the health check of the image", () => {
    assert.ok(image?.instructions.some(({ name }) => name === "HEALTHCHECK"))
    assert.equal(service().healthcheck, undefined)
  })
})
