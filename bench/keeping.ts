import { setTimeout as pause } from "node:timers/promises"
import { loadKeys } from "../src/blobs/keyring.ts"
import { DiskBlobStore } from "../src/blobs/store.ts"
import { type Home, makeHome } from "../test/support/service.ts"
import { configText } from "./fleet.ts"
import { idleSettings } from "./http.ts"
import { Lane, requestOf } from "./load.ts"
import type { Part } from "./measure.ts"
import { runCommand, type Server, startService } from "./process.ts"

export const blobCount = 10_000
const vms = 100
/** Sealed and synced together. */
const together = 250
const goals = { rebuildMs: 10_000, readyMs: 2_000 }
const lookEveryMs = 5
const limitMs = 60_000

/** The bad day: a catalog is made anew from 10 000 blobs, and a service starts over them. */
export async function benchKeeping(): Promise<Part> {
  const home = await makeHome({ settings: idleSettings })
  await keepBlobs(home)
  const rebuildMs = await runCommand(home, ["reindex"])
  const begin = performance.now()
  const service = await startService(home)
  await untilReady(service)
  const readyMs = performance.now() - begin
  const listed = await countVersions(service)
  await service.stop()
  await home.remove()
  if (listed !== blobCount) throw new Error(`${blobCount} blobs, and ${listed} versions in the list`)
  const line = (what: string, ms: number, goalMs: number): string =>
    `${what} ${(ms / 1000).toFixed(2)} s (goal: <= ${goalMs / 1000} s)`
  const rebuilt = line(`A catalog rebuilt from ${blobCount} blobs:`, rebuildMs, goals.rebuildMs)
  const ready = line("started over them and ready:", readyMs, goals.readyMs)
  return { figures: { blobCount, rebuildMs, readyMs }, table: `${rebuilt}; ${ready}.` }
}

/** @returns the store, with the first `count` blobs in it */
export async function keepBlobs(home: Home, count = blobCount): Promise<DiskBlobStore> {
  const { keyFile: keyPath, backups: location } = home
  const sources = { keyPath, passphrase: null, oldKeyPaths: [], backupLocation: location, newKey: false }
  // The store makes its directory, in which the keys are remembered.
  const store = await DiskBlobStore.open({ location, keyring: await loadKeys(sources) })
  const bytes = Buffer.from(configText(0))
  for (let from = 0; from < count; from += together) {
    const numbers = Array.from({ length: Math.min(together, count - from) }, (_, i) => from + i)
    await store.put(numbers.map((number) => ({ header: headerOf(number, bytes.length), bytes })))
  }
  return store
}

export function headerOf(number: number, length: number) {
  return {
    backup_id: `019b7c1e-2f4e-7000-8000-${String(number).padStart(12, "0")}`,
    vm_id: `vm${String(number % vms).padStart(2, "0")}`,
    type: "app",
    path: "/etc/app.yml",
    // Younger than anything that retention would remove.
    created_at: new Date(Date.now() - (blobCount - number) * 1000).toISOString(),
    plain_len: length,
    mode: 0o640,
    uid: 0,
    gid: 0,
    operation_id: null,
    trigger: "found",
    reason: null,
    actor: "anonymous",
  } as const
}

export async function untilReady(service: Server): Promise<void> {
  const lane = await Lane.open(service.url)
  const begin = performance.now()
  while ((await lane.send(requestOf("GET", "/readyz", "application/json"))).status !== 200) {
    if (performance.now() - begin > limitMs) throw new Error("the service does not become ready")
    await pause(lookEveryMs)
  }
  lane.close()
}

async function countVersions(service: Server): Promise<number> {
  const lane = await Lane.open(service.url)
  let count = 0
  let next: string | null = ""
  while (next !== null) {
    const path: string = `/backups?limit=500${next === "" ? "" : `&cursor=${next}`}`
    const { body } = await lane.send(requestOf("GET", path, "application/json"))
    const page = JSON.parse(body.toString()) as { items: readonly unknown[]; nextCursor: string | null }
    count += page.items.length
    next = page.nextCursor
  }
  lane.close()
  return count
}
