import type { Database } from "better-sqlite3"
import type {
  Catalog,
  Departure,
  ExpiredVersions,
  JsonPage,
  OperationChange,
  OperationFilter,
  PageRequest,
  Totals,
  VersionChanges,
  VersionFilter,
} from "../domain/catalog.ts"
import type { ConfigRef } from "../domain/config-type.ts"
import type { CopiedVersion, CopyCatalog, CopyLag, CopyResult, DueCopy, WorkRef } from "../domain/copies.ts"
import type { Journal, OpenOperation, Operation } from "../domain/operation.ts"
import type { NewRun, Run, RunItem } from "../domain/run.ts"
import type { ImportedVersion, NewVersion, StoredVersion, Version } from "../domain/version.ts"
import { CopyTable } from "./copies.ts"
import { type OpenCatalogOptions, openForReading } from "./open.ts"
import { OperationTable } from "./operations.ts"
import { ReadTurn } from "./read-turn.ts"
import { type OpenedCatalog, openCatalog, type Remade, remakeCatalog } from "./remake.ts"
import { RetentionTables } from "./retention.ts"
import { RunTable } from "./runs.ts"
import { sqliteFault } from "./sqlite-fault.ts"
import { VersionTable } from "./versions.ts"
import { WriteQueue } from "./write-queue.ts"

/** Bytes; below this the next change may not fit. */
const roomWanted = 1024 * 1024

/** The catalog in one SQLite file. One process owns it (`lock.ts`). */
export class SqliteCatalog implements Catalog, CopyCatalog {
  /** What became of a damaged catalog when this one was opened; its versions are to be read anew from their blobs. */
  readonly remade: Remade | null
  readonly #db: Database
  readonly #reads: ReadTurn
  readonly #writes: WriteQueue
  readonly #operations: OperationTable
  readonly #versions: VersionTable
  readonly #retention: RetentionTables
  readonly #runs: RunTable
  readonly #copies: CopyTable

  private constructor({ db, remade }: OpenedCatalog) {
    this.remade = remade
    this.#db = db
    this.#reads = new ReadTurn(db)
    this.#writes = new WriteQueue(db, this.#reads)
    this.#operations = new OperationTable(db)
    this.#versions = new VersionTable(db)
    this.#retention = new RetentionTables(db)
    this.#runs = new RunTable(db)
    this.#copies = new CopyTable(db)
  }

  /**
   * Opens the catalog, or makes it, and applies the migrations it lacks. One that is damaged is moved aside and replaced.
   * @throws {StartError}
   */
  static open(options: OpenCatalogOptions): SqliteCatalog {
    return new SqliteCatalog(openCatalog(options))
  }

  /** As `open`, and leaves the versions behind: they are to be read anew. @throws {StartError} */
  static remake(options: OpenCatalogOptions): SqliteCatalog {
    return new SqliteCatalog(remakeCatalog(options))
  }

  /** Beside the process that has it; every write is refused. @throws {StartError} where it cannot be read as it is */
  static read(options: OpenCatalogOptions): SqliteCatalog {
    return new SqliteCatalog({ db: openForReading(options), remade: null })
  }

