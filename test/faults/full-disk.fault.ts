import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname } from "node:path"
import { masterKey, sealBlob } from "../../src/blobs/cipher.ts"
import { aBlob, fileOf, refOf } from "../blobs/blobs.ts"
import type { Answer, Json } from "../e2e/client.ts"
import { enterOperation, eventually, makeWorld, vmIds, type World } from "../e2e/world.ts"
import { audit } from "./auditor.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { mountSmallDisk } from "./small-disk.ts"

const url = "/vms/vm01/configs/central"

for (const [name, places] of [
  ["backup_location", ["backups"]],
  ["state_dir and backup_location on one disk", ["backups", "state"]],
  ["state_dir", ["state"]],
] as const) {
  faultRun({ id: "R5", name: `disk full: ${name}`, ci: 5, nightly: 20, needsRoot: true }, async (run) => {
    const world = await makeWorld()
    await world.service().stop()
    await seedOldVersions(world)
    const disk = mountSmallDisk(places.map((place) => world.home[place]))
    try {
      await world.restart()
      writeFileSync(world.file("vm01"), "port: 0\n")
      await run.rounds(async ({ index, random }) => {
        const before = readFileSync(world.file("vm01"), "utf8")
        const [kept] = (await world.send("GET", "/backups?vmId=vm01&limit=1")).body.items as readonly Json[]
        disk.fill(random.int(10) * 4096)
        await whileFull(run, world, { before, text: `port: ${index + 1} # ${"x".repeat(30_000)}\n`, kept })
        disk.empty()
        await afterwards(run, world, `port: ${index + 1}\n`)
        const keys = [masterKey(readFileSync(world.home.keyFile))]
        const files = { [world.file("vm01")]: [`port: ${index + 1}\n`] }
        audit(run, {
          files,
          ...world.home,
          keys,
          log: world.service().lines,
          acknowledged: [`port: ${index + 1}\n`],
          mayTidy: true,
        })
      })
    } finally {
      await world.service().kill()
      disk.close()
      await world.close()
    }
  })
}

for (const [name, places] of [
  ["backup_location", ["backups"]],
  ["state_dir and backup_location on one disk", ["backups", "state"]],
  ["state_dir", ["state"]],
] as const) {
  faultRun({ id: "R5", name: `restart on a full disk: ${name}`, ci: 2, nightly: 10, needsRoot: true }, async (run) => {
    const world = await makeWorld()
    await world.service().stop()
    await seedOldVersions(world)
    const disk = mountSmallDisk(places.map((place) => world.home[place]))
    try {
      await world.restart()
      await run.rounds(async ({ index }) => {
        await (index % 2 === 0 ? world.service().stop() : world.service().kill())
        // Some of it leaves the settings, or comes back, which is to be noted before anything is purged.
        await world.rewrite((settings) => allowing(settings, index % 2 === 0 ? ["vm01", "vm02"] : vmIds))
        disk.fill()
        await world.restart()
        expect(run, await world.send("GET", "/backups"), "GET /backups", 200)
        expect(run, await world.send("POST", "/backups/purge?force=true"), "purge", 200)
        disk.empty()
        // With room again it takes its reserve back.
        expect(run, await world.send("GET", "/readyz"), "readyz after room was made", 200)
      })
    } finally {
      await world.service().kill()
      disk.close()
      await world.close()
    }
  })
}

interface Scene {
  readonly before: string
  readonly text: string
  /** A version of earlier; undefined: none yet. */
  readonly kept: Json | undefined
}

const expect = (run: FaultRun, answer: Answer, what: string, ...statuses: readonly number[]): void => {
  if (statuses.includes(answer.status)) return
  run.found("wrong outcomes", `${what}: ${answer.status} ${answer.text.slice(0, 300)}`)
}

/** Nothing can be written, all else goes on, and what is old can go. */
async function whileFull(run: FaultRun, { send, file }: World, { before, text, kept }: Scene): Promise<void> {
  const put = await send("PUT", url, { yaml: text })
  const { code, fileState } = put.body
  const stands = readFileSync(file("vm01"), "utf8")
  if (put.status === 200) {
    // What was left was enough after all.
    if (stands !== text) run.found("lost", "acknowledged, and does not stand there")
  } else {
    expect(run, put, "PUT", 507)
    if (code !== "storage_full" || fileState !== "unchanged") run.found("wrong outcomes", `${code} ${fileState}`)
    if (stands !== before) run.found("torn", "the VM's file was touched")
  }
  expect(run, await send("GET", url), "GET config", 200)
  expect(run, await send("GET", "/backups"), "GET /backups", 200)
  expect(run, await send("GET", "/operations"), "GET /operations", 200)
  expect(run, await send("GET", "/healthz"), "GET /healthz", 200)
  expect(run, await send("GET", "/readyz"), "GET /readyz", 200, 503)
  if (kept) expect(run, await send("GET", `/backups/${String(kept.backupId)}/content`), "GET content", 200)
  const purge = await send("POST", "/backups/purge?force=true")
  expect(run, purge, "purge", 200)
}

async function afterwards(run: FaultRun, { send }: World, text: string): Promise<void> {
  const put = await eventually(
    () => send("PUT", url, { yaml: text }),
    ({ status }) => status === 200,
  )
  expect(run, put, "PUT after room was made", 200)
  expect(run, await send("GET", "/readyz"), "readyz after room was made", 200)
}

function allowing(settings: Json, allowed: readonly string[]): Json {
  return { ...settings, remote_execution: { ...(settings.remote_execution as Json), allowed_vm_ids: allowed } }
}

/** Versions of long ago, for a purge to remove. */
async function seedOldVersions(world: World): Promise<void> {
  const operation_id = await enterOperation(world)
  const key = masterKey(readFileSync(world.home.keyFile))
  for (let day = 1; day <= 9; day++) {
    const created_at = `2024-01-0${day}T00:00:00.000Z`
    const blob = aBlob(`day: ${day}\n`, { vm_id: "vm04", created_at, operation_id })
    const path = fileOf(world.home.backups, refOf(blob))
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, sealBlob(blob.header, blob.bytes, key), { mode: 0o600 })
  }
}
