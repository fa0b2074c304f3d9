import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { masterKey } from "../../src/blobs/cipher.ts"
import type { Json } from "../e2e/client.ts"
import { eventually, leftovers, makeWorld, type World } from "../e2e/world.ts"
import { audit } from "./auditor.ts"
import { type FaultRun, faultRun } from "./frame.ts"
import { mountReadOnly, mountSmallDisk } from "./small-disk.ts"

const url = "/vms/vm01/configs/central"

/** A way to take the directory of the backups away. @returns how it comes back */
interface Outage {
  readonly name: string
  readonly needsRoot?: boolean
  readonly begin: (backups: string) => () => void
}

const outages: readonly Outage[] = [
  {
    name: "renamed away",
    begin: (backups) => {
      renameSync(backups, `${backups}-aside`)
      return () => renameSync(`${backups}-aside`, backups)
    },
  },
  {
    name: "renamed away, an empty one in its place",
    begin: (backups) => {
      renameSync(backups, `${backups}-aside`)
      mkdirSync(backups, { mode: 0o700 })
      return () => {
        rmSync(backups, { recursive: true })
        renameSync(`${backups}-aside`, backups)
      }
    },
  },
  {
    name: "a file in its place",
    begin: (backups) => {
      renameSync(backups, `${backups}-aside`)
      writeFileSync(backups, "")
      return () => {
        rmSync(backups)
        renameSync(`${backups}-aside`, backups)
      }
    },
  },
  { name: "read-only", needsRoot: true, begin: mountReadOnly },
  {
    name: "another file system over it",
    needsRoot: true,
    begin: (backups) => {
      const disk = mountSmallDisk([backups])
      return () => disk.close()
    },
  },
]

if (process.getuid?.() !== 0) {
  // Root writes wherever modes forbid it.
  const begin: Outage["begin"] = (backups) => {
    chmodSync(backups, 0o500)
    return () => chmodSync(backups, 0o700)
  }
  faultRunOf({ name: "not writable", begin })
}
for (const outage of outages) faultRunOf(outage)

function faultRunOf({ name, needsRoot, begin }: Outage): void {
  faultRun({ id: "R6", name: `backup directory gone: ${name}`, ci: 5, nightly: 20, needsRoot }, async (run) => {
    const world = await makeWorld()
    try {
      writeFileSync(world.file("vm01"), "port: 0\n")
      const acknowledged = ["port: 1\n"]
      await world.send("PUT", url, { yaml: "port: 1\n" })
      await run.rounds(async ({ index }) => {
        const text = `port: ${index + 2}\n`
        const end = begin(world.home.backups)
        try {
          await whileGone(run, world, text)
        } finally {
          end()
        }
        await comesBack(run, world, text)
        acknowledged.push(text)
      })
      const files = { [world.file("vm01")]: acknowledged.slice(-1) }
      const keys = [masterKey(readFileSync(world.home.keyFile))]
      audit(run, { files, ...world.home, keys, log: world.service().lines, acknowledged, mayTidy: true })
    } finally {
      await world.close()
    }
  })
}

/** 503, not ready, and the VM as it was; what needs no backups goes on. */
async function whileGone(run: FaultRun, { send, file }: World, text: string): Promise<void> {
  const before = readFileSync(file("vm01"), "utf8")
  const put = await send("PUT", url, { yaml: text })
  const { code, fileState } = put.body
  if (put.status !== 503 || code !== "backup_storage_unavailable" || fileState !== "unchanged")
    run.found("wrong outcomes", `PUT: ${put.status} ${put.text}`)
  if (readFileSync(file("vm01"), "utf8") !== before || leftovers(file("vm01")).length > 0)
    run.found("torn", "the VM was touched")
  const { body } = await send("GET", "/backups?vmId=vm01&limit=1")
  const [newest] = body.items as readonly Json[]
  const remove = await send("DELETE", `/backups/${String(newest?.backupId)}`)
  if (remove.status < 400) run.found("lost", `a version was removed: ${remove.status}`)
  const ready = await send("GET", "/readyz")
  if (ready.status !== 503) run.found("wrong outcomes", `readyz: ${ready.status} ${ready.text}`)
  const get = await send("GET", url)
  if (get.status !== 200) run.found("wrong outcomes", `GET: ${get.status} ${get.text}`)
}

async function comesBack(run: FaultRun, { send }: World, text: string): Promise<void> {
  const ready = await eventually(
    () => send("GET", "/readyz"),
    ({ status }) => status === 200,
  )
  const put = await send("PUT", url, { yaml: text })
  if (put.status !== 200) run.found("wrong outcomes", `PUT afterwards: ${put.status} ${put.text} ${ready.status}`)
}