  addOperation(operation: Operation, journal: Journal | null, versions: VersionChanges = {}): Promise<void> {
    return this.#writes.write(() => {
      this.#operations.add(operation, journal)
      this.#versions.change(versions)
    })
  }

  changeOperation(operationId: string, change: OperationChange, versions: VersionChanges = {}): Promise<void> {
    return this.#writes.write(() => {
      this.#operations.change(operationId, change)
      this.#versions.change(versions)
    })
  }

  markVersion(
    backupId: string,
    found: { readonly state: Version["state"]; readonly verifiedAt: string | null; readonly keyId?: string },
  ): Promise<void> {
    // A version that cannot be had is what a purge goes by.
    return this.#writes.write(() => this.#versions.mark(backupId, found), { makesRoom: found.state !== "ok" })
  }

  getOperation(operationId: string): Promise<Operation | null> {
    return this.#read(() => this.#operations.get(operationId))
  }

  openOperations(): Promise<readonly OpenOperation[]> {
    return this.#read(() => this.#operations.open())
  }

  listOperations(filter: OperationFilter, page: PageRequest): Promise<JsonPage> {
    return this.#readKept(keyOf("operations", filter, page), () => this.#operations.list(filter, page))
  }

  newestVersion(ref: ConfigRef): Promise<Version | null> {
    return this.#read(() => this.#versions.newest(ref))
  }

  getVersion(backupId: string): Promise<Version | null> {
    return this.#read(() => this.#versions.get(backupId))
  }

  previousVersion(backupId: string): Promise<Version | null> {
    return this.#read(() => this.#versions.previous(backupId))
  }

  listVersions(filter: VersionFilter, page: PageRequest): Promise<JsonPage> {
    return this.#readKept(keyOf("versions", filter, page), () => this.#versions.list(filter, page))
  }

  versionJson(backupId: string): Promise<string | null> {
    return this.#readKept(`version ${backupId}`, () => this.#versions.json(backupId))
  }

  annotateVersion(
    backupId: string,
    change: { readonly pinned?: boolean; readonly note?: string | null },
  ): Promise<void> {
    // As the departures: until what was noted stands here, nothing is purged.
    return this.#writes.write(() => this.#versions.annotate(backupId, change), { makesRoom: true })
  }

  removeVersions(backupIds: readonly string[]): Promise<void> {
    return this.#writes.write(() => this.#versions.change({ remove: backupIds }), { makesRoom: true })
  }

  forgetVersions(backupIds: readonly string[]): Promise<void> {
    return this.#writes.write(
      () => {
        for (const backupId of backupIds) {
          this.#versions.change({ remove: [backupId] })
          this.#copies.keep(backupId)
        }
      },
      { makesRoom: true },
    )
  }

  importVersions(versions: readonly ImportedVersion[]): Promise<void> {
    return this.#writes.write(() => this.#versions.import(versions))
  }

  async orderVersions(): Promise<number> {
    let wrong = 0
    await this.#writes.write(() => {
      wrong = this.#versions.order()
    })
    return wrong
  }

  versionedConfigs(): Promise<readonly ConfigRef[]> {
    return this.#read(() => this.#versions.configs())
  }

  provisionalVersions(): Promise<readonly NewVersion[]> {
    return this.#read(() => this.#versions.provisional())
  }

  versionsOf(ref: ConfigRef): Promise<readonly StoredVersion[]> {
    return this.#read(() => this.#versions.of(ref))
  }

  annotatedVersions(): Promise<readonly Pick<Version, "backupId" | "pinned" | "note">[]> {
    return this.#read(() => this.#versions.annotated())
  }

  expiredVersions(cutoff: string, limit: number, how?: "uncounted"): Promise<ExpiredVersions> {
    return this.#read(() => this.#retention.expired(cutoff, limit, how))
  }

  departures(): Promise<readonly Departure[]> {
    return this.#read(() => this.#retention.departures())
  }

  noteDepartures(changes: readonly (ConfigRef & { readonly leftAt: string | null })[]): Promise<void> {
    const note = (): void => {
      for (const change of changes) this.#retention.noteDeparture(change)
    }
    return this.#writes.write(note, { makesRoom: true })
  }

  totals(): Promise<Totals> {
    return this.#read(() => this.#retention.totals())
  }

  earliestVersion(): Promise<string | null> {
    return this.#read(() => this.#versions.earliest())
  }

  fact(name: string): Promise<string | null> {
    return this.#read(() => this.#retention.fact(name))
  }

  setFact(name: string, value: string): Promise<void> {
    // Small, and what a purge goes by is among them.
    return this.#writes.write(() => this.#retention.setFact(name, value), { makesRoom: true })
  }

  addRun(run: NewRun): Promise<void> {
    return this.#writes.write(() => this.#runs.add(run))
  }

  noteRunItem(runId: string, item: RunItem): Promise<void> {
    return this.#writes.write(() => this.#runs.note(runId, item))
  }

  finishRun(runId: string, finishedAt: string): Promise<void> {
    return this.#writes.write(() => this.#runs.finish(runId, finishedAt))
  }

  getRun(runId: string, maxFailures: number): Promise<Run | null> {
    return this.#read(() => this.#runs.get(runId, maxFailures))
  }

  openRuns(): Promise<readonly NewRun[]> {
    return this.#read(() => this.#runs.open())
  }

  pruneRuns(before: string, most = Number.MAX_SAFE_INTEGER): Promise<void> {
    return this.#writes.write(() => this.#runs.prune(before, most))
  }

  lostVersions(limit: number): Promise<readonly Version[]> {
    return this.#read(() => this.#versions.lost(limit))
  }

  lockedVersions(limit: number): Promise<readonly Version[]> {
    return this.#read(() => this.#versions.locked(limit))
  }

  oldestVerified(now: string, limit: number): Promise<readonly Version[]> {
    return this.#read(() => this.#versions.oldestVerified(now, limit))
  }

  async setCopyTarget(target: string | null, now: string): Promise<void> {
    await this.#writes.write(() => this.#copies.setTarget(target))
    await this.#queueRest(now)
  }

  async queueCopies(now: string): Promise<void> {
    await this.#writes.write(() => this.#copies.queueAnew())
    await this.#queueRest(now)
  }

  async #queueRest(now: string): Promise<void> {
    // Each in a transaction of its own: others write in between, and where the process ends the next call goes on.
    let isMore = true
    const queueSome = (): void => {
      isMore = this.#copies.queueSome(now)
    }
    while (isMore) await this.#writes.write(queueSome)
  }

  copyTarget(): Promise<string | null> {
    return this.#read(() => this.#copies.target())
  }

  dueCopies(now: string, limit: number, work?: DueCopy["work"]): Promise<readonly DueCopy[]> {
    return this.#read(() => this.#copies.due(now, limit, work))
  }

  nextCopyAt(): Promise<string | null> {
    return this.#read(() => this.#copies.nextDue())
  }

  noteCopy(work: WorkRef, result: CopyResult): Promise<void> {
    return this.#writes.write(() => this.#copies.note(work, result))
  }

  queueCopy(backupId: string, now: string): Promise<void> {
    return this.#writes.write(() => this.#copies.queue(backupId, now))
  }

  newestCopied(): Promise<CopiedVersion | null> {
    return this.#read(() => this.#copies.newest())
  }

  isCopied(backupId: string): Promise<boolean> {
    return this.#read(() => this.#copies.isCopied(backupId))
  }

  isLeaving(backupId: string): Promise<boolean> {
    return this.#read(() => this.#copies.isLeaving(backupId))
  }

  copyLag(): Promise<CopyLag> {
    return this.#read(() => this.#copies.lag())
  }

  newestTimes(vmId: string): Promise<ReadonlyMap<string, string>> {
    return this.#read(() => this.#versions.newestTimes(vmId))
  }

  requireWritable(): Promise<void> {
    // As what is noted. A transaction of nothing looks at the file and takes the lock for writing, and costs no fsync.
    return this.#writes.write(() => undefined, { makesRoom: true })
  }

  async health(): Promise<{ readonly ok: boolean; readonly detail: string }> {
    try {
      // Not by the reserve, which is for what makes room.
      await this.#writes.write(() => undefined)
      const freeBytes = this.#writes.keepReserve()
      if (freeBytes < roomWanted) {
        return {
          ok: false,
          detail: `Only ${Math.floor(freeBytes / 1024)} KiB are left for the catalog ${this.#db.name}.`,
        }
      }
      return { ok: true, detail: `The catalog ${this.#db.name} can be written.` }
    } catch (error) {
      return { ok: false, detail: error instanceof Error ? error.message : String(error) }
    }
  }

  close(): void {
    this.#writes.close()
    this.#reads.end()
    this.#db.close()
  }

  /** Reads at once: what was written before this call and has resolved is seen. */
  async #read<T>(query: () => T): Promise<T> {
    try {
      return this.#reads.read(query)
    } catch (error) {
      throw sqliteFault(error, this.#db.name)
    }
  }

  #readKept<T extends string | JsonPage | null>(key: string, query: () => T): Promise<T> {
    return this.#read(() => this.#reads.readKept(key, query))
  }
}

/** What a page is kept by. */
function keyOf(list: string, filter: VersionFilter | OperationFilter, page: PageRequest): string {
  return JSON.stringify([list, filter, page])
}
