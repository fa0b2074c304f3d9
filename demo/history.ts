import { readFile, stat } from "node:fs/promises"
import { join } from "node:path"
import { loadKeys } from "../src/blobs/keyring.ts"
import { DiskBlobStore } from "../src/blobs/store.ts"
import type { BlobStore } from "../src/domain/blob-store.ts"
import type { Catalog } from "../src/domain/catalog.ts"
import { digestOf } from "../src/domain/digest.ts"
import type { Operation } from "../src/domain/operation.ts"
import { leastRetentionDays } from "../src/domain/retention.ts"
import { RetentionClock } from "../src/services/retention-clock.ts"
import { type Standing, VersionKeeper } from "../src/services/version-keeper.ts"
import type { Settings } from "../src/settings.ts"
import { SqliteCatalog } from "../src/sqlite/catalog.ts"

/** The id that the examples of the API's description use, so that they run as they are; its operation has it too. */
export const exampleId = "019b7c1e-2f4e-7000-8000-000000000001"

const ref = { vmId: "vm01", type: "central" } as const

/** Oldest first. What differs from today's file is the level of its log. */
const past = [
  // Old enough for the example of DELETE.
  { id: "0195602b-3800-7000-8000-000000000001", at: "2025-03-04T08:00:00.000Z", level: "debug", reason: "first try" },
  {
    id: "0196a49b-dc00-7000-8000-000000000001",
    at: "2025-05-06T08:00:00.000Z",
    level: "info",
    reason: "first try, quieter",
  },
  { id: "019b0c35-c700-7000-8000-000000000001", at: "2025-12-11T08:00:00.000Z", level: "error", reason: "set up" },
  { id: exampleId, at: "2026-01-02T03:04:05.678Z", level: "warning", reason: "how it was in January" },
] as const

/**
 * Gives vm01 a past, as a service that ran for months would have left it: versions older than this start, and a run.
 * Through the service's own parts and before it starts, for no call of the API makes a version of another day.
 * @param file what stands on the VM now
 */
export async function writeHistory(settings: Settings, file: string): Promise<void> {
  const { location, keyPath } = settings.backups
  const sources = { keyPath, passphrase: null, oldKeyPaths: [], backupLocation: location, newKey: false }
  const blobs = await DiskBlobStore.open({ location, keyring: await loadKeys(sources) })
  const migrationsDir = join(import.meta.dirname, "..", "migrations")
  const catalog = SqliteCatalog.open({ path: join(settings.stateDir, "catalog.db"), migrationsDir })
  try {
    const { path } = settings.inventory.locate(ref)
    const live = await readFile(file, "utf8")
    const { mode, uid, gid } = await stat(file)
    for (const moment of past) {
      const bytes = Buffer.from(live.replace("level: info", `level: ${moment.level}`))
      const standing = { bytes, digest: digestOf(bytes), mode: mode & 0o7777, uid, gid }
      await keep(moment, path, standing, { blobs, catalog })
    }
    await keepRun(catalog)
    await keepTime(catalog)
  } finally {
    catalog.close()
  }
}

/** One version and the operation that made it: blob, then row. */
async function keep(
  { id, at, reason }: (typeof past)[number],
  path: string,
  standing: Standing,
  { blobs, catalog }: { readonly blobs: BlobStore; readonly catalog: Catalog },
): Promise<void> {
  const keeper = new VersionKeeper(blobs, catalog, () => new Date(at))
  const actor = "anonymous"
  const origin = { ref, path, operationId: id, actor, reason }
  const version = keeper.plan(origin, "manual", standing, { backupId: id, at, provisional: false })
  await keeper.put([version])
  const operation: Operation = {
    ...ref,
    operationId: id,
    kind: "backup",
    state: "succeeded",
    fileState: "unchanged",
    startedAt: at,
    finishedAt: at,
    actor,
    reason,
    requestId: id,
    digest: standing.digest,
    previousDigest: standing.digest,
    backupId: id,
    versionId: id,
    rolloutId: null,
    stages: [],
    problem: null,
  }
  await catalog.addOperation(operation, null)
  await catalog.changeOperation(id, {}, { add: [version.row] })
}

/** That the service has run ever since the first version: otherwise retention would begin to count its days today. */
async function keepTime(catalog: Catalog): Promise<void> {
  let now = Date.parse(past[0].at)
  const time = new RetentionClock({
    catalog,
    files: { read: async () => null, write: async () => {} },
    clock: () => new Date(now),
    monotonic: () => now,
    retentionDays: () => leastRetentionDays,
    onProblem: () => {},
  })
  await time.now()
  now = Date.now()
  await time.persist()
}

/** A run of backups that ended a moment ago, under the id of the examples: one of January would be pruned by the first purge. */
async function keepRun(catalog: Catalog): Promise<void> {
  const startedAt = new Date(Date.now() - 1_000).toISOString()
  const run = {
    runId: exampleId,
    kind: "backup",
    trigger: "manual",
    actor: "anonymous",
    reason: null,
    requestId: null,
  } as const
  await catalog.addRun({ ...run, startedAt, targets: [ref] })
  await catalog.noteRunItem(exampleId, { ...ref, outcome: "made", problem: null })
  await catalog.finishRun(exampleId, new Date().toISOString())
}
