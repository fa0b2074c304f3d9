import { randomUUID } from "node:crypto"
import type { Journal, Operation } from "../../src/domain/operation.ts"
import type { ImportedVersion, NewVersion } from "../../src/domain/version.ts"

/** RFC 3339 with ms; `second` 0 is 2026-01-01. */
export function at(second: number): string {
  return new Date(Date.UTC(2026, 0, 1) + second * 1000).toISOString()
}

/** Seconds that rise with each record made, so that later ones are newer. */
let second = 0

export function anOperation(members: Partial<Operation> = {}): Operation {
  second += 1
  return {
    operationId: randomUUID(),
    kind: "write",
    vmId: "vm01",
    type: "central",
    state: "running",
    fileState: null,
    startedAt: at(second),
    finishedAt: null,
    actor: "anonymous",
    reason: null,
    requestId: "r-1",
    digest: "d".repeat(64),
    previousDigest: null,
    backupId: null,
    versionId: null,
    rolloutId: null,
    stages: [],
    problem: null,
    ...members,
  }
}

export function aJournal(members: Partial<Journal> = {}): Journal {
  return {
    phase: "prepared",
    path: "/opt/app/central.yml",
    stagingPath: "",
    oldPath: "",
    mode: 0o640,
    uid: null,
    gid: null,
    madeFoundId: null,
    madeWrittenId: null,
    keepVersions: true,
    become: false,
    sftpServer: null,
    maxBytes: 1_048_576,
    before: null,
    address: { host: "192.0.2.1", port: 22, user: "x", proxyJump: { user: "j", host: "192.0.2.2", port: 22 } },
    ...members,
  }
}

export function aVersion(members: Partial<NewVersion> = {}): NewVersion {
  second += 1
  return {
    backupId: randomUUID(),
    vmId: "vm01",
    type: "central",
    path: "/opt/app/central.yml",
    validFrom: at(second),
    size: 9,
    digest: "d".repeat(64),
    mode: 0o640,
    uid: 0,
    gid: 0,
    trigger: "found",
    reason: null,
    actor: "anonymous",
    operationId: null,
    keyId: "e".repeat(32),
    format: "cmb1",
    provisional: false,
    ...members,
  }
}

/** A version as it is found in the store. */
export function anImport(members: Partial<ImportedVersion> = {}): ImportedVersion {
  const { provisional: _, ...version } = aVersion()
  return { ...version, verifiedAt: null, state: "ok", ...members }
}
