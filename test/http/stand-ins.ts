import assert from "node:assert/strict"
import type { ConfigType, FormatName } from "../../src/domain/config-type.ts"
import { digestOf } from "../../src/domain/digest.ts"
import { Fault } from "../../src/domain/fault.ts"
import type { Operation } from "../../src/domain/operation.ts"
import type { CheckReport, DiffReport, PushReport, VmView } from "../../src/domain/report.ts"
import type { Run } from "../../src/domain/run.ts"
import type { Version } from "../../src/domain/version.ts"
import type { AppOptions } from "../../src/http/app.ts"
import type { Services } from "../../src/http/services.ts"
import type { LiveConfig } from "../../src/services/configs.ts"

export const backupId = "019b7c1e-2f4e-7000-8000-000000000001"
export const operationId = "019b7c1e-2f4e-7000-8000-000000000002"
export const liveText = "a: 1\n"
export const liveDigest = digestOf(Buffer.from(liveText))

/** What a stand-in was called with, in order. */
export interface Call {
  readonly name: string
  readonly with: readonly unknown[]
}

/** What the first call was given. */
export function given([first]: readonly Call[]): readonly unknown[] {
  assert.ok(first, "nothing was called")
  return first.with
}

export const options: AppOptions = {
  logger: false,
  bodyBytes: () => 1_048_576,
  requestsPerMinute: () => 0,
  corsOrigins: [],
  allowedHosts: null,
  tls: null,
  version: "0.0.0",
  timeouts: { headersMs: 10_000, requestMs: 30_000, checkIntervalMs: 1_000, idleMs: 60_000 },
  closing: { silentMs: 4_000, allMs: 9_500 },
  connections: 1_000,
}

export function configType(type: string, format: FormatName): ConfigType {
  return {
    type,
    format,
    schemaFile: null,
    yamlVersion: null,
    mode: 0o640,
    keepOwner: true,
    maxBytes: 1_048_576,
    requireIfMatch: false,
    followSymlinks: false,
    become: false,
    sftpServer: null,
  }
}

const types = [configType("central", "yaml"), configType("env", "env"), configType("motd", "text")]

export const vms: readonly VmView[] = ["vm01", "vm02", "vm03"].map((vmId) => ({
  vmId,
  name: vmId,
  host: "127.0.0.1",
  port: 22,
  role: "edge",
  labels: { role: "edge" },
  enabled: true,
  configTypes: types.map(({ type }) => type),
}))

function typeNamed(name: string): ConfigType {
  const found = types.find(({ type }) => type === name)
  if (!found) throw new Fault("config_type_not_found", `No config type "${name}" stands in the settings.`)
  return found
}

function vmNamed(vmId: string): VmView {
  const found = vms.find((vm) => vm.vmId === vmId)
  if (!found) throw new Fault("vm_not_found", `No VM "${vmId}" stands in the settings.`)
  return found
}

export function liveConfig(type: ConfigType, text = liveText): LiveConfig {
  const bytes = Buffer.from(text)
  return {
    bytes,
    digest: digestOf(bytes),
    type,
    path: "/etc/ä 100%.yml",
    file: { bytes, mode: 0o640, uid: 0, gid: 7, mtime: 1_700_000_000, realPath: "/etc/x" },
    document: () => ({ value: { a: 1 }, warnings: [], locate: () => null }),
  }
}

export const pushReport: PushReport = {
  vmId: "vm01",
  type: "central",
  path: "/etc/x",
  outcome: "written",
  digest: liveDigest,
  previousDigest: "0".repeat(64),
  size: 5,
  backupId,
  versionId: backupId,
  operationId,
  dryRun: false,
  diff: null,
  warnings: [],
}

const version: Version = {
  backupId,
  vmId: "vm01",
  type: "central",
  path: "/etc/x",
  validFrom: "2026-01-02T03:04:05.678Z",
  supersededAt: null,
  size: 5,
  digest: liveDigest,
  mode: 0o640,
  uid: 0,
  gid: 7,
  trigger: "found",
  reason: null,
  note: null,
  actor: "anonymous",
  operationId,
  pinned: false,
  keyId: "0".repeat(32),
  format: "cmb1",
  verifiedAt: null,
  state: "ok",
}

export const versionJson = JSON.stringify({ ...version, mode: "0640", copies: [] })

export const operation: Operation = {
  operationId,
  kind: "write",
  vmId: "vm01",
  type: "central",
  state: "succeeded",
  fileState: null,
  startedAt: "2026-01-02T03:04:05.678Z",
  finishedAt: null,
  actor: "anonymous",
  reason: null,
  requestId: null,
  digest: liveDigest,
  previousDigest: null,
  backupId: null,
  versionId: null,
  rolloutId: null,
  stages: [{ name: "read", ms: 1.5 }],
  problem: null,
}

