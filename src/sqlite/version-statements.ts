import type { Database } from "better-sqlite3"
import type { ConfigRef } from "../domain/config-type.ts"
import type { NewVersion, Version } from "../domain/version.ts"
import { isJsonOfRow, versionJson } from "./json.ts"

const columns = `backup_id AS backupId, vm_id AS vmId, type, path, valid_from AS validFrom, superseded_at AS supersededAt,
  size, digest, mode, uid, gid, trigger, reason, note, actor, operation_id AS operationId, pinned, key_id AS keyId, format,
  verified_at AS verifiedAt, state`

export type VersionRow = Omit<Version, "pinned"> & { readonly pinned: number }

/** Each config by one look into the index, however many versions it has. */
const configsSql = `
  WITH RECURSIVE config(vm_id, type) AS (
    SELECT * FROM (SELECT vm_id, type FROM versions ORDER BY vm_id, type LIMIT 1)
    UNION ALL
    SELECT next.vm_id, next.type FROM config, versions AS next WHERE next.seq = coalesce(
      (SELECT seq FROM versions WHERE vm_id = config.vm_id AND type > config.type ORDER BY type LIMIT 1),
      (SELECT seq FROM versions WHERE vm_id > config.vm_id ORDER BY vm_id, type LIMIT 1))
  )
  SELECT vm_id AS vmId, type FROM config`

/** A version lasts until the next of its config. */
const chainSql = `
  UPDATE versions SET superseded_at = until FROM
    (SELECT seq AS place, lead(valid_from) OVER (PARTITION BY vm_id, type ORDER BY valid_from) AS until FROM versions)
  WHERE seq = place AND superseded_at IS NOT until`

