import type { BlobStore } from "../domain/blob-store.ts"
import type { Caller, Precondition } from "../domain/caller.ts"
import type { Catalog, JsonPage, PageRequest, VersionFilter } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef, ConfigType } from "../domain/config-type.ts"
import type { DocumentValidator } from "../domain/document-validator.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { Inventory, Located } from "../domain/inventory.ts"
import type { CheckReport, DiffReport, RestoreReport } from "../domain/report.ts"
import type { Version } from "../domain/version.ts"
import { Attempt } from "./attempt.ts"
import { type Configs, type Content, contentOf, diffOf, notFound } from "./configs.ts"
import type { LiveFiles } from "./live-files.ts"
import { requireAllowed } from "./push-conditions.ts"
import { type PushPlan, refOf } from "./push-plan.ts"
import type { Pusher } from "./pusher.ts"
import type { StandingKeeper } from "./standing-keeper.ts"
import { verifyVersion } from "./verification.ts"
import { standingOf, type VersionKeeper } from "./version-keeper.ts"

export interface RestoreOptions {
  /** null: the VM the version comes from. */
  readonly vmId: string | null
  readonly dryRun: boolean
  readonly precondition: Precondition
}

/** A version with its bytes, opened. */
export interface OpenedVersion extends Content {
  readonly version: Version
}

interface Parts {
  readonly inventory: () => Inventory
  readonly files: LiveFiles
  readonly configs: Configs
  readonly pusher: Pusher
  readonly blobs: BlobStore
  readonly catalog: Catalog
  readonly keeper: VersionKeeper
  readonly validator: DocumentValidator
  readonly standing: StandingKeeper
  readonly clock: Clock
}

/** Versions: made, listed, opened, compared, verified, put back. */
export class Backups {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Keeps what stands on the VM; `made` is false where the newest version is that already.
   * @returns `json`: the version in API shape
   * @throws {Fault} `config_not_found`, `storage_full`, `backup_storage_unavailable`, those of Transport.open and Session.read
   */
  async create(ref: ConfigRef, caller: Caller): Promise<{ made: boolean; backupId: string; json: string }> {
    const located = this.#parts.inventory().locate(ref)
    const attempt = new Attempt("backup", ref, caller, this.#parts.clock)
    try {
      const kept = await this.#parts.pusher.alone(ref, caller, () => this.#keep(located, attempt, caller))
      return { ...kept, json: await this.getJson(kept.backupId) }
    } catch (error) {
      throw await this.#parts.pusher.refused(attempt, error)
    }
  }

  async #keep(located: Located, attempt: Attempt, caller: Caller): Promise<{ made: boolean; backupId: string }> {
    const { keeper, files, standing: standingKeeper } = this.#parts
    const ref = refOf(located)
    const [file, newest] = await attempt.stage("read", () =>
      Promise.all([files.read(located, caller.signal), keeper.newest(ref)]),
    )
    if (!file) throw notFound(located)
    const { actor, reason } = caller
    const origin = { ref, path: located.path, operationId: attempt.operationId, actor, reason }
    const plan = { origin, standing: standingOf(file), newest, trigger: "manual", state: "succeeded" } as const
    return standingKeeper.keep(attempt, plan)
  }

  list(filter: VersionFilter, page: PageRequest): Promise<JsonPage> {
    return this.#parts.catalog.listVersions(filter, page)
  }

  /** One version in API shape, as JSON text. @throws {Fault} `backup_not_found` */
  async getJson(backupId: string): Promise<string> {
    const json = await this.#parts.catalog.versionJson(backupId)
    if (json === null) throw unknownBackup(backupId)
    return json
  }