export const runId = "019b7c1e-2f4e-7000-8000-000000000003"
const problem = { code: "vm_unreachable", status: 503, detail: "It does not answer." } as const

const run: Run = {
  runId,
  state: "running",
  counts: { total: 3, made: 1, unchanged: 0, failed: 0, unreachable: 1 },
  failures: [{ vmId: "vm02", type: "central", problem }],
  startedAt: "2026-01-02T03:04:05.678Z",
  finishedAt: null,
}

const diff: DiffReport = { changed: true, unified: "--- a\n+++ b\n", operations: [] }
const checks: CheckReport = { ok: true, checks: [{ name: "connect", ok: true, detail: "", durationMs: 1 }] }

/** Services that answer everything as if it went well; `over` replaces single methods. */
export function standIns(
  over: { readonly [name in keyof Services]?: Partial<Services[name]> } = {},
  calls: Call[] = [],
): Services {
  const note = (name: string, ...given: readonly unknown[]) => calls.push({ name, with: given })
  return {
    configs: {
      async read(ref) {
        note("read", ref)
        return liveConfig(typeNamed(ref.type))
      },
      async put(ref, body, options, caller) {
        note("put", ref, body, options, caller)
        return { ...pushReport, dryRun: options.dryRun }
      },
      async validate(ref, body) {
        note("validate", ref, body)
        return { valid: true, errors: [], warnings: [] }
      },
      async diff(ref, body) {
        note("diff", ref, body)
        return diff
      },
      typeOf(ref) {
        vmNamed(ref.vmId)
        return typeNamed(ref.type)
      },
      hasSecrets: (type) => type === "env",
      ...over.configs,
    },
    backups: {
      async create(ref, caller) {
        note("create", ref, caller)
        return { made: true, backupId, json: versionJson }
      },
      async list(filter, page) {
        note("list", filter, page)
        return { json: Buffer.from(`{"items":[${versionJson}],"nextCursor":"abc"}`), nextCursor: "abc" }
      },
      async getJson(id) {
        if (id !== backupId) throw new Fault("backup_not_found", "No backup has this id.")
        return versionJson
      },
      async content() {
        return { ...liveConfig(typeNamed("central")), version }
      },
      async diff(id, against) {
        note("diff", id, against)
        return diff
      },
      verify: async () => checks,
      async restore(id, options, caller) {
        note("restore", id, options, caller)
        return { ...pushReport, dryRun: options.dryRun, restoredFrom: id, schemaValid: true }
      },
      ...over.backups,
    },
    backupRuns: {
      async start(order, caller) {
        note("start", order, caller)
        return run
      },
      async get(id) {
        if (id !== runId) throw new Fault("run_not_found", "No run has this id.")
        return run
      },
      ...over.backupRuns,
    },
    retention: {
      async purge(options) {
        note("purge", options)
        return { removed: [backupId], kept: 1 }
      },
      async remove(id) {
        if (id !== backupId) throw new Fault("backup_not_found", "No backup has this id.")
        note("remove", id)
      },
      ...over.retention,
    },
    versionNotes: {
      async annotate(id, annotation) {
        if (id !== backupId) throw new Fault("backup_not_found", "No backup has this id.")
        note("annotate", id, annotation)
      },
      ...over.versionNotes,
    },
    operations: {
      async list(filter, page) {
        note("list", filter, page)
        return { json: Buffer.from(JSON.stringify({ items: [operation], nextCursor: null })), nextCursor: null }
      },
      async get(id) {
        if (id !== operationId) throw new Fault("operation_not_found", "No operation has this id.")
        return operation
      },
      ...over.operations,
    },
    vms: {
      list: (labels) => vms.filter((vm) => Object.entries(labels).every(([name, value]) => vm.labels[name] === value)),
      get: vmNamed,
      configs: async () => [{ type: "central", path: "/etc/x", format: "yaml", schema: true, lastBackupAt: null }],
      check: async () => checks,
      ...over.vms,
    },
    schemas: {
      list: () => [{ type: "central", file: "c.json", digest: liveDigest, title: "Central", hasSecrets: false }],
      text: () => ({ bytes: Buffer.from('{"type":"object"}'), digest: liveDigest }),
      ...over.schemas,
    },
    health: { readiness: async () => ({ ready: true, degraded: false, checks: checks.checks }), ...over.health },
    metrics: { contentType: "text/plain; version=0.0.4; charset=utf-8", text: async () => "up 1\n", ...over.metrics },
  }
}
