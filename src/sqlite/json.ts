/**
 * JSON in the shapes of the API, built by SQLite: a list is sent without ever becoming objects here. Members are columns,
 * or expressions that are JSON text already.
 */

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

/** Where copies stand off this host: one place, or none. */
const copies = `(SELECT json_group_array(json_object('target', facts.value, 'state', copies.state, 'since', copies.since,
  'attempts', copies.attempts, 'problem', copies.problem))
  FROM copies, facts WHERE copies.backup_id = versions.backup_id AND facts.name = 'copy_target')`

/** Kept with the row: see migrations/0002-keeping.sql. */
export const versionListJson = "json"
export const versionJson = `printf('%s,"copies":%s}', substr(json, 1, length(json) - 1), ${copies})`
export const operationJson = jsonObject(operationMembers)

/** `printf` takes two thirds of the time of `json_object`. */
function jsonObject(members: Readonly<Record<string, string>>): string {
  const shape = Object.keys(members).map((name) => `"${name}":%s`)
  const values = Object.values(members).map((value) => (/^\w+$/.test(value) ? `json_quote(${value})` : value))
  return `printf('{${shape.join(",")}}', ${values.join(", ")})`
}
