import { join } from "node:path"
import type { DiskBlobStore } from "../src/blobs/store.ts"
import { digestOf } from "../src/domain/digest.ts"
import { SqliteCatalog } from "../src/sqlite/catalog.ts"
import { migrationsDir } from "../test/sqlite/migrations.ts"
import { aJournal, anOperation, aVersion } from "../test/sqlite/records.ts"
import { type Home, makeHome } from "../test/support/service.ts"
import { configText } from "./fleet.ts"
import { idleSettings } from "./http.ts"
import { blobCount, headerOf, keepBlobs, untilReady } from "./keeping.ts"
import { Lane, requestOf } from "./load.ts"
import type { Part } from "./measure.ts"
import { runCommand, type Server, startService } from "./process.ts"

const unfinished = 100
const goalMs = 3000
/** How far the operations had got; nobody can know from any of these what stands on the VM. */
const phases = ["kept", "swapping", "swapped", "rolling_back"] as const

/** A fleet of which no VM answers: every question that a restart has stays open. */
const vmIds = Array.from({ length: unfinished }, (_, index) => `vm${String(index).padStart(2, "0")}`)
const settings = {
  ...idleSettings,
  vms: Object.fromEntries(vmIds.map((vmId) => [vmId, { ip: "127.0.0.1", ssh_port: 1, ssh_user: "nobody" }])),
}

/** A service that was killed in the middle of 100 changes, with 10 000 blobs, starts again. */
export async function benchRestart(): Promise<Part> {
  const home = await makeHome({ settings })
  const store = await keepBlobs(home, blobCount - unfinished)
  await runCommand(home, ["reindex"])
  await breakOff(home, store)
  const begin = performance.now()
  const service = await startService(home)
  await untilReady(service)
  const readyMs = performance.now() - begin
  const open = await countOpen(service)
  await service.stop()
  await home.remove()
  if (open !== unfinished) throw new Error(`${unfinished} operations were left open, and ${open} are`)
  const figure = `${(readyMs / 1000).toFixed(2)} s (goal: <= ${goalMs / 1000} s)`
  const table = `Restarted over ${blobCount} blobs and ${unfinished} unfinished operations, and ready: ${figure}.`
  return { figures: { blobCount, unfinished, readyMs }, table }
}

/** Leaves one change on each VM as a process leaves it that is killed: blob, provisional row and journal, and no end. */
async function breakOff(home: Home, store: DiskBlobStore): Promise<void> {
  const catalog = SqliteCatalog.open({ path: join(home.state, "catalog.db"), migrationsDir })
  const bytes = Buffer.from(configText(1))
  for (let index = 0; index < unfinished; index += 1) {
    const vmId = vmIds[index] ?? ""
    const operation = anOperation({ vmId, type: "app", startedAt: new Date().toISOString(), digest: digestOf(bytes) })
    const { operationId } = operation
    const header = { ...headerOf(blobCount - unfinished + index, bytes.length), vm_id: vmId, operation_id: operationId }
    const { backup_id: backupId, path, created_at: validFrom, mode, uid, gid, trigger } = header
    await store.put([{ header, bytes }])
    const about = { backupId, vmId, type: "app", path, validFrom, mode, uid, gid, trigger, operationId }
    const version = aVersion({
      ...about,
      size: bytes.length,
      digest: digestOf(bytes),
      keyId: store.keyId,
      provisional: true,
    })
    const names = { path, stagingPath: `${path}.${operationId}.new`, oldPath: `${path}.${operationId}.old` }
    const phase = phases[index % phases.length]
    await catalog.addOperation(operation, aJournal({ ...names, phase, madeWrittenId: backupId }), { add: [version] })
  }
  catalog.close()
}

/** Operations that have not ended. */
async function countOpen(service: Server): Promise<number> {
  const lane = await Lane.open(service.url)
  const { body } = await lane.send(requestOf("GET", "/operations?limit=500", "application/json"))
  lane.close()
  const { items } = JSON.parse(body.toString()) as { readonly items: readonly { readonly finishedAt: string | null }[] }
  return items.filter(({ finishedAt }) => finishedAt === null).length
}