  /** @throws {Fault} `backup_not_found`, `backup_missing`, `backup_corrupt`, `backup_key_unavailable` */
  async content(backupId: string): Promise<OpenedVersion> {
    const version = await this.#version(backupId)
    const { bytes } = await this.#parts.blobs.open(version)
    const content = contentOf(bytes, this.#typeOf(version))
    if (content.digest !== version.digest) {
      throw new Fault("backup_corrupt", `Backup ${backupId} opens, but its bytes are not those that its row names.`)
    }
    return { ...content, version }
  }

  /** @param against `live`, `previous` or a backup id @throws {Fault} as `content`, and as Configs.read for `live` */
  async diff(backupId: string, against: string, caller: Caller): Promise<DiffReport> {
    const content = await this.content(backupId)
    const { version } = content
    if (against === "live") return diffOf(version.path, await this.#parts.configs.read(version, caller), content)
    const other =
      against === "previous" ? await this.#parts.catalog.previousVersion(backupId) : await this.#version(against)
    if (!other) throw new Fault("backup_not_found", `No version of this config is older than ${backupId}.`)
    return diffOf(version.path, await this.content(other.backupId), content)
  }

  /** Opens it, compares digest and size, parses; the result is kept with the version. @throws {Fault} `backup_not_found` */
  async verify(backupId: string): Promise<CheckReport> {
    const version = await this.#version(backupId)
    const { report, state } = await verifyVersion(version, this.#parts.blobs, this.#typeOf(version))
    const verifiedAt = report.ok ? this.#parts.clock().toISOString() : version.verifiedAt
    if (state) await this.#parts.catalog.markVersion(backupId, { state, verifiedAt })
    return report
  }

  /** Puts a version's bytes back, as a push (API 4). @throws {Fault} as `content`, and those of Pusher.push */
  async restore(backupId: string, options: RestoreOptions, caller: Caller): Promise<RestoreReport> {
    const version = await this.#version(backupId)
    const ref = { vmId: options.vmId ?? version.vmId, type: version.type }
    const located = this.#parts.inventory().locate(ref)
    const attempt = new Attempt("restore", ref, caller, this.#parts.clock)
    try {
      requireAllowed(located, options.precondition)
      this.#parts.pusher.requireSettled({ located })
      const content = await this.content(backupId)
      const schemaValid = await this.#schemaValid(content)
      const plan = planOf(content, { located, precondition: options.precondition, caller })
      const { configs, pusher } = this.#parts
      const report = options.dryRun ? await configs.rehearse(plan) : await pusher.push(plan, attempt)
      return { ...report, restoredFrom: backupId, schemaValid }
    } catch (error) {
      if (options.dryRun) throw error
      throw await this.#parts.pusher.refused(attempt, error)
    }
  }

  async #schemaValid(content: OpenedVersion): Promise<boolean | null> {
    if (content.type.schemaFile === null) return null
    try {
      const { errors } = await this.#parts.validator.validate(content.type.type, content.document().value)
      return errors.length === 0
    } catch (error) {
      if (isFault(error, "config_unparsable", "config_too_complex")) return false
      throw error
    }
  }

  async #version(backupId: string): Promise<Version> {
    const version = await this.#parts.catalog.getVersion(backupId)
    if (!version) throw unknownBackup(backupId)
    return version
  }

  /** How a version is to be read: as its type says; one whose type left the settings is shown as text. */
  #typeOf(version: Version): ConfigType {
    return this.#parts.inventory().typeOr(version.type, textType(version.type))
  }
}

function planOf(content: OpenedVersion, to: Pick<PushPlan, "located" | "precondition" | "caller">): PushPlan {
  const { version, bytes } = content
  const { mode, uid, gid, vmId } = version
  const own = vmId === to.located.vm.vmId
  return {
    ...to,
    keepVersions: true,
    attributes: own && mode !== null && uid !== null && gid !== null ? { mode, uid, gid } : null,
    content: (live) => ({ bytes, same: live?.equals(bytes) ?? false, warnings: [] }),
  }
}

function unknownBackup(backupId: string): Fault {
  return new Fault("backup_not_found", `No backup "${backupId}" is in the catalog; GET /backups lists those that are.`)
}

function textType(type: string): ConfigType {
  return {
    type,
    format: "text",
    schemaFile: null,
    yamlVersion: null,
    mode: 0o640,
    keepOwner: true,
    maxBytes: Number.MAX_SAFE_INTEGER,
    requireIfMatch: false,
    followSymlinks: false,
    become: false,
    sftpServer: null,
  }
}
