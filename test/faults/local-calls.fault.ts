import { readdirSync } from "node:fs"
import { join } from "node:path"
import { nodeFs } from "../../src/blobs/fs-port.ts"
import { DiskBlobStore } from "../../src/blobs/store.ts"
import type { Catalog } from "../../src/domain/catalog.ts"
import { Fault, type FaultCode, isFault } from "../../src/domain/fault.ts"
import { StartError } from "../../src/domain/start-error.ts"
import { aBlob, keyringOf, refOf } from "../blobs/blobs.ts"
import { FaultyFs } from "../blobs/faulty-fs.ts"
import { anyone, caller, edit, ref } from "../services/rig.ts"
import { makeTemporary, removeTemporary } from "../support/temporary.ts"
import { descriptorsOf } from "./auditor.ts"
import { type DiskRig, firstText, makeDiskRig } from "./disk-rig.ts"
import { type FaultRun, faultRun } from "./frame.ts"

/** Each error of the local file system, and the fault that it must become. */
const errors = [
  ["ENOSPC", "storage_full"],
  ["EIO", "backup_storage_unavailable"],
  ["EROFS", "backup_storage_unavailable"],
  ["EMFILE", "backup_storage_unavailable"],
  ["EACCES", "backup_storage_unavailable"],
] as const

/** Errors that one file alone may have, where it is read: its version is damaged then. */
const ofOneFile: ReadonlySet<string> = new Set(["EIO", "EACCES"])

/** A call of a client, `text` being what a change puts on the VM. */
interface Call {
  readonly name: string
  /** Whether it changes the VM's file to `text`. */
  readonly writes: boolean
  readonly make: (disk: DiskRig, text: string, backupId: string) => Promise<unknown>
  /** Does anew what failed, so that the next one finds what it expects. */
  readonly after?: (disk: DiskRig) => Promise<unknown>
}

const removed = aBlob()

const calls: readonly Call[] = [
  { name: "PUT", writes: true, make: ({ rig }, text) => rig.put(text) },
  { name: "PUT with backup=false", writes: true, make: ({ rig }, text) => rig.put(text, { backup: false }) },
  {
    name: "restore",
    writes: false,
    make: ({ rig }, _text, backupId) =>
      rig.backups.restore(backupId, { vmId: null, dryRun: false, precondition: anyone }, caller()),
  },
  { name: "POST /backups", writes: false, make: ({ rig }) => rig.backups.create(ref, caller()) },
  { name: "GET content", writes: false, make: ({ rig }, _text, backupId) => rig.backups.content(backupId) },
  { name: "GET /readyz", writes: false, make: ({ store }) => store.health() },
  {
    name: "a blob removed",
    writes: false,
    make: async ({ store }) => {
      await store.put([removed])
      await store.remove(refOf(removed))
    },
    after: ({ store }) => store.remove(refOf(removed)),
  },
  { name: "verify", writes: false, make: ({ rig }, _text, backupId) => rig.backups.verify(backupId) },
]

for (const call of calls) {
  faultRun({ id: "R4", name: `n-th local file call fails: ${call.name}`, ci: 1, nightly: 4 }, async (run) => {
    for (let round = 0; round < run.size; round++) {
      for (const [code, fault] of errors) await failEach(run, call, code, fault)
      await failEach(run, call, "ENOSPC", "storage_full", 200)
    }
  })
}

/** Fails the 1st, 2nd, .. call that `call` makes to the file system, until one gets by. */
async function failEach(
  run: FaultRun,
  call: Call,
  code: string,
  expected: FaultCode,
  mostTaken?: number,
): Promise<void> {
  const fs = new FaultyFs({ code, mostTaken })
  const disk = await makeDiskRig({ fs })
  try {
    const { backupId } = await disk.rig.backups.create(ref, caller())
    const before = descriptorsOf(process.pid).length
    for (let n = 1; ; n++) {
      // Somebody else has changed the file each time: it must be kept before anything is written.
      const standing = `n: ${n}\nport: 1\n`
      edit(disk.rig, standing)
      const text = `n: ${n}\nport: 2\n`
      fs.failAt = fs.calls + n
      const outcome = await call.make(disk, text, backupId).then(
        () => "done",
        (error: unknown) => (isFault(error) ? error.code : String(error)),
      )
      const met = fs.calls >= fs.failAt
      fs.failAt = 0
      await call.after?.(disk)
      if (!met) break
      run.count("runs")
      const where = `${call.name}, call ${n}, ${code}`
      // A file that the disk gives back no more is a damaged version, not a storage that is away.
      const fits = outcome === expected || (ofOneFile.has(code) && outcome === "backup_corrupt")
      if (outcome !== "done" && !fits) run.found("wrong outcomes", `${where}: ${outcome}`)
      const now = disk.rig.text()
      const wanted = outcome !== "done" ? [standing] : call.writes ? [text] : [standing, firstText]
      if (!wanted.includes(now ?? "")) run.found("torn", `${where}: ${outcome}, and ${now} stands there`)
      for (const name of temporaryFiles(disk.location)) run.found("wrong outcomes", `${where}: ${name} is left`)
    }
    const after = descriptorsOf(process.pid).length
    if (after > before) run.found("wrong outcomes", `${call.name}, ${code}: ${after - before} descriptors leaked`)
    await disk.quiet()
    disk.audit(run, [disk.rig.text()])
  } finally {
    await disk.close()
  }
}

