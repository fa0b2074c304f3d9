import type { Caller, Precondition } from "../domain/caller.ts"
import type { Catalog, JsonPage, PageRequest, VersionFilter } from "../domain/catalog.ts"
import type { Clock } from "../domain/clock.ts"
import type { ConfigRef, ConfigType } from "../domain/config-type.ts"
import type { DocumentValidator } from "../domain/document-validator.ts"
import { Fault, isFault } from "../domain/fault.ts"
import type { Inventory, Located } from "../domain/inventory.ts"
import type { CheckReport, DiffReport, RestoreReport } from "../domain/report.ts"
import type { Trigger, Version } from "../domain/version.ts"
import type { Warning } from "../domain/warning.ts"
import { Attempt } from "./attempt.ts"
import { type Configs, type Content, contentOf, diffOf, notFound } from "./configs.ts"
import type { LiveFiles } from "./live-files.ts"
import { requireAllowed } from "./push-conditions.ts"
import { type PushPlan, refOf } from "./push-plan.ts"
import type { Pusher } from "./pusher.ts"
import type { StandingKeeper } from "./standing-keeper.ts"
import { emptyWarnings } from "./suspect-empty.ts"
import type { Verifier } from "./verifier.ts"
import { standingOf, stateOf, type VersionKeeper } from "./version-keeper.ts"
import type { VersionReader } from "./version-reader.ts"
import { typeOfVersion } from "./version-type.ts"

export interface RestoreOptions {
  /** null: the VM the version comes from. */
  readonly vmId: string | null
  readonly dryRun: boolean
  readonly precondition: Precondition
}

/** A version with its bytes, opened. */
export interface OpenedVersion extends Content {
  readonly version: Version
  readonly warnings: readonly Warning[]
}

interface Parts {
  readonly inventory: () => Inventory
  readonly files: LiveFiles
  readonly configs: Configs
  readonly pusher: Pusher
  readonly reader: VersionReader
  readonly verifier: Verifier
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
   * @returns `json`: the version in API shape, with `warnings`
   * @throws {Fault} `config_not_found`, `storage_full`, `backup_storage_unavailable`, those of Transport.open and Session.read
   */
  async create(
    ref: ConfigRef,
    caller: Caller,
    trigger: Trigger = "manual",
  ): Promise<{ made: boolean; backupId: string; json: string }> {
    const located = this.#parts.inventory().locate(ref)
    const attempt = new Attempt("backup", ref, caller, this.#parts.clock)
    try {
      const kept = await this.#parts.pusher.alone(ref, caller, () => this.#keep(located, attempt, caller, trigger))
      const json = await this.getJson(kept.backupId)
      return { ...kept, json: `${json.slice(0, -1)},"warnings":${JSON.stringify(kept.warnings)}}` }
    } catch (error) {
      throw await this.#parts.pusher.refused(attempt, error)
    }
  }

  async #keep(
    located: Located,
    attempt: Attempt,
    caller: Caller,
    trigger: Trigger,
  ): Promise<{ made: boolean; backupId: string; warnings: readonly Warning[] }> {
    const { keeper, files, standing: standingKeeper } = this.#parts
    const ref = refOf(located)
    const [file, newest] = await attempt.stage("read", () =>
      Promise.all([files.read(located, caller.signal), keeper.newest(ref)]),
    )
    if (!file) throw notFound(located)
    const { actor, reason } = caller
    const origin = { ref, path: located.path, operationId: attempt.operationId, actor, reason }
    const found = standingOf(file)
    const plan = { origin, standing: found, newest, trigger, state: "succeeded" } as const
    return { ...(await standingKeeper.keep(attempt, plan)), warnings: emptyWarnings(found, newest) }
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

  /** @throws {Fault} `backup_not_found`, and those of VersionReader.open */
  async content(backupId: string): Promise<OpenedVersion> {
    const version = await this.#version(backupId)
    try {
      return await this.#open(version)
    } catch (error) {
      const state = isFault(error) ? stateOf(error.code) : null
      // From now on the lists say so too; where that cannot be kept it is found out again.
      if (state !== null && state !== version.state) {
        const { verifiedAt } = version
        await this.#parts.catalog.markVersion(backupId, { state, verifiedAt }).catch(() => {})
      }
      throw error
    }
  }

  async #open(version: Version): Promise<OpenedVersion> {
    const type = this.#typeOf(version)
    const { bytes, warnings } = await this.#parts.reader.open(version, type)
    const content = contentOf(bytes, type)
    // A legacy backup is written down anew, in today's format; and no row names what no key opened when it was entered.
    const named = version.format === "legacy" ? null : version.digest
    if (named !== null && content.digest !== named) {
      const { backupId } = version
      throw new Fault("backup_corrupt", `Backup ${backupId} opens, but its bytes are not those that its row names.`)
    }
    return { ...content, version, warnings }
  }

  /** @param against `live`, `previous` or a backup id @throws {Fault} as `content`, and as Configs.read for `live` */
  async diff(backupId: string, against: string, caller: Caller): Promise<DiffReport> {
    const content = await this.content(backupId)
    const { version } = content
    // Of a legacy backup whose config has no path today only its name is known.
    const path = version.path === "" ? backupId : version.path
    if (against === "live") return diffOf(path, await this.#parts.configs.read(version, caller), content)
    const other =
      against === "previous" ? await this.#parts.catalog.previousVersion(backupId) : await this.#version(against)
    if (!other) throw new Fault("backup_not_found", `No version of this config is older than ${backupId}.`)
    return diffOf(path, await this.content(other.backupId), content)
  }

  /** Opens it, compares digest and size, parses; the result is kept with the version. @throws {Fault} `backup_not_found` */
  async verify(backupId: string): Promise<CheckReport> {
    const version = await this.#version(backupId)
    return this.#parts.verifier.verify(version, this.#typeOf(version))
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

  /** null: nobody can say. A restore waits for no schema, and fails by none. */
  async #schemaValid(content: OpenedVersion): Promise<boolean | null> {
    if (content.type.schemaFile === null) return null
    try {
      const { errors } = await this.#parts.validator.validate(content.type.type, content.document().value)
      return errors.length === 0
    } catch (error) {
      if (isFault(error, "config_unparsable", "config_too_complex")) return false
      if (isFault(error, "config_busy")) return null
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
    return typeOfVersion(this.#parts.inventory(), version.type)
  }
}

function planOf(content: OpenedVersion, to: Pick<PushPlan, "located" | "precondition" | "caller">): PushPlan {
  const { version, bytes, warnings } = content
  const { mode, uid, gid, vmId } = version
  const own = vmId === to.located.vm.vmId
  return {
    ...to,
    keepVersions: true,
    attributes: own && mode !== null && uid !== null && gid !== null ? { mode, uid, gid } : null,
    content: (live) => ({ bytes, same: live?.equals(bytes) ?? false, warnings }),
  }
}

export function unknownBackup(backupId: string): Fault {
  return new Fault("backup_not_found", `No backup "${backupId}" is in the catalog; GET /backups lists those that are.`)
}
