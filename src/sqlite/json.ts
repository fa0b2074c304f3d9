/** JSON in the shapes of the API, built by SQLite: a list is sent without ever becoming objects here. */

const mode = "CASE WHEN mode IS NULL THEN NULL ELSE printf('%04o', mode) END"
const pinned = "json(CASE pinned WHEN 1 THEN 'true' ELSE 'false' END)"

/** Members of a version as in the lists, with the column or expression that gives each. */
const versionMembers = {
  backupId: "backup_id",
  vmId: "vm_id",
  type: "type",
  path: "path",
  validFrom: "valid_from",
  supersededAt: "superseded_at",
  size: "size",
  digest: "digest",
  mode,
  uid: "uid",
  gid: "gid",
  trigger: "trigger",
  reason: "reason",
  note: "note",
  actor: "actor",
  operationId: "operation_id",
  pinned,
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
  problem: "json(problem)",
}

/** Where copies stand off this host: one place, or none. */
const copies = `json((SELECT json_group_array(json_object('target', facts.value, 'state', copies.state, 'since', copies.since,
  'attempts', copies.attempts, 'problem', copies.problem))
  FROM copies, facts WHERE copies.backup_id = versions.backup_id AND facts.name = 'copy_target'))`

export const versionListJson = jsonObject(versionMembers)
export const versionJson = jsonObject({ ...versionMembers, copies })
export const operationJson = jsonObject(operationMembers)

function jsonObject(members: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(members).map(([name, expression]) => `'${name}', ${expression}`)
  return `json_object(${pairs.join(", ")})`
}
