import assert from "node:assert/strict"
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { chmod, chown, mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { after, before, suite, test } from "node:test"
import { isRoot } from "../support/sshd.ts"
import { assertProblem, itemsOf, type Json, type Request, type Send } from "./client.ts"
import { assertRefused } from "./refusal.ts"
import { leftovers, makeWorld, standing, type World } from "./world.ts"

let world: World
let send: Send

before(async () => {
  world = await makeWorld({
    settings: (sshd) => ({
      vms: { vm03: { ip: sshd.host, enabled: false } },
      config_management: {
        config_types: { vm_specific: { max_bytes: 1000 } },
        config_paths: {
          central: { default: join(sshd.root, "{vmId}", "central.yml") },
          vm_specific: { vm01: join(sshd.root, "vm01", "vm.yml") },
          env: { default: join(sshd.root, "{vmId}", ".env") },
          full: { default: join(sshd.root, "full", "full.yml") },
          data: { default: join(sshd.root, "{vmId}", "data.json") },
          long: { default: join(sshd.root, "{vmId}", `${"x".repeat(230)}.yml`) },
          none: { default: join(sshd.root, "{vmId}", "none", "app.yml") },
          inside: { default: join(sshd.root, "{vmId}", "inside", "app.yml") },
        },
      },
    }),
  })
  send = world.send
})
after(() => world.close())

function refused(file: string, path: string, request: Request, status: number, code: string): Promise<Json> {
  return assertRefused(world, { file, path, request, status, code })
}

/** What `check` of vm01 finds wrong, a line each. */
async function failedChecks(): Promise<string> {
  const { body } = await send("POST", "/vms/vm01/check")
  const failed = (body.checks as readonly Json[]).filter(({ ok }) => ok === false)
  return failed.map(({ name, detail }) => `${String(name)}: ${String(detail)}`).join("\n")
}

async function versionIds(): Promise<readonly unknown[]> {
  return itemsOf(await send("GET", "/backups?limit=500")).map(({ backupId }) => backupId)
}

suite("What is refused before a VM is asked", () => {
  const cases: readonly (readonly [path: string, status: number, code: string])[] = [
    ["/vms/nobody/configs/central", 404, "vm_not_found"],
    ["/vms/vm01/configs/nothing", 404, "config_type_not_found"],
    ["/vms/vm02/configs/vm_specific", 404, "config_not_mapped"],
    ["/vms/vm03/configs/central", 409, "vm_disabled"],
    ["/vms/__proto__/configs/central", 400, "invalid_parameter"],
  ]
  for (const [path, status, code] of cases) {
    test(`${path}: ${status} ${code}, without a connection`, async () => {
      const before = connections()
      assertProblem(await send("GET", path), status, code)
      const problem = assertProblem(await send("PUT", path, { yaml: "port: 1\n" }), status, code)
      if (status === 409) assert.equal(problem.fileState, "unchanged")
      assert.equal(connections(), before)
    })
  }

  test("an invalid body: every error with its place, nothing kept, nothing written, no connection", async () => {
    const before = connections()
    const body = "name: 7\nport: eighty\nother: fine\n"
    const problem = await refused(
      world.file("vm01"),
      "/vms/vm01/configs/central",
      { yaml: body },
      422,
      "config_invalid",
    )
    const places = (problem.errors as readonly Json[]).map(({ pointer, line, column }) => [pointer, line, column])
    assert.deepEqual(places.toSorted(), [
      ["/name", 1, 7],
      ["/port", 2, 7],
    ])
    assert.ok(!JSON.stringify(problem).includes("eighty"))
    const { state, problem: kept } = (await send("GET", `/operations/${String(problem.operationId)}`)).body
    assert.deepEqual([state, (kept as Json).code], ["failed", "config_invalid"])
    assert.equal(connections(), before)
  })

  function connections(): number {
    return world.sshd.log().split("Connection from").length
  }
})

suite("What stands in the file's place", () => {
  const path = "/vms/vm01/configs/central"
  let file: string
  before(() => {
    file = world.file("vm01")
  })

  const strangers: readonly (readonly [what: string, make: (at: string) => void])[] = [
    ["a FIFO", (at) => void execFileSync("mkfifo", [at])],
    ["a directory", (at) => mkdirSync(at)],
    ["a symlink", (at) => symlinkSync(join(at, "..", "elsewhere"), at)],
    ["a dangling symlink", (at) => symlinkSync("nowhere", at)],
  ]
  for (const [what, make] of strangers) {
    test(`${what}: 409 not_a_regular_file within a second, and it stays what it is`, async () => {
      writeFileSync(join(world.directory("vm01"), "elsewhere"), "port: 7\n")
      make(file)
      try {
        const begin = performance.now()
        assertProblem(await send("GET", path), 409, "not_a_regular_file")
        const problem = assertProblem(await send("PUT", path, { yaml: "port: 1\n" }), 409, "not_a_regular_file")
        assert.ok(performance.now() - begin < 2000)
        assert.equal(problem.fileState, "unchanged")
        assert.equal(readFileSync(join(world.directory("vm01"), "elsewhere"), "utf8"), "port: 7\n")
        assert.deepEqual(leftovers(file), [])
      } finally {
        rmSync(file, { recursive: true, force: true })
      }
    })
  }

  test("a FIFO where a file was read before: 409, and so is the change right behind it", async () => {
    writeFileSync(file, "port: 1\n")
    assert.equal((await send("GET", path)).status, 200)
    rmSync(file)
    execFileSync("mkfifo", [file])
    try {
      assertProblem(await send("GET", path), 409, "not_a_regular_file")
      assertProblem(await send("PUT", path, { yaml: "port: 2\n" }), 409, "not_a_regular_file")
    } finally {
      rmSync(file)
    }
  })

  test("a name too long for a staging file beside it: 502 each time, and the config stays open", async () => {
    const long = world.file("vm01", `${"x".repeat(230)}.yml`)
    await writeFile(long, "port: 1\n")
    for (const port of [2, 3]) {
      const request = { yaml: `port: ${port}\n` }
      for (const url of ["/vms/vm01/configs/long?dryRun=true", "/vms/vm01/configs/long"]) {
        const { detail } = assertProblem(await send("PUT", url, request), 502, "write_failed")
        assert.match(String(detail), /name is longer than its file system allows/)
      }
      await refused(long, "/vms/vm01/configs/long", request, 502, "write_failed")
    }
    const unchanged = await send("PUT", "/vms/vm01/configs/long?backup=false", { yaml: "port: 1\n" })
    assert.deepEqual([unchanged.status, unchanged.body.outcome], [200, "unchanged"])
    assert.equal((await send("POST", "/backups", { json: { vmId: "vm01", type: "long" } })).status, 201)
    assert.match(await failedChecks(), /^long: directory: .*name is longer/m)
    rmSync(long)
  })

  test("no directory where a new file is to stand: 502 of a dry run, too, and of check", async () => {
    const inside = world.file("vm01", "inside")
    await writeFile(inside, "no directory")
    for (const type of ["none", "inside"]) {
      const url = `/vms/vm01/configs/${type}`
      const told = async (query: string) => {
        const { fileState, detail } = assertProblem(
          await send("PUT", url + query, { yaml: "port: 1\n" }),
          502,
          "write_failed",
        )
        return [fileState, String(detail).replace(/[0-9a-f-]{36}/, "ID")]
      }
      const dry = await told("?dryRun=true")
      assert.match(String(dry[1]), /the file or its directory does not exist/)
      assert.equal(dry[1], (await told(""))[1])
      assert.match(await failedChecks(), new RegExp(`^${type}: directory: `, "m"))
    }
    rmSync(inside)
  })

  test("nothing: 404 on read and on a backup", async () => {
    assertProblem(await send("GET", path), 404, "config_not_found")
    assertProblem(await send("POST", "/backups", { json: { vmId: "vm01", type: "central" } }), 404, "config_not_found")
  })

  test("a file that cannot be parsed: JSON 422 with the place, raw 200, and a whole new one may be put there", async () => {
    const bytes = Buffer.from("port: 1\n\tbad: tab\n")
    await writeFile(file, bytes)
    const problem = assertProblem(await send("GET", path), 422, "config_unparsable")
    assert.equal((problem.errors as readonly Json[])[0]?.line, 2)
    const raw = await send("GET", path, { headers: { accept: "application/octet-stream" } })
    assert.deepEqual([raw.status, raw.bytes], [200, bytes])
    assert.equal(raw.headers.get("content-type"), "application/octet-stream")
    const put = await send("PUT", path, { json: { port: 2 } })
    assert.deepEqual([put.status, put.body.outcome], [200, "written"], put.text)
    const kept = await send("GET", `/backups/${String(put.body.backupId)}/content`, {
      headers: { accept: "*/*, application/json;q=0, text/plain" },
    })
    assert.deepEqual([kept.status, kept.bytes], [200, bytes])
  })

  test("a file over max_bytes: 502 on both sides, and a body over it 413", async () => {
    const large = world.file("vm01", "vm_specific")
    await writeFile(large, `# ${"x".repeat(1000)}\n`)
    const at = "/vms/vm01/configs/vm_specific"
    assertProblem(await send("GET", at), 502, "remote_file_too_large")
    await refused(large, at, { yaml: "port: 1\n" }, 502, "remote_file_too_large")
    await refused(large, at, { yaml: `# ${"x".repeat(1000)}\n` }, 413, "body_too_large")
  })

  test("a directory that does not exist is told as such, not as a bug", async () => {
    const at = "/vms/vm01/configs/full"
    assertProblem(await send("GET", at), 404, "config_not_found")
    const problem = assertProblem(await send("PUT", at, { yaml: "port: 1\n" }), 502, "write_failed")
    assert.match(String(problem.detail), /directory/)
  })
})

suite("A VM whose disk is full (needs root: a small tmpfs is mounted)", { skip: isRoot ? false : "needs root" }, () => {
  let directory: string
  before(() => {
    directory = join(world.sshd.root, "full")
    mkdirSync(directory)
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=32k,mode=755", "none", directory])
  })
  after(() => void execFileSync("umount", [directory]))

  test("507 vm_disk_full, and the old file stays with its mode and owner", async () => {
    const file = join(directory, "full.yml")
    await writeFile(file, "port: 1\n")
    await chmod(file, 0o640)
    await chown(file, 12, 34)
    const large = `port: 2 # ${"x".repeat(40_000)}\n`
    await refused(file, "/vms/vm01/configs/full", { yaml: large }, 507, "vm_disk_full")
    // What fits is written again: nothing of the failed one takes room.
    assert.equal(readdirSync(directory).length, 1)
    const answer = await send("PUT", "/vms/vm01/configs/full", { yaml: `port: 2 # ${"x".repeat(20_000)}\n` })
    assert.equal(answer.status, 200, answer.text)
    assert.deepEqual([standing(file).mode, standing(file).uid], [0o640, 12])
  })
})

suite("A backup store that does not work", () => {
  const path = "/vms/vm02/configs/central"
  let file: string

  before(async () => {
    file = world.file("vm02")
    await writeFile(file, "port: 1\n")
    await send("PUT", path, { yaml: "port: 2\n" })
  })

  test("503 and an untouched VM with backup=true, the change made with backup=false, and readyz says so", async () => {
    const { backups } = world.home
    const aside = `${backups}-aside`
    renameSync(backups, aside)
    // Root may write wherever modes forbid it, but nobody below a file.
    writeFileSync(backups, "")
    try {
      const stood = standing(file)
      const problem = assertProblem(await send("PUT", path, { yaml: "port: 3\n" }), 503, "backup_storage_unavailable")
      assert.equal(problem.fileState, "unchanged")
      assert.deepEqual([standing(file), leftovers(file)], [stood, []])
      const dry = await send("PUT", `${path}?dryRun=true`, { yaml: "port: 3\n" })
      assertProblem(dry, 503, "backup_storage_unavailable")
      const backup = await send("POST", "/backups", { json: { vmId: "vm02", type: "central" } })
      // The newest version is what stands there, but nobody can say that it still opens.
      assertProblem(backup, 503, "backup_storage_unavailable")
      const ready = await send("GET", "/readyz")
      assert.deepEqual([ready.status, ready.body.ready], [503, false])

      const going = await send("PUT", `${path}?backup=false`, { yaml: "port: 4\n" })
      assert.deepEqual([going.status, going.body.outcome, going.body.versionId], [200, "written", null], going.text)
      assert.equal(readFileSync(file, "utf8"), "port: 4\n")
    } finally {
      rmSync(backups)
      renameSync(aside, backups)
    }
    assert.equal((await send("GET", "/readyz")).status, 200)
    const again = await send("PUT", path, { yaml: "port: 5\n" })
    assert.equal(again.status, 200, again.text)
    assert.deepEqual(leftovers(file), [])
  })

  test("backup=false leaves no version and no blob behind where the store works", async () => {
    const versions = await versionIds()
    const blobs = blobNames()
    const answer = await send("PUT", `${path}?backup=false`, { yaml: "port: 6\n" })
    assert.deepEqual([answer.status, answer.body.backupId, answer.body.versionId], [200, null, null], answer.text)
    assert.deepEqual(await versionIds(), versions)
    assert.deepEqual(blobNames(), blobs)
  })

  test("a failed change leaves no blob behind", async () => {
    const target = world.file("vm01", "data.json")
    await writeFile(target, '{"a":1}\n')
    await mkdir(`${target}.d`)
    const blobs = blobNames()
    await refused(target, "/vms/vm01/configs/data", { text: "{ not json" }, 422, "config_unparsable")
    assert.deepEqual(blobNames(), blobs)
  })

  function blobNames(): readonly string[] {
    return readdirSync(world.home.backups, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".cmb"))
      .toSorted()
  }
})
