/**
 * JSON in the shapes of the API, built by SQLite: a list is sent without ever becoming objects here. Members are columns,
 * or expressions that are JSON text already.
 */

/** Members of a version, as the migration writes them into its row. */
const versionMembers = {
  backupId: "backup_id",
  vmId: "vm_id",
  type: "type",
  path: "path",
  validFrom: "valid_from",
  supersededAt: "superseded_at",
  size: "size",
  digest: "digest",
  mode: "iif(mode IS NULL, 'null', printf('\"%04o\"', mode))",
  uid: "uid",
  gid: "gid",
  trigger: "trigger",
  reason: "reason",
  note: "note",
  actor: "actor",
  operationId: "operation_id",
  pinned: "iif(pinned = 1, 'true', 'false')",
  keyId: "key_id",
  format: "format",
  verifiedAt: "verified_at",
  state: "state",
}

const operationMembers = {
  operationId: "operation_id",
  kind: "kind",
  vmId: "vm_id",
  type: "type",
  state: "state",
  fileState: "file_state",
  startedAt: "started_at",
  finishedAt: "finished_at",
  actor: "actor",
  reason: "reason",
  requestId: "request_id",
  digest: "digest",
  previousDigest: "previous_digest",
  backupId: "backup_id",
  versionId: "version_id",
  rolloutId: "rollout_id",
  stages: "json(stages)",
  problem: "ifnull(json(problem), 'null')",
}

/** Where the copy stands off this host: at one place, or null. */
const copy = `(SELECT json_object('target', facts.value, 'state', copies.state, 'since', copies.since,
  'attempts', copies.attempts, 'problem', copies.problem)
  FROM copies, facts WHERE copies.backup_id = versions.backup_id AND facts.name = 'copy_target')`

/** Kept with the row: see migrations/0002-keeping.sql. */
export const versionListJson = "json"
/** 1: the JSON that is kept with a row is that of its columns. SQLite's own check does not look. */
export const isJsonOfRow = `json IS ${jsonObject(versionMembers)}`
export const versionJson = `rtrim(json, '}') || ',"copies":[' || ifnull(${copy}, '') || ']}'`
export const operationJson = jsonObject(operationMembers)

/** `printf` takes two thirds of the time of `json_object`. */
function jsonObject(members: Readonly<Record<string, string>>): string {
  const shape = Object.keys(members).map((name) => `"${name}":%s`)
  const values = Object.values(members).map((value) => (/^\w+$/.test(value) ? `json_quote(${value})` : value))
  return `printf('{${shape.join(",")}}', ${values.join(", ")})`
}