/** The statements over versions, each prepared once. */
export function prepareVersions(db: Database) {
  const byVerified = "ORDER BY coalesce(verified_at, valid_from) LIMIT ?"
  const verified = `SELECT ${columns} FROM versions INDEXED BY versions_verified
    WHERE state = 'ok' AND coalesce(verified_at, valid_from)`
  return {
    insert: db.prepare<[Omit<NewVersion, "provisional"> & { readonly rowCheck: string }]>(
      `INSERT INTO versions (backup_id, vm_id, type, path, valid_from, size, digest, mode, uid, gid, trigger, reason, actor,
         operation_id, key_id, format, row_check)
       VALUES (@backupId, @vmId, @type, @path, @validFrom, @size, @digest, @mode, @uid, @gid, @trigger, @reason, @actor,
         @operationId, @keyId, @format, @rowCheck)`,
    ),
    import: db.prepare<[Omit<VersionRow, "supersededAt"> & { readonly seq: number | null; readonly rowCheck: string }]>(
      // Without a number it gets the next.
      `INSERT INTO versions (seq, backup_id, vm_id, type, path, valid_from, size, digest, mode, uid, gid, trigger, reason, note,
         actor, operation_id, pinned, key_id, format, verified_at, state, row_check)
       VALUES (@seq, @backupId, @vmId, @type, @path, @validFrom, @size, @digest, @mode, @uid, @gid, @trigger, @reason, @note,
         @actor, @operationId, @pinned, @keyId, @format, @verifiedAt, @state, @rowCheck)`,
    ),
    annotate: db.prepare<[{ backupId: string; pinned: number | null; note: string | null; noted: number }]>(
      `UPDATE versions SET pinned = coalesce(@pinned, pinned), note = CASE @noted WHEN 1 THEN @note ELSE note END
       WHERE backup_id = @backupId`,
    ),
    annotated: db.prepare<[], { backupId: string; pinned: number; note: string | null }>(
      "SELECT backup_id AS backupId, pinned, note FROM versions WHERE pinned = 1 OR note IS NOT NULL",
    ),
    standing: db.prepare<[string], { seq: number; validFrom: string; pinned: number; note: string | null }>(
      "SELECT seq, valid_from AS validFrom, pinned, note FROM versions WHERE backup_id = ?",
    ),
    verifiedLater: db.prepare<[string, number], VersionRow>(`${verified} > ? ${byVerified}`),
    verifiedBefore: db.prepare<[string, number], VersionRow>(`${verified} <= ? ${byVerified}`),
    // At random: where there are more than are asked for, each comes up some time.
    lost: db.prepare<[number], VersionRow>(
      `SELECT ${columns} FROM versions INDEXED BY versions_state WHERE state <> 'ok' AND state <> 'locked'
       ORDER BY random() LIMIT ?`,
    ),
    // Where a key is gone there may be as many as there are versions: chance is left to the index alone.
    locked: db.prepare<[number], VersionRow>(
      `SELECT ${columns} FROM versions WHERE format = 'cmb1' AND seq IN
         (SELECT seq FROM versions INDEXED BY versions_state WHERE state <> 'ok' AND state = 'locked'
          ORDER BY random() LIMIT ?)
       ORDER BY random()`,
    ),
    configs: db.prepare<[], ConfigRef>(configsSql),
    ofConfig: db.prepare<[string, string], VersionRow & { readonly rowCheck: string; readonly isJson: number }>(
      `SELECT ${columns}, row_check AS rowCheck, ${isJsonOfRow} AS isJson FROM versions WHERE vm_id = ? AND type = ? ORDER BY valid_from`,
    ),
    taken: db.prepare<[string, string, string]>(
      "SELECT 1 FROM versions WHERE vm_id = ? AND type = ? AND valid_from = ?",
    ),
    neighbours: db.prepare<[ConfigRef & { validFrom: string }], { before: string | null; after: string | null }>(
      `SELECT
         (SELECT backup_id FROM versions WHERE vm_id = @vmId AND type = @type AND valid_from < @validFrom
          ORDER BY valid_from DESC LIMIT 1) AS before,
         (SELECT min(valid_from) FROM versions WHERE vm_id = @vmId AND type = @type AND valid_from > @validFrom) AS after`,
    ),
    chain: db.prepare<[]>(chainSql),
    count: db.prepare<[]>(
      `UPDATE totals SET versions = found.versions, bytes = found.bytes
       FROM (SELECT count(*) AS versions, coalesce(sum(size), 0) AS bytes FROM versions NOT INDEXED) AS found
       WHERE (totals.versions, totals.bytes) IS NOT (found.versions, found.bytes)`,
    ),
    // The earliest that stands behind a later one: what is earlier than that is in order.
    disorder: db
      .prepare<[], string | null>(
        `SELECT min(valid_from) FROM (SELECT valid_from, max(valid_from) OVER (ORDER BY seq) AS latest FROM versions)
         WHERE latest > valid_from`,
      )
      .pluck(),
    // Behind all that have a place: a row cannot take one that another still has.
    renumber: db.prepare<[string]>(
      `UPDATE versions SET seq = place FROM
         (SELECT backup_id AS id, (SELECT max(seq) FROM versions) + row_number() OVER (ORDER BY valid_from, seq) AS place
          FROM versions WHERE valid_from >= ?)
       WHERE backup_id = id`,
    ),
    // Of the cursors: where there is none yet, no row has got another number.
    epoch: db.prepare<[], string>("SELECT value FROM facts WHERE name = 'list_epoch'").pluck(),
    numberOf: db.prepare<[number, string]>("SELECT 1 FROM versions WHERE seq = ? AND valid_from = ?"),
    newEpoch: db.prepare<[]>(
      `INSERT INTO facts VALUES ('list_epoch', lower(hex(randomblob(8))))
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    ),
    supersede: db.prepare<[string | null, string]>("UPDATE versions SET superseded_at = ? WHERE backup_id = ?"),
    remove: db.prepare<[string]>("DELETE FROM versions WHERE backup_id = ?"),
    mark: db.prepare<[string, string | null, string]>(
      "UPDATE versions SET state = ?, verified_at = ? WHERE backup_id = ?",
    ),
    rekey: db.prepare<[string, string, string]>("UPDATE versions SET key_id = ?, row_check = ? WHERE backup_id = ?"),
    addProvisional: db.prepare<[string, string]>("INSERT INTO provisional_versions VALUES (?, ?)"),
    takeProvisional: db
      .prepare<[string], string>("DELETE FROM provisional_versions WHERE backup_id = ? RETURNING version")
      .pluck(),
    provisional: db.prepare<[], [backupId: string, version: string]>("SELECT * FROM provisional_versions").raw(),
    removeProvisional: db.prepare<[string]>("DELETE FROM provisional_versions WHERE backup_id = ?"),
    newest: db.prepare<[string, string], VersionRow>(
      `SELECT ${columns} FROM versions WHERE vm_id = ? AND type = ? ORDER BY valid_from DESC LIMIT 1`,
    ),
    get: db.prepare<[string], VersionRow>(`SELECT ${columns} FROM versions WHERE backup_id = ?`),
    previous: db.prepare<[{ readonly backupId: string }], VersionRow>(
      `SELECT ${columns} FROM versions
       WHERE (vm_id, type) = (SELECT vm_id, type FROM versions WHERE backup_id = @backupId)
         AND valid_from < (SELECT valid_from FROM versions WHERE backup_id = @backupId)
       ORDER BY valid_from DESC LIMIT 1`,
    ),
    json: db.prepare<[string], string>(`SELECT ${versionJson} FROM versions WHERE backup_id = ?`).pluck(),
    earliest: db.prepare<[], string | null>("SELECT min(valid_from) FROM versions").pluck(),
    newestTimes: db.prepare<[string], { type: string; time: string }>(
      "SELECT type, max(valid_from) AS time FROM versions WHERE vm_id = ? GROUP BY type",
    ),
  }
}