function temporaryFiles(location: string): readonly string[] {
  return readdirSync(location, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".tmp"))
}

faultRun({ id: "R4", name: "n-th local file call fails: start", ci: 1, nightly: 4 }, async (run) => {
  const blob = aBlob()
  for (const [code] of errors) {
    for (let n = 1; ; n++) {
      const dir = makeTemporary("start")
      const location = join(dir, "backups")
      const calm = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs: nodeFs })
      await calm.put([blob])
      const fs = new FaultyFs({ failAt: n, code })
      const outcome = await DiskBlobStore.open({ location, keyring: keyringOf(0x11), fs }).catch(
        (error: unknown) => error,
      )
      if (fs.calls < n) break
      run.count("runs")
      const where = `start, call ${n}, ${code}`
      if (outcome instanceof DiskBlobStore) {
        const opened = await outcome.open(refOf(blob))
        if (!opened.bytes.equals(blob.bytes)) run.found("lost", `${where}: the blob is another one`)
      } else if (!(outcome instanceof StartError)) run.found("wrong outcomes", `${where}: ${String(outcome)}`)
      for (const name of temporaryFiles(location)) run.found("wrong outcomes", `${where}: ${name} is left`)
      await removeTemporary(dir)
    }
  }
})

/** `catalog`, whose n-th write from now on is refused. */
function failingWrites(catalog: Catalog, plan: { failAt: number; calls: number; code: FaultCode }): Catalog {
  const writes = new Set<PropertyKey>(["addOperation", "changeOperation", "markVersion"])
  return new Proxy(catalog, {
    get: (target, name) => {
      const member = Reflect.get(target, name) as unknown
      if (typeof member !== "function") return member
      return (...given: readonly unknown[]) => {
        if (writes.has(name)) plan.calls += 1
        if (writes.has(name) && plan.calls === plan.failAt) {
          return Promise.reject(new Fault(plan.code, "The catalog was told to fail."))
        }
        return Reflect.apply(member, target, given) as unknown
      }
    },
  })
}

const withoutCatalog: ReadonlySet<string> = new Set(["GET content", "GET /readyz", "a blob removed"])

for (const call of calls.filter(({ name }) => !withoutCatalog.has(name))) {
  faultRun({ id: "R4", name: `n-th catalog write fails: ${call.name}`, ci: 1, nightly: 4 }, async (run) => {
    for (const code of ["storage_full", "storage_busy", "backup_storage_unavailable"] as const) {
      const plan = { failAt: 0, calls: 0, code }
      const disk = await makeDiskRig({ instead: ({ catalog }) => ({ catalog: failingWrites(catalog, plan) }) })
      try {
        await failEachWrite(run, call, plan, disk)
      } finally {
        await disk.close()
      }
    }
  })
}

type WritePlan = Parameters<typeof failingWrites>[1]

async function failEachWrite(run: FaultRun, call: Call, plan: WritePlan, disk: DiskRig): Promise<void> {
  const { rig } = disk
  const { backupId } = await rig.backups.create(ref, caller())
  for (let n = 1; ; n++) {
    const standing = `n: ${n}\nport: 1\n`
    edit(rig, standing)
    const text = `n: ${n}\nport: 2\n`
    plan.failAt = plan.calls + n
    const outcome = await call.make(disk, text, backupId).then(
      () => "done",
      (error: unknown) => (isFault(error) ? error.code : String(error)),
    )
    const met = plan.calls >= plan.failAt
    plan.failAt = 0
    if (!met) break
    run.count("runs")
    const where = `${call.name}, catalog write ${n}, ${plan.code}`
    if (outcome !== "done" && outcome !== plan.code) run.found("wrong outcomes", `${where}: ${outcome}`)
    await disk.quiet()
    const wanted = outcome !== "done" ? [standing] : call.writes ? [text] : [standing, firstText]
    if (!wanted.includes(rig.text() ?? "")) run.found("torn", `${where}: ${outcome}, and ${rig.text()} stands there`)
    disk.audit(run, [rig.text()])
  }
}
